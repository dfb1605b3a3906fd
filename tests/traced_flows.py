"""Flows whose jobs are traced."""

from prefect import flow, task


@task(name="double")
def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


@flow(name="traced")
def traced(number: int) -> int:
    """Twice the number, by a task."""
    return double(number)
