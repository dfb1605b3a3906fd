"""Flows that only the benchmark needs; pool workers import this module by name (``flows:…``)."""

from prefect import flow


@flow
def greet(name: str) -> str:
    """Greet, as pygeoapi's hello-world does: what the engine itself costs."""
    return f"Hello {name}!"
