"""
Jobs that are held against rules: slope of real terrain, and requests whose results are not what the rules ask for.

``python examples/handlers/validated.py`` serves ``validated.yml``, executes three jobs, and shows what became of them.
It needs the extra ``examples``.
"""

from serving_example import execute, served, show

BBOX = [-84.30, 36.16, -84.16, 36.25]  # degrees: west, south, east, north
FEW_CELLS = [-84.30, 36.16, -84.29, 36.17]


def main() -> None:
    """Execute a good job, one without what it needs, and one with a result that breaks rules."""
    with served("validated.yml") as client:
        job = execute(client, "slope", {"inputs": {"bbox": BBOX}})
        show("Slope of the Cumberland Mountains obeys the rules:", job["status"])
        job = execute(client, "slope", {"inputs": {}})
        show(f"Without a bounding box the job is {job['status']}:", job["message"])
        job = execute(client, "slope", {"inputs": {"bbox": FEW_CELLS, "product": "hillshade"}})
        show(f"A hillshade of few cells is {job['status']}:", job["message"])


if __name__ == "__main__":
    main()
