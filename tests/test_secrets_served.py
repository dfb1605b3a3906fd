"""Laws of secret inputs and access tokens under a real server: they reach their job, and nobody else."""

import hashlib
import json
import os
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, inspect, text

from oidc_issuer import issuing
from prefect_seen import Prefect
from pygeoapi_prefect import PrefectManager
from pygeoapi_prefect.identity import User, acting_as
from pygeoapi_prefect.jobs import JobStore
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.jobs.sealing import KEY_VARIABLE, SecretKeys, new_key
from pygeoapi_prefect.ogcapi.preferences import Preferences
from pygeoapi_prefect.settings import ManagerSettings
from serving import Server, assert_problem, eventually, running

PASSWORD = "correct horse battery"
PIN = 918273
SECRETS = {"password": PASSWORD, "pin": PIN}
TEXTS = (PASSWORD, str(PIN))

PROCESSORS = {
    "leaky": {"name": "secret_processes.Leaky", "prefect": {"secret_inputs": ["pin"], "max_running": 1}},
    "leaky-flow": {"name": "pygeoapi_prefect.FlowProcessor", "prefect": {"flow": "secret_processes:leaky"}},
    "who-am-i": {"name": "secret_processes.WhoAmI", "prefect": {"handlers": ["secret_processes.Acting"]}},
    "without-token": {
        "name": "secret_processes.WhoAmI",
        "prefect": {"handlers": ["pygeoapi_prefect.handlers.AuthenticatedHandler"]},
    },
}


@pytest.fixture(scope="module")
def issuer():
    with issuing() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def served(prefect_server, issuer, tmp_path_factory):
    """A server with a key in a file, users, and Prefect."""
    folder = tmp_path_factory.mktemp("served")
    key_file = folder / "keys"
    key_file.write_text(new_key())
    server = Server(
        folder,
        processors=PROCESSORS,
        manager={"auth": issuer.auth(required=False), "secret_key_file": str(key_file), "connection": None}
        | {"connection": str(folder / "jobs.db")},
        environment={"PREFECT_API_URL": prefect_server.connection.api_url},
    )
    with running(server):
        yield server


@pytest.fixture
def prefect(prefect_server):
    return Prefect(prefect_server.connection.api_url)


def stored_anywhere(folder):
    """All that stands in files below a folder: the job store, results, logs, the data folder."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def files_with(folder, *texts):
    return [name for name, data in stored_anywhere(folder).items() if any(one.encode() in data for one in texts)]


def log_of(server, job_id):
    with closing_store(f"sqlite:///{server.folder / 'jobs.db'}") as store:
        return "\n".join(line.text for line in store.logs(job_id))


@contextmanager
def closing_store(url):
    store = JobStore(Database(url, timeout=10))
    yield store
    store.database.dispose()


def test_a_plain_process(served, prefect):
    """It gets its secrets; its log, its messages, Prefect and every file have stars instead, and jobs see no key."""
    job_id = served.submit("leaky", SECRETS)
    served.wait_for(job_id, "successful")
    assert served.results(job_id).json() == {"length": len(PASSWORD), "sees_key": False}
    log = log_of(served, job_id)
    for line in ("logged *** and ***", "printed *** and ***", "a tool has *** and ***"):
        assert line in log
    run = prefect.ended(job_id)
    assert run["parameters"]["inputs"] == {"password": "(secret)", "pin": "(secret)"}
    everything = json.dumps([run, prefect.logs(run["id"]), served.job(job_id), log])
    assert not any(one in everything for one in TEXTS)
    assert files_with(served.folder, *TEXTS) == []


@pytest.mark.parametrize(
    ("ending", "status", "message"),
    [("fail", 500, "ValueError: failed with *** and ***"), ("refuse", 400, "refused with *** and ***")],
)
def test_a_failing_process(served, ending, status, message):
    """The reason is told without the secrets, to the synchronous client as well."""
    response = served.execute("leaky", {**SECRETS, "ending": ending})
    assert assert_problem(response, status)["detail"] == message
    assert files_with(served.folder, *TEXTS) == []


@pytest.mark.parametrize("ending", ["", "fail", "fail in a task"])
def test_a_flow(served, prefect, ending):
    """Prefect runs it, and shows neither in parameters nor in logs nor in states what it says of its secrets."""
    job_id = served.submit("leaky-flow", {"password": PASSWORD, "ending": ending})
    job = served.wait_for(job_id, within=60)
    assert job["status"] == ("failed" if ending else "successful")
    run = prefect.ended(job_id)
    logs = eventually(lambda: [one for one in prefect.logs(run["id"]) if "printed" in one], within=30)
    assert logs == ["printed ***"]
    states = prefect.client.get("/flow_run_states/", params={"flow_run_id": run["id"]}).json()
    tasks = prefect.task_runs(run["id"])
    if ending:
        assert "failed with ***" in json.dumps(states)
        assert "failed with ***" in json.dumps(tasks) or ending == "fail"
        assert job["message"] == "ValueError: failed with ***"
    assert PASSWORD not in json.dumps([run, states, tasks, prefect.logs(run["id"]), job])
    assert files_with(served.folder, PASSWORD) == []


def test_refusals_do_not_quote(served):
    """A value that does not fit is named by its input, whether the schema or the configuration makes it secret."""
    problem = assert_problem(served.execute("leaky", {"password": 4711_0815, "pin": 12345678}), 400)
    assert {error["pointer"] for error in problem["errors"]} == {"#/inputs/password", "#/inputs/pin"}
    assert not any(one in json.dumps(problem) for one in ("47110815", "12345678"))


def test_sent_again(served):
    """By its key the request is known again, though its digest has no secrets; one with other inputs is refused."""
    headers = {"Idempotency-Key": '"secret-once"', "Prefer": "respond-async"}
    url = "/processes/leaky/execution"

    def send(**inputs):
        return served.client.post(url, json={"inputs": {**SECRETS, **inputs}}, headers=headers)

    first, again = send(), send()
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["jobID"] == again.json()["jobID"]
    assert_problem(send(ending="fail"), 422)


def test_acting_for_the_user(served, issuer, prefect):
    """The handler gets the very token that was sent, and knows who sent it; nobody else reads it, then or later."""
    token = issuer.token("42", preferred_username="ada")
    response = served.client.post(
        "/processes/who-am-i/execution", json={"inputs": {}}, headers={"Authorization": f"Bearer {token}"}
    )
    assert response.status_code == 200, response.text
    assert response.json() == {
        "CURRENT_USER": "ada",
        "USER_WORKSPACE": "/workspaces/ada",
        "TOKEN_DIGEST": hashlib.sha256(token.encode()).hexdigest(),
    }
    job_id = response.headers["Location"].rpartition("/")[2]
    assert "acting with ***" in log_of(served, job_id)
    run = prefect.ended(job_id)
    assert token not in json.dumps([run, prefect.logs(run["id"])])
    assert files_with(served.folder, token) == []


def test_nobody(served):
    """A job without a user is refused by the handler, with a reason for its client."""
    detail = assert_problem(served.execute("without-token"), 403)["detail"]
    assert detail == "This process is for known users only. Send a valid access token."


def test_a_token_that_nobody_asked_for(served, issuer):
    """It is not kept: the user is known, and the token is gone with the request."""
    headers = issuer.headers("42", preferred_username="ada")
    response = served.client.post("/processes/without-token/execution", json={"inputs": {}}, headers=headers)
    assert response.json() == {"CURRENT_USER": "ada", "USER_WORKSPACE": "/workspaces/ada", "TOKEN_DIGEST": None}


def test_a_key_that_is_lost(served):
    """A job whose secrets were sealed with a key that is gone fails with a reason; the next request works again."""
    go_on = served.folder / "go-on"
    holder = served.submit("leaky", {**SECRETS, "until": str(go_on)})
    served.wait_for(holder, "running")
    # one of them runs at once
    waiting = served.submit("leaky", SECRETS)
    (served.folder / "keys").write_text(new_key())
    go_on.touch()
    assert served.wait_for(holder)["status"] == "successful"
    job = served.wait_for(waiting, "failed")
    assert "cannot be read any more" in job["message"]
    assert served.execute("leaky", SECRETS).status_code == 200


def test_without_a_key(served):
    """Requests with secrets are refused, and those without are not; the client reads nothing of the inside."""
    key_file = served.folder / "keys"
    before = key_file.read_text()
    key_file.unlink()
    try:
        problem = assert_problem(served.execute("leaky", SECRETS), 503)
        assert str(served.folder) not in problem["detail"]
        assert served.execute("without-token").status_code == 403
    finally:
        key_file.write_text(before)


def dump(url, folder):
    """Every byte of the database: the files of SQLite, the rows of PostgreSQL."""
    if url.startswith("sqlite"):
        return b"".join(path.read_bytes() for path in folder.rglob("jobs.db*"))
    engine = create_engine(url)
    with engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        rows = [row for table in tables for row in connection.scalars(text(f"SELECT t::text FROM {table} t"))]
    engine.dispose()
    return "\n".join(rows).encode()


def test_at_rest(job_store_url, tmp_path, monkeypatch):
    """From the acceptance of a job to its end the database has no secret in clear text, on both databases."""
    monkeypatch.setenv(KEY_VARIABLE, new_key())
    monkeypatch.syspath_prepend(os.path.dirname(__file__))  # noqa: PTH120
    store = JobStore(Database(job_store_url, timeout=10))
    processors = {name: {"type": "process", "processor": PROCESSORS[name]} for name in ("leaky", "who-am-i")}
    definition = {
        "name": "PrefectManager",
        "connection": job_store_url,
        "output_dir": str(tmp_path / "results"),
        "data_dir": str(tmp_path / "data"),
        "runner": "external",
        "processes": processors,
    }
    manager = PrefectManager(definition)
    token = "eyJ.the-token-of.ada"
    user = User("https://issuer.example", "42", "ada", claims={"sub": "42"}, token=token)
    with acting_as(user):
        jobs = [
            manager.execute(name, {"inputs": inputs}, Preferences(respond_async=True)).job.job_id
            for name, inputs in (("leaky", SECRETS), ("who-am-i", {}))
        ]
    while_waiting = dump(job_store_url, tmp_path)
    assert all(sealed.encode() in while_waiting for sealed in sealed_in(store, jobs))
    assert not any(one.encode() in while_waiting for one in (*TEXTS, token))
    keys = SecretKeys(ManagerSettings.from_manager_def(definition))
    opened = [
        keys.open(one.job.job_id, store.sealed_secrets(one.job.claim))
        for one in store.claim("runner", limit=2, process_limits={}, record=False)
    ]
    assert [(one.inputs, one.access_token) for one in opened] == [(SECRETS, ""), ({}, token)]
    for job_id in jobs:
        store.dismiss(job_id)
    assert sealed_in(store, jobs) == []
    assert not any(one.encode() in dump(job_store_url, tmp_path) for one in (*TEXTS, token))
    store.database.dispose()


def sealed_in(store, job_ids):
    with store.database.read() as connection:
        query = text("SELECT sealed FROM ogc_job_secrets WHERE job_id = :job_id")
        return [sealed for one in job_ids for sealed in connection.scalars(query, {"job_id": one})]
