"""How torch's threads wait for each other on a CPU; to be settled before torch is imported."""

import os

_SPINS = (
    "1000"  # some microseconds: more of them wins little, and slows down what shares its cores with another program
)


def let_threads_yield() -> None:
    """Make torch's threads (GNU OpenMP) wait for work for some microseconds, then sleep; what the user has set stands.

    By default they wait for milliseconds without letting go of their cores, so that training collapses as soon as
    another program uses one. Sleeping at once (OMP_WAIT_POLICY=PASSIVE alone) costs small networks a tenth of their speed.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
