"""Model files at work: recognize clips, detect words in streams. Needs numpy and onnxruntime only, never torch."""
