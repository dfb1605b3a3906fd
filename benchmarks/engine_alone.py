"""
Runs the benchmark's flow by Prefect's engine alone, in as many processes as asked for: what no manager can beat.

Prints the seconds of each run, a JSON list for each process. Called by ``measure.py`` in the candidate's environment.
"""

import json
import multiprocessing
import sys
import time


def run(count: int, start: "multiprocessing.synchronize.Barrier") -> list[float]:
    """Seconds of each of *count* runs in this process; everything is imported and connected before the first."""
    from prefect.context import SyncClientContext
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows import greet

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), SyncClientContext.get_or_create():
        for _ in range(3):
            greet(name="benchmark")
        start.wait()
        seconds = []
        for _ in range(count):
            started = time.perf_counter()
            greet(name="benchmark")
            seconds.append(time.perf_counter() - started)
        return seconds


def _run_in_process(count: int, start: "multiprocessing.synchronize.Barrier", answers: multiprocessing.Queue) -> None:
    answers.put(run(count, start))


def main() -> None:
    processes, count = int(sys.argv[1]), int(sys.argv[2])
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(processes), context.Queue()
    children = [context.Process(target=_run_in_process, args=(count, start, answers)) for _ in range(processes)]
    for child in children:
        child.start()
    found = [answers.get() for _ in children]
    for child in children:
        child.join()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
