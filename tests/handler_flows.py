"""Flows that run with handlers."""

from pathlib import Path

from prefect import flow

from handlers_under_test import SECRET


@flow(retries=1)
def second_time(folder: str) -> str:
    """Fail at the first attempt."""
    marks = Path(folder)
    attempt = len(list(marks.iterdir())) + 1
    (marks / str(attempt)).touch()
    if attempt == 1:
        raise RuntimeError("the first attempt fails")
    return f"attempt {attempt}"


@flow
def fails(name: str) -> str:
    """Fail with a secret."""
    raise RuntimeError(f"the flow knows {SECRET}")
