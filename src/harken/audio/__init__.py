"""Any clip, microphone or pipe as float32 mono samples at the sample rate that is wanted."""
