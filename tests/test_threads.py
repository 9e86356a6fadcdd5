import os
import subprocess
import sys

import pytest

PRINT_SETTINGS = (
    "from harken.threads import let_threads_yield; let_threads_yield(); from os import environ; "
    "print(environ.get('OMP_WAIT_POLICY'), environ.get('GOMP_SPINCOUNT'))"
)


@pytest.mark.parametrize(
    ("user_settings", "expected"),
    [
        ({}, "PASSIVE 1000"),
        ({"GOMP_SPINCOUNT": "7"}, "PASSIVE 7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "PASSIVE None"),
    ],
)
def test_settings_of_the_user_are_not_changed(user_settings, expected):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-c", PRINT_SETTINGS]
    result = subprocess.run(command, env=environment | user_settings, capture_output=True, text=True)
    assert result.stdout.strip() == expected
