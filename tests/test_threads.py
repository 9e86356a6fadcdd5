import os
import subprocess
import sys

import pytest

ASK = (
    "from harken.threads import let_threads_yield as y; y(); from os import environ as e; "
    "print(e.get('OMP_WAIT_POLICY'), e.get('GOMP_SPINCOUNT'))"
)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, "PASSIVE 1000"),
        ({"GOMP_SPINCOUNT": "7"}, "PASSIVE 7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "PASSIVE None"),
    ],
)
def test_what_the_user_has_set_stands(told, expected):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    answer = subprocess.run([sys.executable, "-c", ASK], env=environment | told, capture_output=True, text=True)
    assert answer.stdout.strip() == expected
