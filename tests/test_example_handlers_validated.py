"""The example of jobs that are held against rules does what its page says."""

import pytest

from handler_examples import told_by


@pytest.mark.soak
def test_the_example(tmp_path):
    """It ends by itself: one job obeys the rules, one lacks an input, and of one all that is wrong is told."""
    printed = told_by("validated.py", tmp_path, timeout=400)
    assert "obeys the rules:\nsuccessful" in printed
    assert "Without a bounding box the job is failed:\nThe input 'bbox' is missing." in printed
    told = printed.partition("A hillshade of few cells is failed:\n")[2]
    assert all(words in told for words in ("at #/cells", "at /max", "at /mean", "greatest value"))
