"""The example of staging out does what its page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples" / "handlers"


@pytest.mark.soak
def test_the_example(tmp_path):
    """It ends by itself, with copies of one raster in both stores after the job is deleted."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "PYGEOAPI"))}
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / "multi_storage.py")],
        env=environment | {"PREFECT_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r'The archive still has:\n\[\n  ".*/_replication\.json",\n  ".*/raster\.tiff"\n\]', ran.stdout)
    assert ran.stdout.rstrip().endswith("Both copies have the checksum of the report:\ntrue")
