"""Enrollment: wake phrases of one's own, from a few takes or from their spelling, at once and without training.

enroll        takes or a spelling -> model file
Enrollment    what to expect of it
"""

from harken.enrollment.learn import Enrollment, enroll

__all__ = ["Enrollment", "enroll"]
