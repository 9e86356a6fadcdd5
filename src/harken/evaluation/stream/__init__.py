"""Evaluate a model on continuous audio: miss rate, false alarms per hour and latency."""
