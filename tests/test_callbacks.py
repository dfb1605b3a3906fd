"""Callbacks through a real server, to a real receiver."""

import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select

from ogc_schema import validate
from pygeoapi_prefect.jobs import JobStore
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.jobs.tables import callbacks
from receiver import Call, Receiver
from serving import Server, assert_problem, eventually, free_port, running

TIMEOUT = 1.5
PROCESSORS = {
    "hello-world": {"name": "HelloWorld"},
    "sleep": {"name": "processors.Sleep"},
    "fail": {"name": "processors.Fail"},
    "several": {"name": "processors.Several"},
    "bytes": {"name": "processors.Bytes"},
}


@dataclass
class World:
    """A server, a receiver, and what is asked of both."""

    server: Server
    receiver: Receiver
    store: JobStore

    def path(self, behaviour: str) -> str:
        return self.receiver.path(behaviour)

    def submit(self, process_id: str, inputs: dict[str, Any] | None = None, **paths: str) -> str:
        """A job whose subscriber has *paths* of the receiver, or whole URLs."""
        urls = {kind: path if "://" in path else self.receiver.url + path for kind, path in paths.items()}
        return self.server.submit(process_id, inputs, subscriber=urls)

    def call(self, path: str, number: int = 1, within: float = 20) -> Call:
        """The call of that number at *path*."""
        calls = eventually(lambda: self.receiver.at(path)[number - 1 :], within=within, what=f"call {number} at {path}")
        return calls[0]

    def told(self, job_id: str, within: float = 20) -> None:
        """Wait until nobody is to be called any more for the job."""
        eventually(lambda: not self.open_calls(job_id), within=within, what=f"the last call of {job_id}")

    def open_calls(self, job_id: str) -> list[tuple[Any, ...]]:
        with self.store.database.read() as connection:
            return [tuple(row) for row in connection.execute(select(callbacks).where(callbacks.c.job_id == job_id))]

    def log(self, job_id: str) -> list[str]:
        return [line.text for line in self.store.logs(job_id) if line.text.startswith("Callback ")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("callbacks")
    receiver = Receiver()
    server = Server(
        folder,
        manager={
            "allowed_hosts": ["127.0.0.1"],
            "callback_timeout": TIMEOUT,
            "callback_attempts": 3,
            "max_running": 4,
        },
        processors=PROCESSORS,
    )
    with running(server):
        store = JobStore(Database(f"sqlite:///{folder / 'jobs.db'}", timeout=10))
        try:
            yield World(server, receiver, store)
        finally:
            store.database.dispose()
    receiver.close()


# ---------------------------------------------------------------- what arrives


def test_the_class_is_declared(world: World) -> None:
    """A server that calls back says so."""
    declared = world.server.client.get("/conformance", params={"f": "json"}).json()["conformsTo"]
    assert "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf/callback" in declared


def test_success_tells_the_results(world: World) -> None:
    """successUri gets the document that /results gives, once, with headers that tell who calls and for what."""
    success, failed = world.path("200"), world.path("200")
    job_id = world.submit("several", successUri=success, failedUri=failed)
    call = world.call(success)
    assert call.json == {"a": "A", "b": "B"}
    assert call.headers["Content-Type"] == "application/json"
    assert call.headers["User-Agent"].startswith("pygeoapi-prefect/")
    assert call.headers["Idempotency-Key"] == f"{job_id}/successUri/1"
    world.told(job_id)
    assert (len(world.receiver.at(success)), world.receiver.at(failed), world.log(job_id)) == (1, [], [])


def test_a_synchronous_job_is_told_as_well(world: World) -> None:
    """The subscriber belongs to the request, not to the mode: also when the answer itself is raw."""
    success = world.path("200")
    response = world.server.execute(
        "several", outputs={"a": {}}, response="raw", subscriber={"successUri": world.receiver.url + success}
    )
    assert response.text.strip('"') == "A"
    assert world.call(success).json == {"a": "A"}


def test_links_lead_to_this_server(world: World) -> None:
    """What a job's runner sends has the links that the server's own answers have."""
    success, progress = world.path("200"), world.path("200")
    world.server.submit(
        "several",
        outputs={"b": {"transmissionMode": "reference"}},
        subscriber={"successUri": world.receiver.url + success},
    )
    link = world.call(success).json["b"]["href"]
    assert world.server.client.get(link).text.strip('"') == "B"
    job_id = world.submit("sleep", {"seconds": 30}, inProgressUri=progress)
    assert {"self": f"{world.server.url}/jobs/{job_id}"}.items() <= {
        link["rel"]: link["href"] for link in world.call(progress).json["links"]
    }.items()
    world.server.client.delete(f"/jobs/{job_id}")


def test_large_results_arrive_whole(world: World) -> None:
    """Sent in pieces, put together again by their length."""
    success = world.path("200")
    job_id = world.submit("bytes", {"size": 3_000_000}, successUri=success)
    document = world.call(success).json
    ((output,),) = [tuple(document.values())]
    assert len(output["value"]) == 4_000_000
    world.told(job_id)


def test_failure_tells_the_problem(world: World) -> None:
    """failedUri gets the problem document that /results gives."""
    failed = world.path("200")
    job_id = world.submit("fail", {"how": "refuse"}, failedUri=failed)
    call = world.call(failed)
    assert call.headers["Idempotency-Key"] == f"{job_id}/failedUri/1"
    assert call.json == assert_problem(world.server.results(job_id), 400)
    assert "depth" in call.json["detail"]


def test_a_dismissal_is_an_exception(world: World) -> None:
    """failedUri of a dismissed job gets what /results gives, at once."""
    failed = world.path("200")
    job_id = world.submit("sleep", failedUri=failed)
    world.server.wait_for(job_id, "running")
    world.server.client.delete(f"/jobs/{job_id}")
    assert world.call(failed).json == assert_problem(world.server.results(job_id), 404)


def test_progress_tells_the_status(world: World) -> None:
    """inProgressUri gets valid statusInfo documents, whose progress rises, and nothing after the end is told."""
    progress, success = world.path("200"), world.path("200")
    job_id = world.submit("sleep", {"seconds": 4}, inProgressUri=progress, successUri=success)
    world.call(success)
    calls = world.receiver.at(progress)
    documents = [call.json for call in calls]
    for document in documents:
        validate(document, "statusInfo")
    assert {(document["jobID"], document["status"]) for document in documents} == {(job_id, "running")}
    shown = [document["progress"] for document in documents]
    assert shown == sorted(shown)
    assert len(shown) >= 2
    keys = [call.headers["Idempotency-Key"] for call in calls]
    assert len(set(keys)) == len(keys)
    # at most one a second, counted from the last answer
    assert len(calls) <= 6
    assert world.receiver.calls.index(world.receiver.at(success)[0]) > world.receiver.calls.index(calls[-1])


# ---------------------------------------------------------------- receivers that do not behave


def test_a_call_that_fails_is_made_again(world: World) -> None:
    """After a 500 the same news comes again under the same key; the job's log tells of it without the URL."""
    success = world.path("500-then-200")
    job_id = world.submit("hello-world", {"name": "a"}, successUri=success)
    first, second = world.call(success), world.call(success, 2)
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.body == second.body
    world.told(job_id)
    host = world.receiver.url.partition("//")[2]
    assert world.log(job_id) == [f"Callback successUri at {host}: answered 500; attempt 1 of 3"]
    assert world.server.job(job_id)["status"] == "successful"


@pytest.mark.parametrize("behaviour", ["404", "redirect"])
def test_a_refusal_is_final(world: World, behaviour: str) -> None:
    """A receiver that does not want the call, or sends it elsewhere, is not called again; the job is as it was."""
    success = world.path(behaviour)
    job_id = world.submit("hello-world", {"name": "a"}, successUri=success)
    world.told(job_id)
    assert len(world.receiver.at(success)) == 1
    assert world.receiver.at("/200/redirected") == []
    [line] = world.log(job_id)
    assert line.endswith(f"answered {'307' if behaviour == 'redirect' else behaviour}; given up")
    assert world.server.job(job_id)["status"] == "successful"


def test_an_endless_answer_is_not_read(world: World) -> None:
    """The status is enough: garbage without end behind it holds up nothing."""
    success = world.path("endless")
    job_id = world.submit("hello-world", {"name": "a"}, successUri=success)
    world.call(success)
    world.told(job_id)
    assert world.log(job_id) == []


def test_receivers_that_do_not_answer_hold_up_nobody(world: World) -> None:
    """Neither the jobs themselves nor the clients of others; each dead one is tried again later."""
    with socket.socket() as deaf:
        # accepts connections, and nobody ever reads from them
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(64)
        dead = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        job_ids = [world.submit("hello-world", {"name": "a"}, successUri=dead) for _ in range(6)]
        closed = f"http://127.0.0.1:{free_port()}/"
        refused = world.submit("hello-world", {"name": "a"}, successUri=closed, inProgressUri=dead)
        nonsense = world.submit("hello-world", {"name": "a"}, successUri=world.path("nonsense"))
        success = world.path("200")
        world.submit("hello-world", {"name": "a"}, successUri=success)
        world.call(success)
        assert any(world.open_calls(job_id) for job_id in job_ids)
        for job_id in job_ids:
            assert world.server.wait_for(job_id)["status"] == "successful"
        eventually(lambda: any("no answer in time" in text for text in world.log(job_ids[0])), within=20)
        eventually(lambda: any("no connection" in text for text in world.log(refused)), within=20)
        eventually(lambda: any("no connection" in text for text in world.log(nonsense)), within=20)
    for job_id in (*job_ids, refused, nonsense):
        world.server.client.delete(f"/jobs/{job_id}")
        assert world.open_calls(job_id) == []


def test_internal_addresses_are_not_called(world: World) -> None:
    """What the configuration does not allow hears nothing; the job succeeds, and its log says why nobody was called."""
    with socket.socket() as internal:
        internal.bind(("127.0.0.2", 0))
        internal.listen()
        internal.settimeout(0)
        url = f"http://127.0.0.2:{internal.getsockname()[1]}/admin?token=s3cr3t"
        job_id = world.submit("sleep", {"seconds": 0.5}, successUri=url, inProgressUri=url)
        assert world.server.wait_for(job_id)["status"] == "successful"
        world.told(job_id)
        with pytest.raises(BlockingIOError):
            internal.accept()
    lines = world.log(job_id)
    assert {line.partition(":")[0] for line in lines} <= {
        "Callback successUri at 127.0.0.2",
        "Callback inProgressUri at 127.0.0.2",
    }
    assert lines[-1].endswith("This server may not ask that address.; given up")


@pytest.mark.parametrize("subscriber", [{}, {"successUri": "file:///etc/passwd"}, {"failedUri": 1}, "http://a.example"])
def test_a_subscriber_that_cannot_be_called_is_refused(world: World, subscriber: Any) -> None:
    """A problem document, and no job."""
    count = len(world.server.client.get("/jobs", params={"f": "json"}).json()["jobs"])
    assert_problem(world.server.execute("hello-world", {"name": "a"}, subscriber=subscriber), 400)
    assert len(world.server.client.get("/jobs", params={"f": "json"}).json()["jobs"]) == count


def test_urls_are_shown_to_nobody(world: World) -> None:
    """Neither answers, nor logs, nor the operator's command tell the rest of a URL, where clients keep secrets."""
    success = world.path("500-then-200")
    job_id = world.submit("hello-world", {"name": "a"}, successUri=success)
    world.told(job_id)
    shown = world.server.cli("plugins", "prefect", "jobs", "show", job_id).stdout
    status = world.server.client.get(f"/jobs/{job_id}", params={"f": "json"}).text
    assert job_id in shown
    for text in (shown, status, world.server.runner_log(), (world.server.folder / "web.log").read_text()):
        assert "s3cr3t" not in text


# ---------------------------------------------------------------- runners that end


@pytest.mark.soak
def test_a_call_is_made_again_after_the_runner_was_killed(world: World) -> None:
    """What was not delivered stands in the job store: the next runner goes on, under the same key."""
    success = world.path("503-then-200")
    job_id = world.submit("hello-world", {"name": "a"}, successUri=success)
    first = world.call(success)
    eventually(lambda: world.log(job_id), within=20, what="the failed attempt")
    runner = world.server.runner()
    os.kill(runner.pid, signal.SIGKILL)
    second = world.call(success, 2, within=40)
    assert second.headers["Idempotency-Key"] == first.headers["Idempotency-Key"]
    assert second.json == first.json
    world.told(job_id)
    assert world.server.runner().runner_id != runner.runner_id
