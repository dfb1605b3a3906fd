"""What is measured in the job that the calling process runs, on its way to the runner: it comes with the outcome."""

MAX_VALUES = 1000
"""Of one job; further ones are passed over."""

_values: list[tuple[str, float]] = []


def measure(name: str, value: float) -> None:
    """Keep a value for the runner."""
    if len(_values) < MAX_VALUES:
        _values.append((name, value))


def measured() -> list[tuple[str, float]]:
    """Names and values, in their order."""
    return list(_values)


def forget_measured() -> None:
    """The next job begins."""
    _values.clear()
