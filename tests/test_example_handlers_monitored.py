"""The example of monitored jobs does what its page says."""

import re

import pytest
from pygeoapi.config import validate_config
from pygeoapi.util import yaml_load

from handler_examples import EXAMPLES, told_by
from pygeoapi_prefect.process.processor import load_processor
from pygeoapi_prefect.settings import ManagerSettings


def test_its_configuration(monkeypatch):
    """pygeoapi and the manager take it, and its handler can be loaded."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.syspath_prepend(EXAMPLES.parent / "terrain")
    with (EXAMPLES / "monitored.yml").open() as file:
        configuration = yaml_load(file)
    assert validate_config(configuration)
    settings = ManagerSettings.from_manager_def(configuration["server"]["manager"])
    assert settings.metrics is not None
    assert load_processor("terrain", configuration["resources"]["terrain"]).metadata["id"] == "terrain"


@pytest.mark.soak
def test_it_runs(tmp_path):
    """Prometheus, StatsD and OpenTelemetry are told of a success and of a failure."""
    told = told_by("monitored.py", tmp_path, timeout=300)
    for status in ("successful", "failed"):
        assert f'pygeoapi_jobs_ended_total{{process="terrain",status="{status}"}} 1.0' in told
    assert re.search(r"^pygeoapi\.terrain\.raster\.bytes:\d+\|g$", told, re.M)
    assert re.search(r"^execute terrain: .*\n  wait terrain: .*\n  run terrain: .*\n    store outputs: ", told, re.M)
    assert "(failed)" in told
