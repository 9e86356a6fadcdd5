"""Evaluate a model on labelled clips: accuracy, confusion, rejection, robustness and cost."""
