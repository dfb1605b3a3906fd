"""The example of staging out does what its page says."""

import re

import pytest

from handler_examples import told_by


@pytest.mark.soak
def test_the_example(tmp_path):
    """It ends by itself, with copies of one raster in both stores after the job is deleted."""
    told = told_by("multi_storage.py", tmp_path, timeout=240)
    assert re.search(r'The archive still has:\n\[\n  ".*/_replication\.json",\n  ".*/raster\.tiff"\n\]', told)
    assert told.rstrip().endswith("Both copies have the checksum of the report:\ntrue")
