"""Settings for torch's CPU threads. They take effect only when set before torch is imported."""

import os

_SPIN_COUNT = "1000"  # a few microseconds; a higher count gains little and slows training on shared cores


def let_threads_yield() -> None:
    """Make torch's idle threads (GNU OpenMP) spin for a few microseconds and then sleep.

    By default, idle threads spin for milliseconds without releasing their cores. Training then becomes very slow as soon
    as another program uses one of the cores. Sleeping immediately (`OMP_WAIT_POLICY=PASSIVE` alone) costs small networks
    a tenth of their speed.

    Environment variables that the user has already set are not changed.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)
