"""The example of jobs that are held against rules does what its page says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples" / "handlers"


@pytest.mark.soak
def test_the_example(tmp_path):
    """It ends by itself: one job obeys the rules, one lacks an input, and of one all that is wrong is told."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "PYGEOAPI"))}
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / "validated.py")],
        env=environment | {"PREFECT_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "obeys the rules:\nsuccessful" in ran.stdout
    assert "Without a bounding box the job is failed:\nThe input 'bbox' is missing." in ran.stdout
    told = ran.stdout.partition("A hillshade of few cells is failed:\n")[2]
    assert all(words in told for words in ("at #/cells", "at /max", "at /mean", "greatest value"))
