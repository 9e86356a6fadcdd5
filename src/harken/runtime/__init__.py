"""Use model files: recognize clips, and detect words in streams. Needs NumPy and onnxruntime, never torch."""
