"""The example of a job in a workspace does what its page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples" / "handlers"


@pytest.mark.soak
def test_the_example(tmp_path):
    """It ends by itself, with raster and item in the workspace of Ada, registered once, and nothing for Bob."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "PYGEOAPI"))}
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / "workspace.py")],
        env=environment | {"PREFECT_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "The job of Ada is successful:" in ran.stdout
    files, _, registered = ran.stdout.partition("And in its catalogue:")
    assert re.search(r'"ws-ada/[^"]+/item\.json",\n  "ws-ada/[^"]+/slope\.tif"\n\]', files)
    assert len(re.findall(r'"url": "s3://ws-ada/[^"]+/item\.json"', registered)) == 1
    assert "The job of Bob is failed:\nYou have no workspace." in ran.stdout
