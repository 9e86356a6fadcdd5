import os
import platform
import subprocess
import sys

import pytest

# Counts page faults while an array of 1 MB (256 pages) is created and freed a hundred times.
COUNT_PAGE_FAULTS = """
import resource, sys
import numpy as np
from harken.training.memory import keep_freed_memory
kept = keep_freed_memory()
for _ in range(2):
    np.ones(1 << 17)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    np.ones(1 << 17)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is set to keep freed memory")
@pytest.mark.parametrize(("environment", "expected"), [({}, "True"), ({"MALLOC_MMAP_THRESHOLD_": "131072"}, "False")])
def test_freed_memory_is_kept_unless_the_user_sets_something_else(environment: dict[str, str], expected: str) -> None:
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", COUNT_PAGE_FAULTS], env=quiet | environment, capture_output=True, text=True, check=True
    )
    kept, faults = done.stdout.split()
    assert kept == expected
    assert (int(faults) < 1_000) == (kept == "True")
