"""Deployments, work pools, blocks and what a run tells, on the session's Prefect server."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from factories import make_run
from pygeoapi_prefect.jobs import LogLine
from pygeoapi_prefect.prefect_api import (
    BlockNotFoundError,
    Deployment,
    DeploymentNotFoundError,
    FlowRunState,
    PrefectApi,
    PrefectRefusedError,
    Progress,
    WorkPoolNotFoundError,
    WorkQueue,
    flow_runs,
)

STEPS = [{"prefect.deployments.steps.set_working_directory": {"directory": "/code"}}]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.fixture
def work_pool(api: PrefectApi) -> str:
    """The name of a new work pool for processes."""
    name = f"pool {uuid4().hex}"
    assert api.create_work_pool(name, "process", {}) is True
    return name


@pytest.fixture
def deployment_id(api: PrefectApi, work_pool: str) -> UUID:
    """A new deployment in that work pool, called like it, which takes an integer n."""
    return api.save_deployment(
        f"squared/{work_pool}",
        entrypoint="flows.py:squared",
        work_pool_name=work_pool,
        parameter_schema=SCHEMA,
        parameters={"n": 1},
        tags=["deployed"],
    )


def run_of(raw: httpx.Client, flow_run_id: UUID) -> Any:
    return raw.get(f"/flow_runs/{flow_run_id}").json()


# Deployments


def test_deployment_is_what_was_saved(api: PrefectApi, work_pool: str) -> None:
    """Every field comes back, and the flow and the queue exist afterwards."""
    deployment_id = api.save_deployment(
        "zonal stats/daily, größer",
        entrypoint="flows.py:zonal",
        path="/code",
        pull_steps=STEPS,
        work_pool_name=work_pool,
        work_queue_name="slow",
        job_variables={"env": {"A": "1"}},
        parameters={"n": 2},
        parameter_schema=SCHEMA,
        tags=["b", "a"],
        description="**Zonal**",
        version="1.2",
    )
    found = api.deployment("zonal stats/daily, größer")
    assert (found.deployment_id, found.flow_id) == (deployment_id, api.flow_id("zonal stats"))
    assert (found.name, found.entrypoint, found.path) == ("zonal stats/daily, größer", "flows.py:zonal", "/code")
    assert (found.pull_steps, found.job_variables, found.parameters) == (STEPS, {"env": {"A": "1"}}, {"n": 2})
    assert (found.work_pool_name, found.work_queue_name) == (work_pool, "slow")
    assert (found.tags, found.description, found.version) == ({"a", "b"}, "**Zonal**", "1.2")
    assert found.parameter_schema == SCHEMA
    assert (found.paused, found.status) == (False, "NOT_READY")
    assert api.work_queue(work_pool, "slow") is not None


def test_what_was_not_said_is_empty(api: PrefectApi, work_pool: str) -> None:
    """A deployment saved with its entrypoint alone shows nothing else, so that a comparison finds no change."""
    deployment_id = api.save_deployment("squared/bare", entrypoint="a.py:b")
    assert api.deployment("squared/bare") == Deployment(
        deployment_id=deployment_id,
        name="squared/bare",
        flow_id=api.flow_id("squared"),
        paused=False,
        work_pool_name=None,
        work_queue_name=None,
        status="NOT_READY",
        entrypoint="a.py:b",
        path=None,
        pull_steps=None,
        job_variables={},
        parameters={},
        parameter_schema=None,
        enforces_schema=True,
        tags=frozenset(),
        description=None,
        version=None,
    )
    api.save_deployment("squared/bare", entrypoint="a.py:b", work_pool_name=work_pool)
    assert api.deployment("squared/bare").work_queue_name == "default"


def test_saving_again_updates(api: PrefectApi, work_pool: str, deployment_id: UUID) -> None:
    """The name keeps its id; what is no longer said is emptied; who paused it keeps it paused; waiting runs stay."""
    name = f"squared/{work_pool}"
    waiting = api.create_deployment_run(deployment_id, name="x", parameters={}, idempotency_key="stays")
    assert api.save_deployment(name, entrypoint="new.py:squared", paused=True) == deployment_id
    assert api.save_deployment(name, entrypoint="new.py:squared") == deployment_id
    found = api.deployment(name)
    assert (found.entrypoint, found.paused, found.tags, found.parameters) == ("new.py:squared", True, set(), {})
    state = api.flow_run_states([waiting])[waiting]
    assert state is not None
    assert state.type == "SCHEDULED"


def test_deployment_of_a_deleted_flow(api: PrefectApi, raw: httpx.Client) -> None:
    """When somebody deletes the flow, saving a deployment brings both back."""
    before = api.save_deployment("short-lived/x", entrypoint="a.py:b")
    assert raw.delete(f"/flows/{api.flow_id('short-lived')}").status_code == 204
    assert api.save_deployment("short-lived/x", entrypoint="a.py:b") != before


@pytest.mark.parametrize("name", ["squared/nowhere", "nothing/nowhere", "squared", "/x", "squared/"])
def test_missing_deployment(api: PrefectApi, name: str) -> None:
    """What Prefect does not have, and what is no name, is told from an outage."""
    with pytest.raises(DeploymentNotFoundError):
        api.deployment(name)


def test_deployment_in_a_missing_work_pool(api: PrefectApi) -> None:
    """A deployment that nobody could run is refused with the work pool's name."""
    with pytest.raises(PrefectRefusedError, match="nowhere"):
        api.save_deployment("squared/x", entrypoint="a.py:b", work_pool_name="nowhere")


# Their runs


def test_deployment_run(api: PrefectApi, raw: httpx.Client, work_pool: str, deployment_id: UUID) -> None:
    """A run waits for a worker, with everything that was said about it beside what the deployment says."""
    flow_run_id = api.create_deployment_run(
        deployment_id,
        name="job-1",
        parameters={"n": 3},
        tags=["pygeoapi"],
        idempotency_key=str(uuid4()),
        work_queue_name="fast",
        job_variables={"env": {"B": "2"}},
    )
    run = run_of(raw, flow_run_id)
    assert (run["name"], run["parameters"], sorted(run["tags"])) == ("job-1", {"n": 3}, ["deployed", "pygeoapi"])
    assert (run["deployment_id"], run["state"]["type"]) == (str(deployment_id), "SCHEDULED")
    assert (run["work_pool_name"], run["work_queue_name"]) == (work_pool, "fast")
    assert run["job_variables"] == {"env": {"B": "2"}}


def test_deployment_run_twice_makes_one(api: PrefectApi, deployment_id: UUID) -> None:
    """The same idempotency key finds the same run, whatever state it has reached."""
    key = str(uuid4())
    first = api.create_deployment_run(deployment_id, name="a", parameters={"n": 1}, idempotency_key=key)
    api.set_flow_run_state(first, state_type="COMPLETED")
    assert api.create_deployment_run(deployment_id, name="b", parameters={"n": 1}, idempotency_key=key) == first
    assert api.create_deployment_run(deployment_id, name="a", parameters={"n": 1}, idempotency_key="other") != first


def test_run_of_a_deleted_deployment(api: PrefectApi, raw: httpx.Client, deployment_id: UUID) -> None:
    """Between finding and running it, somebody may delete a deployment."""
    raw.delete(f"/deployments/{deployment_id}")
    with pytest.raises(DeploymentNotFoundError):
        api.create_deployment_run(deployment_id, name="a", parameters={}, idempotency_key="k")


def test_refused_parameters_are_not_repeated(api: PrefectApi, deployment_id: UUID) -> None:
    """Parameters that do not fit the schema are refused with a remedy and without their values."""
    with pytest.raises(PrefectRefusedError, match="Deploy the flow again") as caught:
        api.create_deployment_run(deployment_id, name="a", parameters={"n": "hunter2"}, idempotency_key="k")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "value",
    [
        {"__prefect_kind": "workspace_variable", "variable_name": "internal"},
        [1, {"deep": {"__prefect_kind": "workspace_variable", "variable_name": "internal"}}],
        {"__prefect_kind": "jinja", "template": "{{ 1 + 1 }}"},
        {"__prefect_kind": "json", "value": '{"__prefect_kind": "json"}'},
        {"__prefect_kind": "none", "value": "größer\n"},
    ],
)
def test_parameters_are_not_evaluated(api: PrefectApi, raw: httpx.Client, deployment_id: UUID, value: Any) -> None:
    """A client's inputs reach the flow as they are: they read no variable of Prefect's and render no template."""
    raw.post("/variables/", json={"name": "internal", "value": "hunter2"})
    flow_run_id = api.create_deployment_run(
        deployment_id, name="a", parameters={"n": 1, "x": value}, idempotency_key=str(uuid4())
    )
    assert run_of(raw, flow_run_id)["parameters"] == {"n": 1, "x": value}


def test_parameter_called_like_the_key(api: PrefectApi, deployment_id: UUID) -> None:
    """Parameters that would be evaluated as a whole are refused."""
    with pytest.raises(PrefectRefusedError, match="__prefect_kind"):
        api.create_deployment_run(
            deployment_id, name="a", parameters={"__prefect_kind": "jinja"}, idempotency_key=str(uuid4())
        )


# What runs tell


def test_flow_run_state_says_everything(api: PrefectApi) -> None:
    """A state comes with its name, message and the server's time."""
    flow_run_id = make_run(api)
    api.set_flow_run_state(flow_run_id, state_type="FAILED", state_name="Broken", message="No such band")
    state = api.flow_run_states([flow_run_id])[flow_run_id]
    assert state is not None
    assert state.timestamp is not None
    assert state == FlowRunState("FAILED", "Broken", "No such band", state.timestamp)
    assert abs(datetime.now(UTC) - state.timestamp) < timedelta(seconds=30)


def test_flow_run_logs(api: PrefectApi) -> None:
    """Lines come by their time, from the one that was asked for, and those of other runs do not."""
    flow_run_id, other = make_run(api), make_run(api)
    began = datetime(2024, 5, 1, tzinfo=UTC)
    lines = [LogLine(began + timedelta(seconds=n), logging.INFO + n, "ndvi", f"line {n}") for n in range(5)]
    api.write_logs(flow_run_id, reversed(lines))
    api.write_logs(other, [LogLine(began, logging.INFO, "other", "other")])
    assert api.flow_run_logs(flow_run_id) == lines
    assert api.flow_run_logs(flow_run_id, after=2, limit=2) == lines[2:4]
    assert api.flow_run_logs(flow_run_id, after=5) == []
    assert api.flow_run_logs(uuid4()) == []


def test_progress_artifacts(api: PrefectApi) -> None:
    """Each run has the bar that moved last; runs without one have no entry; none makes no request."""
    moving, full, without = make_run(api), make_run(api), make_run(api)
    first = api.create_progress_artifact(moving, key="progress", progress=1, description="Tiles")
    api.create_progress_artifact(moving, key="other", progress=90)
    api.create_progress_artifact(full, key="progress", progress=100)
    api.update_progress_artifact(first, progress=12.5)
    assert api.progress_artifacts([moving, full, without]) == {
        moving: Progress(12.5, "Tiles"),
        full: Progress(100.0, None),
    }
    assert api.progress_artifacts([]) == {}


def test_progress_of_tasks_is_not_the_run_s(
    api: PrefectApi, raw: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bars of task runs do not count, also where they fill whole answers before the run's own."""
    monkeypatch.setattr(flow_runs, "IDS_PER_REQUEST", 2)
    flow_run_id = make_run(api)
    api.create_progress_artifact(flow_run_id, key="progress", progress=10)
    task = {"flow_run_id": str(flow_run_id), "task_key": "t", "dynamic_key": "0"}
    task_run_id = raw.post("/task_runs/", json=task).json()["id"]
    for n in range(5):
        artifact = {"type": "progress", "key": f"task-{n}", "data": 100, "flow_run_id": str(flow_run_id)}
        raw.post("/artifacts/", json=artifact | {"task_run_id": task_run_id})
    assert api.progress_artifacts([flow_run_id]) == {flow_run_id: Progress(10.0, None)}


# Blocks


@pytest.fixture
def save_block(raw: httpx.Client) -> Iterator[Any]:
    """Saves a block document of a type that the server knows; gone after the test."""
    saved: list[str] = []

    def save(slug: str, name: str, data: dict[str, Any]) -> str:
        type_id = raw.get(f"/block_types/slug/{slug}").json()["id"]
        [schema, *_] = raw.post(
            "/block_schemas/filter", json={"block_schemas": {"block_type_id": {"any_": [type_id]}}}
        ).json()
        document = {"name": name, "data": data, "block_type_id": type_id, "block_schema_id": schema["id"]}
        saved.append(raw.post("/block_documents/", json=document).json()["id"])
        return saved[-1]

    yield save
    for block_id in reversed(saved):
        raw.delete(f"/block_documents/{block_id}")


def test_block_document_with_its_credentials(api: PrefectApi, save_block: Any) -> None:
    """A block comes with the block that it refers to in its place, secrets in clear text, none of it in the repr."""
    credentials = save_block("minio-credentials", "keys", {"minio_root_user": "me", "minio_root_password": "hunter2"})
    block_id = save_block(
        "s3-bucket", "results", {"bucket_name": "b", "credentials": {"$ref": {"block_document_id": credentials}}}
    )
    block = api.block_document("s3-bucket/results")
    assert (str(block.block_id), block.slug, block.name) == (block_id, "s3-bucket", "results")
    assert block.data["bucket_name"] == "b"
    assert block.data["credentials"]["minio_root_user"] == "me"
    assert block.data["credentials"]["minio_root_password"] == "hunter2"
    assert "hunter2" not in repr(block)


@pytest.mark.parametrize("reference", ["s3-bucket/nowhere", "no-such-type/x", "s3-bucket", "/x"])
def test_missing_block_document(api: PrefectApi, reference: str) -> None:
    """What Prefect does not have, and what is no reference, is told from an outage."""
    with pytest.raises(BlockNotFoundError):
        api.block_document(reference)


def test_secret(api: PrefectApi, raw: httpx.Client) -> None:
    """A secret is kept, replaced and removed, each as often as one likes, and shown to nobody."""
    name = f"job-{uuid4()}"
    api.save_secret(name, "first")
    api.save_secret(name, {"user": "me", "password": "hunter2"})
    api.save_secret(name, {"user": "me", "password": "hunter2"})
    assert api.block_document(f"secret/{name}").data["value"] == '{"user":"me","password":"hunter2"}'
    assert "hunter2" not in raw.get(f"/block_types/slug/secret/block_documents/name/{name}").text
    api.delete_secret(name)
    api.delete_secret(name)
    with pytest.raises(BlockNotFoundError):
        api.block_document(f"secret/{name}")


def test_flows_read_secrets_as_they_were_saved(api: PrefectApi) -> None:
    """Prefect's own Secret gives every JSON value back, also texts that look like numbers."""
    values = ["12", "null", 12, "größer", {"a": [1, None]}, "********"]
    for n, value in enumerate(values):
        api.save_secret(f"value-{n}", value)
    code = (
        "from prefect.blocks.system import Secret\n"
        f"values = [Secret.load(f'value-{{n}}').get() for n in range({len(values)})]\n"
        f"assert values == {values!r}, values"
    )
    environment = {"PREFECT_API_URL": api.connection.api_url, "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false"}
    subprocess.run([sys.executable, "-P", "-c", code], check=True, env=environment)


# Work pools


def test_work_pool(api: PrefectApi, work_pool: str) -> None:
    """A pool is what was created, with a default queue; a second creation changes nothing."""
    assert api.create_work_pool(work_pool, "docker", {}) is False
    found = api.work_pool(work_pool)
    assert found is not None
    assert (found.name, found.type, found.is_paused, found.status) == (work_pool, "process", False, "NOT_READY")
    queue = api.work_queue(work_pool, "default")
    assert queue is not None
    assert found.default_queue_id == queue.queue_id


def test_every_published_type_makes_a_work_pool(api: PrefectApi) -> None:
    """Prefect takes the templates that it publishes; those of processes, Docker and Kubernetes are among them."""
    types = api.work_pool_types()
    assert {"process", "docker", "kubernetes"} <= set(types)
    for worker_type, template in types.items():
        name = f"{worker_type}-{uuid4().hex}"
        assert api.create_work_pool(name, worker_type, template) is True
        found = api.work_pool(name)
        assert found is not None
        assert (found.type, found.base_job_template) == (worker_type, template)


def test_reserved_work_pool(api: PrefectApi) -> None:
    """A name that Prefect reserves is refused as such, and not as a matter of credentials."""
    with pytest.raises(PrefectRefusedError, match="reserves"):
        api.create_work_pool("Prefect-pool", "process", {})


def test_work_queue(api: PrefectApi, work_pool: str) -> None:
    """A queue is created once and found."""
    assert api.work_queue(work_pool, "fast, cheap") is None
    assert api.create_work_queue(work_pool, "fast, cheap") is True
    assert api.create_work_queue(work_pool, "fast, cheap") is False
    queue = api.work_queue(work_pool, "fast, cheap")
    assert queue is not None
    assert queue == WorkQueue(queue.queue_id, "fast, cheap", False, "NOT_READY", queue.priority, None)


def test_missing_work_pool(api: PrefectApi) -> None:
    """Where there is no work pool there are no queues and no workers, and none can be made."""
    assert api.work_pool("nowhere") is None
    assert api.work_queue("nowhere", "default") is None
    with pytest.raises(WorkPoolNotFoundError):
        api.create_work_queue("nowhere", "fast")
    with pytest.raises(WorkPoolNotFoundError):
        api.living_workers("nowhere")


def test_living_workers(api: PrefectApi, raw: httpx.Client, work_pool: str) -> None:
    """Workers live while they report; then their work pool and its deployments can be used."""
    assert api.living_workers(work_pool) == 0
    for name in ("a", "b", "a"):
        raw.post(f"/work_pools/{work_pool}/workers/heartbeat", json={"name": name})
    assert api.living_workers(work_pool) == 2
    found = api.work_pool(work_pool)
    assert found is not None
    assert found.status == "READY"
