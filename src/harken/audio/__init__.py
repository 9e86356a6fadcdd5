"""Audio input: read any clip, microphone or pipe as float32 mono samples at the sample rate you want."""
