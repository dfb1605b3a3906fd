"""The example of jobs that act for their users does what its page says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples" / "handlers"


@pytest.mark.soak
def test_the_example(tmp_path):
    """It ends by itself: the other service has the report of the user, and the job of nobody was refused."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "PYGEOAPI"))}
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / "authenticated.py")],
        env=environment | {"PREFECT_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert '"42": [' in ran.stdout
    assert '"product": "slope"' in ran.stdout
    assert ran.stdout.rstrip().endswith(
        "The job of nobody is failed:\nThis process is for known users only. Send a valid access token."
    )
