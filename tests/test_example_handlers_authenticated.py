"""The example of jobs that act for their users does what its page says."""

import pytest

from handler_examples import told_by


@pytest.mark.soak
def test_the_example(tmp_path):
    """It ends by itself: the other service has the report of the user, and the job of nobody was refused."""
    told = told_by("authenticated.py", tmp_path, timeout=240)
    assert '"42": [' in told
    assert '"product": "slope"' in told
    assert told.rstrip().endswith(
        "The job of nobody is failed:\nThis process is for known users only. Send a valid access token."
    )
