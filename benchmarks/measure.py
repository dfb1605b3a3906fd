"""The figures: each function measures one thing over HTTP and returns a figure."""

import http.client
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from candidates import Candidate
from memory import PeakMemory, pss_bytes, settle
from processors import MEBIBYTE
from servers import note, wait_until

ASYNC = {"Prefer": "respond-async"}
TERMINAL = {"successful", "failed", "dismissed"}
CLIENT_THREADS = 4
FIGURE_SECONDS = 60


@dataclass(frozen=True)
class Counts:
    """How often and how much; every time is in seconds."""

    samples: int = 200
    waits: int = 30
    bursts: int = 3
    burst_jobs: int = 50
    large_samples: int = 5
    large_mebibytes: int = 50
    few_jobs: int = 100
    many_jobs: int = 10_000
    rest: float = 10
    flow_seconds: int = 20


@dataclass
class Figure:
    """
    Samples of one thing, all in the unit of its row in the table, and how many attempts did not do what they had to.

    Attributes:
        samples: Only of attempts that succeeded.
        failures: A few words for each attempt that did not.
    """

    samples: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def p50(self) -> float:
        return statistics.median(self.samples)

    def bad_end(self, *, more_is_better: bool) -> float:
        """Return the 95th percentile, or where more is better the 5th."""
        ordered = sorted(self.samples, reverse=more_is_better)
        return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]

    def extend(self, other: "Figure") -> None:
        self.samples += other.samples
        self.failures += other.failures


Figures = dict[str, Figure]


class UnexpectedAnswerError(RuntimeError):
    """A server answered something else than what is measured; such an answer is counted, and never timed."""


class Client:
    """One HTTP client of one candidate: its requests, checked."""

    def __init__(self, candidate: Candidate):
        self._candidate = candidate
        self._http = httpx.Client(base_url=candidate.base_url, timeout=180)
        self.jobs_made = 0

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **params: str | int) -> httpx.Response:
        return self._checked(self._http.get(path, params={"f": "json", **params}), 200)

    def post(self, process_id: str, inputs: dict[str, str | int], *, status: int) -> httpx.Response:
        self.jobs_made += 1
        response = self._http.post(
            f"/processes/{process_id}/execution",
            params={"f": "json"},
            json={"inputs": inputs},
            headers=ASYNC if status == 201 else {},
        )
        return self._checked(response, status)

    def download(self, process_id: str, inputs: dict[str, str | int]) -> int:
        """
        Execute synchronously and return the size of the output in bytes.

        With the plain client of the standard library: httpx takes as long to read 50 MiB as a server to send them,
        which would make every server look alike.
        """
        self.jobs_made += 1
        address = self._http.base_url
        connection = http.client.HTTPConnection(address.host, address.port, timeout=180)
        try:
            body = json.dumps({"inputs": inputs})
            headers = {"Content-Type": "application/json"}
            connection.request("POST", f"/processes/{process_id}/execution?f=json", body, headers)
            response = connection.getresponse()
            if response.status != 200:
                raise UnexpectedAnswerError(f"POST → {response.status} {response.read(200)!r}")
            buffer = bytearray(MEBIBYTE)
            size = 0
            while count := response.readinto(buffer):
                size += count
            return size
        finally:
            connection.close()

    @staticmethod
    def _checked(response: httpx.Response, status: int) -> httpx.Response:
        if response.status_code != status:
            text = response.text[:200].replace("\n", " ")
            raise UnexpectedAnswerError(f"{response.request.method} → {response.status_code} {text}")
        return response

    def run_sync(self, process_id: str = "hello-world") -> None:
        answer = self.post(process_id, {"name": "benchmark"}, status=200)
        if "Hello benchmark!" not in answer.text:
            raise UnexpectedAnswerError(f"sync result {answer.text[:200]}")

    def submit(self, process_id: str = "hello-world") -> str:
        """Return the id of an accepted job."""
        answer = self.post(process_id, {"name": "benchmark"}, status=201)
        return answer.headers["Location"].rstrip("/").rsplit("/", 1)[-1]

    def wait(self, job_id: str, *, interval: float, timeout: float = 180) -> None:
        """Poll until the job is successful; the first look is at once."""
        deadline = time.monotonic() + timeout
        while (status := self.get(f"/jobs/{job_id}").json()["status"]) not in TERMINAL:
            if time.monotonic() > deadline:
                raise UnexpectedAnswerError(f"job still {status} after {timeout:.0f} s")
            time.sleep(interval)
        if status != "successful":
            raise UnexpectedAnswerError(f"job {status}")

    def read_result(self, job_id: str) -> None:
        answer = self.get(f"/jobs/{job_id}/results")
        if "Hello benchmark!" not in answer.text:
            raise UnexpectedAnswerError(f"result {answer.text[:200]}")


@contextmanager
def _attempt(figure: Figure) -> Iterator[None]:
    try:
        yield
    except (UnexpectedAnswerError, httpx.HTTPError, http.client.HTTPException, OSError, KeyError, ValueError) as error:
        figure.failures.append(f"{type(error).__name__}: {error}")


def _attempts(figure: Figure, count: int) -> Iterator[None]:
    """Give *count* turns; fewer when a minute is over, or when three failed and none succeeded."""
    deadline = time.monotonic() + FIGURE_SECONDS
    for _ in range(count):
        yield
        if time.monotonic() > deadline or (not figure.samples and len(figure.failures) >= 3):
            break


def _repeat_timed(count: int, action: Callable[[], object]) -> Figure:
    """Time *action* that many times, in milliseconds."""
    figure = Figure()
    for _ in _attempts(figure, count):
        with _attempt(figure):
            started = time.perf_counter()
            action()
            figure.samples.append((time.perf_counter() - started) * 1000)
    return figure


def measure(candidate: Candidate, counts: Counts) -> Figures:
    """Take every figure of one candidate that just started. What order they have, and why, is in README.md."""
    client = Client(candidate)
    try:
        return dict(_figures(candidate, client, counts))
    finally:
        client.close()


def _figures(candidate: Candidate, client: Client, counts: Counts) -> Iterator[tuple[str, Figure]]:
    group = candidate.group
    waits = min(counts.waits, candidate.most_waits or counts.waits)
    bursts = min(counts.bursts, 1 if candidate.most_waits else counts.bursts)

    def step(text: str) -> None:
        settle(group)
        note(f"  {text}")

    _warm_up(client)
    if candidate.only_flows:
        yield from _flow_figures(candidate, client, counts, waits)
        return
    step("job list, few jobs")
    if candidate.add_jobs:
        candidate.add_jobs(max(0, counts.few_jobs - client.jobs_made))
        yield "list few", _repeat_timed(counts.samples, lambda: client.get("/jobs", limit=10))

    step("GET job")
    job_id = client.submit()
    client.wait(job_id, interval=0.05)
    yield "job", _repeat_timed(counts.samples, lambda: client.get(f"/jobs/{job_id}"))

    step("sync")
    yield "sync", _repeat_timed(counts.samples, client.run_sync)

    step("submit")
    yield "submit", _submits(client, min(counts.samples, candidate.most_submits or counts.samples))

    for name, interval in (("results 5", 0.005), ("results 50", 0.05)):
        step(f"submit → results, polled every {interval * 1000:.0f} ms")
        yield name, _repeat_timed(waits, lambda interval=interval: _submit_to_results(client, interval))

    step("burst")
    burst = Figure()
    for _ in range(bursts):
        burst.extend(_burst(candidate, client, counts.burst_jobs))
        settle(group)
    yield "burst", burst

    step("memory at rest")
    time.sleep(counts.rest)
    rest = pss_bytes(group.process_ids())
    note(f"    {rest / MEBIBYTE:.0f} MiB in {len(group.process_ids())} processes")
    yield "rest", Figure([rest / MEBIBYTE])

    step("large output")
    yield "large memory", _large_memory(candidate, client, counts)
    yield "large", _repeat_timed(counts.large_samples, lambda: _large(client, counts.large_mebibytes))

    if candidate.flow_process:
        yield from _flow_figures(candidate, client, counts, waits)

    if candidate.add_jobs:
        step("job list, many jobs")
        candidate.add_jobs(max(0, counts.many_jobs - client.jobs_made - counts.few_jobs))
        settle(group)
        yield "list many", _repeat_timed(counts.samples // 4 or 1, lambda: client.get("/jobs", limit=10))


def _flow_figures(candidate: Candidate, client: Client, counts: Counts, waits: int) -> Iterator[tuple[str, Figure]]:
    """Jobs that are runs of Prefect's engine: alone, and four at a time."""
    process_id = candidate.flow_process
    assert process_id is not None
    note("  flows: submit → results")
    for _ in range(3):
        client.run_sync(process_id)
    settle(candidate.group)
    yield "flow", _repeat_timed(waits, lambda: _submit_to_results(client, 0.005, process_id))
    note("  flows: four at a time")
    settle(candidate.group)
    rate, latency = _four_at_a_time(candidate, client, process_id, counts.flow_seconds)
    yield "flow rate", rate
    yield "flow latency", latency
    if candidate.prefect_api_url is not None:
        note("  flows: Prefect's engine alone")
        settle(candidate.group)
        (alone,) = _engine_alone(candidate, 1, 30)
        yield "engine", Figure([seconds * 1000 for seconds in alone])
        together = _engine_alone(candidate, CLIENT_THREADS, 30)
        yield "engine rate", Figure([len(together) * 30 / max(sum(seconds) for seconds in together)])


def _engine_alone(candidate: Candidate, processes: int, count: int) -> list[list[float]]:
    """Seconds of each run of the flow by the engine alone, on the candidate's own Prefect server."""
    assert candidate.prefect_api_url is not None
    prefect = {"PREFECT_API_URL": candidate.prefect_api_url(), "PREFECT_LOGGING_LEVEL": "ERROR"}
    answer = subprocess.run(
        [candidate.python, str(Path(__file__).with_name("engine_alone.py")), str(processes), str(count)],
        env=candidate.group.environment | prefect,
        stdout=subprocess.PIPE,
        check=True,
        timeout=180,
    )
    return json.loads(answer.stdout.splitlines()[-1])


def _four_at_a_time(candidate: Candidate, client: Client, process_id: str, seconds: int) -> tuple[Figure, Figure]:
    """Four clients, each of which executes one job after the other: jobs a second, and what each job took."""
    rate, latency = Figure(), Figure()
    deadline = time.monotonic() + seconds

    def execute(_: int) -> int:
        own = Client(candidate)
        try:
            while time.monotonic() < deadline:
                with _attempt(latency):
                    started = time.perf_counter()
                    _submit_to_results(own, 0.05, process_id)
                    latency.samples.append((time.perf_counter() - started) * 1000)
            return own.jobs_made
        finally:
            own.close()

    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENT_THREADS) as threads:
        client.jobs_made += sum(threads.map(execute, range(CLIENT_THREADS)))
    rate.samples.append(len(latency.samples) / (time.perf_counter() - started))
    return rate, latency


def _warm_up(client: Client) -> None:
    """Reach both web workers, and return when jobs run: a runner or a Prefect server may still be starting."""
    failures = Figure()

    def ready() -> bool:
        with _attempt(failures):
            client.wait(client.submit(), interval=0.1)
            client.run_sync()
            return True
        return False

    if not wait_until(ready, timeout_seconds=180, interval_seconds=1):
        raise UnexpectedAnswerError(f"no job succeeded: {failures.failures[-1]}")
    with ThreadPoolExecutor(CLIENT_THREADS) as threads:
        list(threads.map(lambda _: client.get("/jobs/" + client.submit()), range(2 * CLIENT_THREADS)))


def _submits(client: Client, count: int) -> Figure:
    job_ids: list[str] = []
    figure = _repeat_timed(count, lambda: job_ids.append(client.submit()))
    for job_id in job_ids:
        with _attempt(figure):
            client.wait(job_id, interval=0.05)
    return figure


def _submit_to_results(client: Client, interval: float, process_id: str = "hello-world") -> None:
    job_id = client.submit(process_id)
    client.wait(job_id, interval=interval)
    client.read_result(job_id)


def _burst(candidate: Candidate, client: Client, jobs: int) -> Figure:
    """Jobs a second: each of four clients submits its share at once, then follows its jobs one after the other."""
    figure = Figure()

    def submit_and_wait(count: int) -> None:
        own = Client(candidate)
        try:
            job_ids = [own.submit() for _ in range(count)]
            for job_id in job_ids:
                own.wait(job_id, interval=0.01 if candidate.most_waits is None else 0.5)
        finally:
            own.close()

    shares = [jobs // CLIENT_THREADS + (number < jobs % CLIENT_THREADS) for number in range(CLIENT_THREADS)]
    client.jobs_made += jobs
    with _attempt(figure), ThreadPoolExecutor(CLIENT_THREADS) as threads:
        started = time.perf_counter()
        list(threads.map(submit_and_wait, shares))
        figure.samples.append(jobs / (time.perf_counter() - started))
    return figure


def _large(client: Client, mebibytes: int) -> None:
    size = client.download("big-output", {"mebibytes": mebibytes})
    if size != mebibytes * MEBIBYTE:
        raise UnexpectedAnswerError(f"{size} bytes of {mebibytes} MiB")


def _large_memory(candidate: Candidate, client: Client, counts: Counts) -> Figure:
    """How far memory rises above where it was before the first large output, in sizes of the output."""
    figure = Figure()
    before = pss_bytes(candidate.group.process_ids())
    for _ in _attempts(figure, min(3, counts.large_samples)):
        with _attempt(figure):
            with PeakMemory(candidate.group) as memory:
                _large(client, counts.large_mebibytes)
            figure.samples.append((memory.peak_bytes - before) / (counts.large_mebibytes * MEBIBYTE))
    return figure
