"""Evaluate a model on labeled clips: accuracy, confusion, rejection, robustness and cost."""
