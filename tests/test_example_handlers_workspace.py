"""The example of a job in a workspace does what its page says."""

import re

import pytest

from handler_examples import told_by


@pytest.mark.soak
def test_the_example(tmp_path):
    """It ends by itself, with raster and item in the workspace of Ada, registered once, and nothing for Bob."""
    told = told_by("workspace.py", tmp_path, timeout=400)
    assert "The job of Ada is successful:" in told
    files, _, registered = told.partition("And in its catalogue:")
    assert re.search(r'"ws-ada/[^"]+/item\.json",\n  "ws-ada/[^"]+/slope\.tif"\n\]', files)
    assert len(re.findall(r'"url": "s3://ws-ada/[^"]+/item\.json"', registered)) == 1
    assert "The job of Bob is failed:\nYou have no workspace." in told
