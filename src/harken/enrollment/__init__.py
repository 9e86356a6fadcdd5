"""Enrollment: detect a wake phrase of your own, learned from a few recordings or from its spelling, without training.

enroll        recordings or a spelling -> model file
Enrollment    the result, with the accuracy to expect
"""

from harken.enrollment.learn import Enrollment, enroll

__all__ = ["Enrollment", "enroll"]
