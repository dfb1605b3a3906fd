"""The example of all handlers together does what its page says."""

import json
import re
from pathlib import Path

import pytest

from handler_examples import told_by


@pytest.mark.soak
def test_the_example(tmp_path):
    """It ends by itself, with the result of the good job in all places, and that of the bad one in none."""
    printed = told_by("full_featured.py", tmp_path, timeout=560)
    told = dict(re.findall(r"\n(.+):\n((?:.+\n)+)", printed))
    assert told["The job of Ada is successful"].strip() == "Job successful"
    archived, copied = json.loads(told["The archive has"]), json.loads(told["The folder has"])
    assert [Path(one).name for one in archived] == ["_replication.json", "item.json", "raster.tif", "statistics.json"]
    assert [Path(one).name for one in copied] == [Path(one).name for one in archived]
    assert len(json.loads(told["Her workspace knows"])) == 1
    assert json.loads(told["There is the Item, with these properties"])["user"] == "ada"
    assert told["It leads to the raster that the archive has"].strip() == "yes"
    assert "must be at least 1000" in told["Her job of few cells is failed"]
    assert told["So her workspace knows as many results as before"].strip() == "1"
    assert re.search(r'jobs_ended_total{.*status="failed".* 1', told["Prometheus scrapes"])
