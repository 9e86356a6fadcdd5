"""Evaluate a listener on continuous audio: miss rate, false alarms per hour and latency; tune its thresholds."""
