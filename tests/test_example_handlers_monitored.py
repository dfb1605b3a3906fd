"""The example of monitored jobs does what its page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pygeoapi.config import validate_config
from pygeoapi.util import yaml_load

from pygeoapi_prefect.process.processor import load_processor
from pygeoapi_prefect.settings import ManagerSettings

EXAMPLE = Path(__file__).parents[1] / "examples" / "handlers"


def test_its_configuration(monkeypatch):
    """pygeoapi and the manager take it, and its handler can be loaded."""
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.syspath_prepend(EXAMPLE.parent / "terrain")
    with (EXAMPLE / "monitored.yml").open() as file:
        configuration = yaml_load(file)
    assert validate_config(configuration)
    settings = ManagerSettings.from_manager_def(configuration["server"]["manager"])
    assert settings.metrics is not None
    assert load_processor("terrain", configuration["resources"]["terrain"]).metadata["id"] == "terrain"


@pytest.mark.soak
def test_it_runs():
    """Prometheus, StatsD and OpenTelemetry are told of a success and of a failure."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "PYGEOAPI"))}
    command = [sys.executable, str(EXAMPLE / "monitored.py")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr
    for status in ("successful", "failed"):
        assert f'pygeoapi_jobs_ended_total{{process="terrain",status="{status}"}} 1.0' in run.stdout
    assert re.search(r"^pygeoapi\.terrain\.raster\.bytes:\d+\|g$", run.stdout, re.M)
    assert re.search(
        r"^execute terrain: .*\n  wait terrain: .*\n  run terrain: .*\n    store outputs: ", run.stdout, re.M
    )
    assert "(failed)" in run.stdout
