"""Jobs on Dask clusters: real schedulers and workers, a real gateway, and flow runs of a real Prefect server."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from pygeoapi_prefect import DaskCluster
from pygeoapi_prefect.exceptions import ConfigurationError, InvalidInputsError
from pygeoapi_prefect.process.description import FunctionSignature
from pygeoapi_prefect.runner.prefect_server import LocalPrefectServer
from pygeoapi_prefect.settings import ProcessSettings
from pygeoapi_prefect.validation import secret_inputs
from serving import Server, running

TESTS = Path(__file__).parent
HERE = "127.0.0.1"
TOKEN = "open-sesame-2718281828"

# dashboards off, and nothing of this machine's Dask configuration
ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if not key.startswith("DASK_")},
    "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent / "src")]),
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
}


def wait_for[T](look: Callable[[], T], seconds: float = 30) -> T:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HERE, 0))
        return int(listener.getsockname()[1])


@contextmanager
def child(*command: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours, ended at the end."""
    process = subprocess.Popen([sys.executable, *command], env=ENVIRONMENT, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@dataclass(frozen=True)
class Cluster:
    """A scheduler and the process ids of its workers."""

    address: str
    worker_pids: frozenset[int]

    def task_states(self) -> list[str]:
        """Of the tasks that the scheduler knows."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            return list(client.run_on_scheduler(_task_states))

    def clients(self) -> list[str]:
        from distributed import Client

        with Client(self.address, set_as_default=False, name="looking") as client:
            return list(client.run_on_scheduler(_clients))


def _task_states(dask_scheduler: Any) -> list[str]:
    return [task.state for task in dask_scheduler.tasks.values()]


def _clients(dask_scheduler: Any) -> list[str]:
    return list(dask_scheduler.clients)


@contextmanager
def running_cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    file = folder / "scheduler.json"
    listening = ["--host", HERE, "--no-dashboard"]
    with ExitStack() as stack:
        log = stack.enter_context((folder / "dask.log").open("ab"))
        run = partial(child, stdout=log, stderr=log, cwd=folder)
        scheduler = ["-m", "distributed.cli.dask_scheduler", *listening, "--port", "0", "--scheduler-file", str(file)]
        stack.enter_context(run(*scheduler))
        address = json.loads(wait_for(lambda: file.exists() and file.read_text()))["address"]
        worker = ["-m", "distributed.cli.dask_worker", address, *listening, "--no-nanny", "--nthreads", "1"]
        pids = [stack.enter_context(run(*worker, "--local-directory", str(folder))).pid for _ in range(workers)]
        from distributed import Client

        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=30)
        yield Cluster(address, frozenset(pids))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a Prefect server."""
    with LocalPrefectServer(tmp_path_factory.mktemp("prefect")) as server:
        server.wait_until_healthy(90)
        yield server.connection.api_url


@pytest.fixture(scope="module")
def run_job(
    api_url: str, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs jobs of the flows in ``dask_flows``, all in one process of their own, as a pool worker does."""
    folder = str(tmp_path_factory.mktemp("results"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(TESTS), *sys.path])
        patch.setenv("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false")
        patch.setenv("FIXED_ADDRESS", cluster.address)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            from dask_flows import run_job

            def run(name: str, inputs: dict[str, Any], rules: list[str]) -> dict[str, Any]:
                return pool.submit(run_job, api_url, folder, name, inputs, rules, ["cluster"]).result(60)

            yield run


# ---------------------------------------------------------------- the input


def ndvi(scene: str, cluster: DaskCluster | None = None) -> float:
    raise NotImplementedError


def test_a_cluster_is_an_input_whose_token_is_write_only() -> None:
    """The description names address, label and token, and says that the token cannot be read back."""
    described = FunctionSignature(ndvi).inputs["cluster"]
    assert described["minOccurs"] == 0
    [schema] = [part for part in described["schema"]["anyOf"] if part.get("type") == "object"]
    assert schema["required"] == ["address"]
    assert set(schema["properties"]) == {"address", "label", "token"}
    [token] = [part for part in schema["properties"]["token"]["anyOf"] if part.get("type") == "string"]
    assert (token["format"], token["writeOnly"]) == ("password", True)


def test_nothing_of_dask_or_prefect_is_imported_for_the_description() -> None:
    """Web processes describe processes with clusters without the seconds that Dask and Prefect cost."""
    script = (
        "import sys\n"
        "from pygeoapi_prefect import DaskCluster\n"
        "from pygeoapi_prefect.process.description import FunctionSignature\n"
        "def ndvi(cluster: DaskCluster | None = None) -> float: ...\n"
        "FunctionSignature(ndvi).arguments({'cluster': {'address': 'tcp://a:1', 'token': 't'}})\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, check=True, capture_output=True, text=True)
    assert {"dask", "distributed", "dask_gateway", "prefect", "prefect_dask"} & set(loaded.stdout.split()) == set()


@pytest.mark.parametrize("missing", ["prefect_dask", "dask_gateway"])
def test_missing_packages_are_named_with_their_extra(missing: str) -> None:
    """Without the extra, the error says what to install."""
    address = "http://127.0.0.1:1" if missing == "dask_gateway" else "tcp://127.0.0.1:1"
    script = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from pygeoapi_prefect import DaskCluster\n"
        f"DaskCluster(address={address!r}, label='a').allowing([{address!r}]).task_runner()"
    )
    ended = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, check=False, capture_output=True, text=True)
    assert "ConfigurationError" in ended.stderr
    assert "pip install 'pygeoapi-prefect[dask]'" in ended.stderr


@pytest.mark.parametrize(
    "address",
    [
        *("scheduler:8786", "tcp://scheduler", "inproc://1", "ws://scheduler:80", "file:///etc/passwd"),
        *("tcp://scheduler:8786@evil.org:1", "tcp://scheduler:8786/x", "tcp://scheduler:8786\n", " tcp://a:1"),
        *("https://user:password@hub.org", "https://hub.org?a=b", "https://hub.org#a", "https://hub.org/a/../b"),
        *("https://hub.org/%2e%2e/b", "https://hub.org//b", "https://hub.org\\@evil.org"),
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    """An address has a scheme, a host, a port or a plain path, and nothing that rules could be deceived with."""
    with pytest.raises(ValidationError):
        DaskCluster(address=address)


def test_a_token_is_in_no_text_of_a_cluster() -> None:
    """Neither the text nor the JSON of a cluster shows its token."""
    cluster = DaskCluster(address="https://hub.org", token=TOKEN)  # type: ignore[arg-type]
    assert TOKEN not in f"{cluster!r} {cluster} {cluster.model_dump()} {cluster.model_dump_json()}"


# ---------------------------------------------------------------- secret inputs


@pytest.mark.parametrize("secret", [{"writeOnly": True}, {"format": "password"}], ids=["writeOnly", "password"])
@pytest.mark.parametrize(
    "around",
    [
        lambda secret: secret,
        lambda secret: {"type": "object", "properties": {"token": secret}},
        lambda secret: {"type": "array", "items": secret},
        lambda secret: {"type": "array", "items": [{"type": "string"}, secret]},
        lambda secret: {"anyOf": [{"enum": [None]}, secret]},
        lambda secret: {"oneOf": [secret]},
        lambda secret: {"allOf": [{"type": "string"}, {"anyOf": [secret]}]},
        lambda secret: {"additionalProperties": secret},
        lambda secret: {"$defs": {"token": secret}, "$ref": "#/$defs/token"},
        lambda secret: {"anyOf": [{"properties": {"logins": {"items": {"properties": {"password": secret}}}}}]},
    ],
)
def test_an_input_with_a_secret_in_it_is_secret(secret: dict[str, Any], around: Callable[..., dict[str, Any]]) -> None:
    """A secret anywhere in the schema makes the whole input secret, and no other one."""
    inputs = {"hidden": {"schema": around(secret)}, "shown": {"schema": around({"type": "string"})}}
    assert secret_inputs({"inputs": inputs}) == ["hidden"]


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"writeOnly": {"type": "boolean"}, "format": {"type": "string"}}},
        {"writeOnly": False},
        {"format": "date"},
        True,
        None,
    ],
)
def test_an_input_without_a_secret_is_not_secret(schema: Any) -> None:
    """Members that only have the names of keywords, and schemas that are no objects, say nothing of secrets."""
    assert secret_inputs({"inputs": {"shown": {"schema": schema}}}) == []


def test_a_cluster_is_a_secret_input() -> None:
    """So neither the job store keeps it for longer than the job, nor does Prefect get it."""
    assert secret_inputs({"inputs": FunctionSignature(ndvi).inputs}) == ["cluster"]


# ---------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("rule", "address"),
    [
        ("tcp://scheduler:8786", "tcp://scheduler:8786"),
        ("tcp://scheduler:*", "tcp://scheduler:1"),
        ("tls://10.0.0.*:8786", "tls://10.0.0.7:8786"),
        ("tcp://[::1]:*", "tcp://[::1]:8786"),
        ("https://*.hub.org/services/dask-gateway", "https://eu.hub.org/services/dask-gateway/"),
        ("https://hub.org/", "https://hub.org"),
        ("https://hub.org/*/gateway", "https://hub.org/a/gateway"),
    ],
)
def test_rules_allow(rule: str, address: str) -> None:
    """An allowed address gets past the rule: what is wrong with it then is that nobody answers or the label lacks."""
    cluster = DaskCluster(address=address).allowing(["tcp://other:1", rule])
    cluster._require_allowed()


@pytest.mark.parametrize(
    ("rules", "address"),
    [
        ([], "tcp://scheduler:8786"),
        (["tcp://scheduler:8786"], "tcp://scheduler:87861"),
        (["tcp://scheduler:*"], "tls://scheduler:8786"),
        (["tcp://scheduler:*"], "tcp://scheduler.evil.org:8786"),
        (["tcp://a.b:1"], "tcp://axb:1"),
        (["tcp://*:8786"], "tcp://[::1]:8786"),
        (["https://*.hub.org"], "https://evil.org/a.hub.org"),
        (["https://*.hub.org"], "https://evil.org:443/a.hub.org"),
        (["https://hub.org/*"], "https://hub.org/a/b"),
        (["https://hub.org"], "http://hub.org"),
    ],
)
def test_rules_refuse(rules: list[str], address: str) -> None:
    """Without a rule that fits, nothing is connected to; the log names the remedy, the client does not read it."""
    with pytest.raises(InvalidInputsError, match=r"processor\.prefect\.dask_addresses") as refused:
        DaskCluster(address=address).allowing(rules).task_runner()
    assert refused.value.client_message == "this address of a Dask cluster is not allowed."


@pytest.mark.parametrize("rule", ["*", "scheduler:8786", "inproc://*", "tcp://", 1])
def test_a_rule_has_a_scheme_and_a_host(rule: Any) -> None:
    """What would allow everything, or never anything, is refused at start with its key."""
    with pytest.raises(ConfigurationError, match=r"^resources\.a\.processor\.prefect\.dask_addresses\.0: "):
        ProcessSettings.parse({"dask_addresses": [rule]}, "resources.a.processor.prefect")


# ---------------------------------------------------------------- jobs


@pytest.mark.parametrize("name", ["pids", "async_pids"])
def test_tasks_run_on_all_workers(name: str, run_job: Callable[..., dict[str, Any]], cluster: Cluster) -> None:
    """The tasks run in the processes of both workers, the flow in its own, and the outputs are stored."""
    job = run_job(name, {"cluster": {"address": cluster.address}}, [cluster.address])
    assert job["outcome"]["status"] == "successful", job["log"]
    *of_tasks, of_flow = job["value"]
    assert set(of_tasks) == cluster.worker_pids
    assert of_flow not in cluster.worker_pids


@pytest.mark.soak
def test_each_job_chooses_its_cluster(run_job: Callable[..., dict[str, Any]], cluster: Cluster, tmp_path: Path) -> None:
    """Jobs of one process, one after the other: no cluster, one, another; nothing remains of the one before."""
    with running_cluster(tmp_path, workers=1) as other:
        rules = ["tcp://127.0.0.1:*"]
        chosen = [{}, {"cluster": {"address": cluster.address}}, {"cluster": {"address": other.address}}, {}]
        jobs = [run_job("pids", {"count": 4, **inputs}, rules) for inputs in chosen]
    where = [set(job["value"][:-1]) for job in jobs]
    here = {jobs[0]["value"][-1]}
    assert where[0] == where[3] == here
    assert where[1] <= cluster.worker_pids
    assert where[2] <= other.worker_pids


def test_a_flow_may_have_its_cluster_in_the_code(run_job: Callable[..., dict[str, Any]], cluster: Cluster) -> None:
    """A ``DaskTaskRunner`` in the decorator needs neither an input nor a rule."""
    job = run_job("fixed", {}, [])
    assert job["outcome"]["status"] == "successful", job["log"]
    assert set(job["value"][:-1]) == cluster.worker_pids


def test_an_address_without_a_rule_fails_the_job(run_job: Callable[..., dict[str, Any]], cluster: Cluster) -> None:
    """The job fails with 400 and the name of the input before there is a flow run."""
    job = run_job("pids", {"cluster": {"address": cluster.address}}, [])
    assert job["outcome"]["problem"]["status"] == 400
    assert job["outcome"]["message"] == "Input 'cluster': this address of a Dask cluster is not allowed."
    assert job["flow_run_id"] is None


@contextmanager
def silent_listener() -> Iterator[int]:
    """Takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind((HERE, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_wrong_address_fails_the_job(run_job: Callable[..., dict[str, Any]], api_url: str) -> None:
    """Nobody, silence, or a server of another kind is given up within 30 seconds; the job names the input."""
    with silent_listener() as port, ThreadPoolExecutor() as threads:
        begun = time.monotonic()
        nobody = f"tcp://{HERE}:{free_port()}"
        other = api_url.replace("http:", "tcp:").removesuffix("/api")
        given_up = [
            threads.submit(DaskCluster(address=address, label="a").allowing([address]).task_runner)
            for address in (f"tcp://{HERE}:{port}", f"http://{HERE}:{port}", other)
        ]
        job = run_job("pids", {"cluster": {"address": nobody}}, [nobody])
        refused = [one.exception(30) for one in given_up]
        assert time.monotonic() - begun < 30
    assert job["outcome"]["problem"]["status"] == 400
    assert job["outcome"]["message"] == (
        "Input 'cluster': no Dask scheduler answers at this address within 10 seconds."
    )
    assert [type(error) for error in refused] == [InvalidInputsError] * 3


def test_a_plain_scheduler_takes_no_token(run_job: Callable[..., dict[str, Any]], cluster: Cluster) -> None:
    """A token that nobody would check is refused instead of ignored, and told nowhere."""
    job = run_job("pids", {"cluster": {"address": cluster.address, "token": TOKEN}}, [cluster.address])
    assert job["outcome"]["message"] == "Input 'cluster': a plain scheduler takes no token. Leave it out."
    assert TOKEN not in json.dumps(job)


def test_the_label_is_the_name_of_the_client(cluster: Cluster) -> None:
    """A plain scheduler shows who is connected by the label."""
    runner = DaskCluster(address=cluster.address, label="ndvi").allowing([cluster.address]).task_runner()
    with runner.duplicate() as started:
        client = started.client
        assert client.id in cluster.clients()
        assert "ndvi" in client.id.split("-")


# ---------------------------------------------------------------- dismissing


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
@pytest.mark.soak
def test_a_dismissed_job_leaves_no_tasks(sent: signal.Signals, api_url: str, cluster: Cluster, tmp_path: Path) -> None:
    """After the flow's process got a signal the scheduler forgets all within 5 seconds, and its workers stop."""
    file = tmp_path / "tasks"

    def count(word: str) -> int:
        return file.read_text().count(word) if file.exists() else 0

    command = [str(TESTS / "dask_flows.py"), str(tmp_path / "results"), str(file), cluster.address]
    with pytest.MonkeyPatch.context() as patch, (tmp_path / "log").open("wb") as log:
        patch.setitem(ENVIRONMENT, "API_URL", api_url)
        with child(*command, stdout=log, stderr=log) as flow:
            wait_for(lambda: count("begun") == 2)
            wait_for(lambda: len(cluster.task_states()) == 10)
            flow.send_signal(sent)
            flow.wait(5)
            wait_for(lambda: cluster.task_states() == [], seconds=5)
            # a worker that hears late may begin what it was given before; those that run take 2 seconds
            time.sleep(2.5)
            begun = count("begun")
            time.sleep(3)
            assert (count("begun"), count("ended")) == (begun, begun)
            assert begun < 10


@pytest.mark.soak
def test_over_http(api_url: str, cluster: Cluster, tmp_path: Path) -> None:
    """A client chooses the cluster of its job, and DELETE leaves no task of it."""

    def processor(name: str) -> dict[str, Any]:
        prefect = {"flow": f"dask_flows:{name}", "dask_addresses": [cluster.address]}
        return {"name": "pygeoapi_prefect.FlowProcessor", "prefect": prefect}

    served = Server(
        tmp_path / "server",
        processors={"pids": processor("pids"), "many-slow": processor("many_slow")},
        environment={"PREFECT_API_URL": api_url},
    )
    chosen = {"cluster": {"address": cluster.address, "label": "ndvi"}}
    file = tmp_path / "tasks"
    with running(served):
        job_id = served.submit("pids", chosen)
        served.wait_for(job_id, "successful", within=60)
        *of_tasks, of_flow = served.results(job_id).json()
        assert set(of_tasks) == cluster.worker_pids
        assert of_flow not in cluster.worker_pids
        refused = served.submit("pids", {"cluster": {"address": "tcp://127.0.0.1:1"}})
        assert "'cluster': this address" in served.wait_for(refused, "failed", within=30)["message"]
        job_id = served.submit("many-slow", {**chosen, "file": str(file)})
        wait_for(lambda: file.exists() and file.read_text().count("begun") == 2)
        assert served.client.delete(f"/jobs/{job_id}").status_code == 200
        wait_for(lambda: cluster.task_states() == [], seconds=6)
        begun = file.read_text().count("begun")
        time.sleep(3)
        assert file.read_text().count("begun") == begun < 10


# ---------------------------------------------------------------- Dask Gateway


class Hub(BaseHTTPRequestHandler):
    """The part of JupyterHub's API that says whose token it is."""

    def do_GET(self) -> None:
        is_known = self.path == "/user" and self.headers["Authorization"] == f"token {TOKEN}"
        self.send_response(200 if is_known else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"name": "root", "kind": "user"} if is_known else {}).encode())

    def log_message(self, *_: Any) -> None:
        pass


@dataclass(frozen=True)
class RunningGateway:
    """A gateway at *url* with one running cluster."""

    url: str
    label: str


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A real gateway whose users are JupyterHub's, with a cluster of one worker."""
    folder = tmp_path_factory.mktemp("gateway")
    url = f"http://{HERE}:{free_port()}"
    hub = ThreadingHTTPServer((HERE, 0), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    (folder / "config.py").write_text(
        f"""
c.Proxy.address = {url.removeprefix("http://")!r}
c.DaskGateway.address = "{HERE}:{free_port()}"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.JupyterHubAuthenticator"
c.JupyterHubAuthenticator.jupyterhub_api_token = "unused"
c.JupyterHubAuthenticator.jupyterhub_api_url = "http://{HERE}:{hub.server_port}"
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.UnsafeLocalBackend.clusters_directory = {str(folder)!r}
c.UnsafeLocalBackend.sigint_timeout = 1
c.LocalClusterConfig.scheduler_cmd = [{sys.executable!r}, "-m", "distributed.cli.dask_scheduler"]
c.LocalClusterConfig.worker_cmd = [{sys.executable!r}, "-m", "distributed.cli.dask_worker"]
"""
    )
    with (
        (folder / "log").open("wb") as log,
        child("-m", "dask_gateway_server", "-f", "config.py", cwd=folder, stdout=log, stderr=log),
    ):
        wait_for(lambda: _answers(f"{url}/api/health"))
        label = asyncio.run(_start_cluster(url))
        yield RunningGateway(url, label)
        asyncio.run(_stop_cluster(url, label))
    hub.shutdown()
    hub.server_close()


async def _start_cluster(url: str) -> str:
    from dask_gateway import Gateway, JupyterHubAuth

    async with asyncio.timeout(30), Gateway(url, auth=JupyterHubAuth(TOKEN), asynchronous=True) as gateway:
        label = str(await gateway.submit())
        while (await gateway.get_cluster(label)).status.name != "RUNNING":
            await asyncio.sleep(0.1)
        await gateway.scale_cluster(label, 1)
        return label


async def _stop_cluster(url: str, label: str) -> None:
    from dask_gateway import Gateway, JupyterHubAuth

    async with Gateway(url, auth=JupyterHubAuth(TOKEN), asynchronous=True) as gateway:
        await gateway.stop_cluster(label)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def everything_in_prefect(api_url: str, flow_run_id: str) -> str:
    """The flow run, its parameters, its task runs and its logs."""
    of_run = {"flow_run_id": {"any_": [flow_run_id]}}
    with httpx.Client(base_url=api_url, trust_env=False) as prefect:
        answers = [
            prefect.get(f"/flow_runs/{flow_run_id}"),
            prefect.post("/task_runs/filter", json={"flow_runs": {"id": {"any_": [flow_run_id]}}}),
            prefect.post("/logs/filter", json={"logs": of_run}),
        ]
    return "\n".join(answer.raise_for_status().text for answer in answers)


def test_tasks_run_on_a_gateways_cluster(
    run_job: Callable[..., dict[str, Any]], gateway: RunningGateway, api_url: str
) -> None:
    """The token opens the gateway, the label chooses its cluster, and the token is told nowhere."""
    chosen = {"address": gateway.url, "label": gateway.label, "token": TOKEN}
    for _ in range(2):  # the first job's end leaves the cluster running
        job = run_job("pids", {"cluster": chosen}, [gateway.url])
        assert job["outcome"]["status"] == "successful", job["log"]
        *of_tasks, of_flow = job["value"]
        assert of_flow not in of_tasks
        assert len(set(of_tasks)) == 1
    assert TOKEN not in json.dumps(job)
    seen = everything_in_prefect(api_url, job["flow_run_id"])
    assert '"job_id":"job-1"' in seen
    assert TOKEN not in seen
    assert gateway.label not in seen


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token": f"{TOKEN}-wrong"}, "the Dask Gateway refused the request (401). Check the token."),
        ({"label": "no-such-cluster"}, "the Dask Gateway runs no cluster of this label."),
        ({"label": None}, "'label' is missing: the name of the gateway's cluster."),
        ({"address": "http://127.0.0.1:1"}, "no Dask Gateway answers at this address within 10 seconds."),
    ],
    ids=["token", "label", "no-label", "address"],
)
def test_what_is_wrong_with_a_gateway_is_told(
    changes: dict[str, Any], message: str, run_job: Callable[..., dict[str, Any]], gateway: RunningGateway
) -> None:
    """The job fails with the reason and the name of the input, and the token is told nowhere."""
    chosen = {"address": gateway.url, "label": gateway.label, "token": TOKEN} | changes
    job = run_job("pids", {"cluster": chosen}, [chosen["address"]])
    assert job["outcome"]["problem"]["status"] == 400
    assert job["outcome"]["message"] == f"Input 'cluster': {message}"
    assert TOKEN not in json.dumps(job)
