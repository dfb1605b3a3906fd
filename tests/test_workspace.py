"""Laws of jobs that work in a workspace of their user's."""

import gzip
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import httpx
import jwt
import pytest
import stamina
from botocore.exceptions import EndpointConnectionError
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from s3fs import S3FileSystem

from handled_here import JOB_ID, Returns, execute_here
from prefect_seen import Prefect
from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.handlers.connections import forget_connections
from pygeoapi_prefect.handlers.loading import load_handlers
from pygeoapi_prefect.handlers.validated import ValidatedHandler
from pygeoapi_prefect.handlers.workspace import STORAGE_VARIABLES, WorkspaceHandler, WorkspaceOptions
from pygeoapi_prefect.handlers.workspace_client import (
    MAX_ANSWER_BYTES,
    WorkspaceClient,
    WorkspaceForbiddenError,
    WorkspaceRefusedError,
    WorkspaceUnavailableError,
)
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.settings import process_settings
from serving import Server, eventually, free_port, running
from workspace_api import ACCESS_KEY, SECRET_KEY, STORAGE, Answer, workspace_api

JSON = "application/json"
WORKSPACE = "pygeoapi_prefect.handlers.WorkspaceHandler"
ISSUER, AUDIENCE = "https://issuer.example", "terrain"
CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "sub": "42", "preferred_username": "Ada L.", "exp": time.time() + 3600}
KEY = ec.generate_private_key(ec.SECP256R1())
TOKEN = jwt.encode(CLAIMS, KEY, algorithm="ES256")
ADA = {"issuer": ISSUER, "subject": "42", "name": "Ada L.", "roles": [], "groups": [], "claims": CLAIMS}
CATALOGUE = "s3://ws-ada/run/catalog.json"


@pytest.fixture(autouse=True)
def _no_waiting():
    """Calls are tried again at once, as often as they are told to be."""
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


@pytest.fixture
def api():
    with workspace_api() as started:
        started.add("ws-ada-l", TOKEN)
        yield started


@pytest.fixture
def client(api):
    return WorkspaceClient(api.url, TOKEN, attempts=3, timeout_seconds=5, job_id="job")


def handler(api, *, name=WORKSPACE, **options):
    """The handler as the configuration has it."""
    return {"name": name, "options": {"workspace_api_url": api.url, "attempts": 3, **options}}


def executed_for_ada(folder, handlers, returned, outputs=("stac_catalog", "environment"), **named):
    """The outcome of a job of hers."""
    return execute_here(folder, handlers, Returns(returned, outputs), user=ADA, access_token=TOKEN, **named)


class TestClient:
    @pytest.mark.parametrize(
        "document",
        [
            {"storage": {"credentials": STORAGE}},
            {"credentials": STORAGE},
            STORAGE,
            {**{key: STORAGE[key] for key in ("endpoint", "region")}, "bucket": "ws-ada", "project_id": "project",
             "access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "session_token": None, "more": {}},
        ],
    )  # fmt: skip
    def test_credentials(self, api, client, document):
        """They are read wherever workspace APIs put them, and get one set of names."""
        api.next_answers = [Answer.of(200, document)]
        assert client.get_credentials("Ada L.") == {
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
            "endpoint": STORAGE["endpoint"],
            "region": "eu-1",
            "bucket": "ws-ada",
            "project_id": "project",
        }
        assert [(call.method, call.path) for call in api.calls] == [("GET", "/workspaces/ws-ada-l")]

    @pytest.mark.parametrize(
        ("username", "workspace"),
        [
            ("ada", "ws-ada"),
            ("Ada Lovelace", "ws-ada-lovelace"),
            ("../../admin?x=#", "ws-admin-x"),
            ("a" * 50, "ws-" + "a" * 32),
            ("Łukasz", "ws-lukasz"),
        ],
    )
    def test_names(self, username, workspace):
        """A workspace's name is fit for host names, and leads to no other path of the API."""
        assert WorkspaceClient("http://127.0.0.1", "").workspace_of(username) == workspace

    def test_names_that_have_nothing(self, client, api):
        """They are refused before anything is asked."""
        with pytest.raises(WorkspaceForbiddenError):
            client.get_credentials("/../")
        assert api.calls == []

    def test_other_apis(self, api):
        """Workspace, paths and type are the installation's."""
        other = WorkspaceClient(
            f"{api.url}/v9/",
            TOKEN,
            workspace="{username}-space",
            credentials_path="/users/{username}/keys",
            register_path="spaces/{workspace}/items",
            registration_type="stac-collection",
        )
        api.next_answers = [Answer.of(200, STORAGE), Answer(204)]
        other.get_credentials("a b")
        other.register_catalog(username="a b", catalog_url=CATALOGUE)
        assert [call.path for call in api.calls] == ["/v9/users/a%20b/keys", "/v9/spaces/a-b-space/items"]
        assert api.calls[1].body == {"type": "stac-collection", "url": CATALOGUE}

    @pytest.mark.parametrize("status", [0, 408, 425, 429, 500, 502, 503])
    def test_failures_that_pass(self, api, client, status):
        """They are tried again, a registration with the same key: it is made once."""
        api.next_answers = [Answer(status), Answer(status)]
        client.register_catalog(username="Ada L.", catalog_url=CATALOGUE)
        assert list(api.registered["ws-ada-l"].values()) == [{"type": "stac-item", "url": CATALOGUE}]
        assert len({call.headers["Idempotency-Key"] for call in api.calls}) == 1
        assert len(api.calls) == 3

    def test_failures_that_stay(self, api, client):
        """After the last attempt the client reads that it may try later, the operator where."""
        api.next_answers = [Answer(500)] * 3
        with pytest.raises(WorkspaceUnavailableError, match=f"GET {api.url}/workspaces/ws-ada-l with 500") as raised:
            client.get_credentials("Ada L.")
        assert raised.value.client_message == "Your workspace cannot be reached. Try again later."
        assert len(api.calls) == 3

    def test_no_api(self):
        """Where nobody listens that is an outage."""
        with pytest.raises(WorkspaceUnavailableError, match="ConnectError"):
            WorkspaceClient("http://127.0.0.1:9", TOKEN, attempts=2).get_credentials("ada")

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (Answer(400), WorkspaceRefusedError),
            (Answer(401), WorkspaceForbiddenError),
            (Answer(403), WorkspaceForbiddenError),
            (Answer(404), WorkspaceForbiddenError),
            (Answer(200, b"<html>"), WorkspaceRefusedError),
            (Answer(200, b" " * (MAX_ANSWER_BYTES + 1)), WorkspaceRefusedError),
            (Answer(200, gzip.compress(b"{}"), {"Content-Encoding": "gzip"}), WorkspaceRefusedError),
            (Answer.of(200, {"status": "provisioning", "storage": None}), WorkspaceUnavailableError),
            (Answer.of(200, {**STORAGE, "access": "two\nlines"}), WorkspaceUnavailableError),
            (Answer.of(200, []), WorkspaceUnavailableError),
            (Answer(204), WorkspaceUnavailableError),
        ],
    )
    def test_answers_that_are_final(self, api, client, answer, error):
        """They are not asked for again, and no credential is in the error."""
        api.next_answers = [answer]
        with pytest.raises(error) as raised:
            client.get_credentials("Ada L.")
        assert len(api.calls) == 1
        assert SECRET_KEY not in f"{raised.value}{raised.value.__cause__}"

    def test_redirects(self, api, client):
        """The token goes to no other place, also on the word of the API."""
        with workspace_api() as other:
            api.next_answers = [Answer(307, headers={"Location": f"{other.url}/workspaces/ws-ada-l"})]
            with pytest.raises(WorkspaceRefusedError, match="workspace_api_url"):
                client.get_credentials("Ada L.")
            assert other.calls == []

    def test_registrations(self, api, client):
        """What is registered already is done; another place or another job is another registration."""
        for _ in range(2):
            client.register_catalog(username="Ada L.", catalog_url=CATALOGUE)
        client.register_catalog(username="Ada L.", catalog_url=f"{CATALOGUE}?2")
        WorkspaceClient(api.url, TOKEN, job_id="other").register_catalog(username="Ada L.", catalog_url=CATALOGUE)
        assert len(api.registered["ws-ada-l"]) == 3


def environment_of(data):
    """What a job finds."""
    return JSON, {
        "stac_catalog": CATALOGUE,
        "environment": {name: os.environ[name] for name in STORAGE_VARIABLES if name in os.environ},
    }


class TestHandler:
    def execute(self, folder, handlers, returned=environment_of):
        return executed_for_ada(folder, handlers, returned)

    def test_credentials_are_the_jobs(self, api, tmp_path, monkeypatch, caplog):
        """The job finds them in its environment, and none of the server's; afterwards they are nowhere."""
        monkeypatch.setenv("AWS_SESSION_TOKEN", "of the server")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of the server")
        seen = []

        def look(data):
            seen.append(environment_of(data)[1]["environment"])
            print("printed", os.environ["AWS_SECRET_ACCESS_KEY"])
            return environment_of(data)[0], {"stac_catalog": CATALOGUE, "environment": {}}

        outcome = self.execute(tmp_path, [handler(api)], look)
        assert outcome.status.value == "successful", outcome.message
        assert seen == [
            {
                "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
                "AWS_ENDPOINT_URL_S3": STORAGE["endpoint"],
                "AWS_S3_ENDPOINT": STORAGE["endpoint"],
                "AWS_REGION": "eu-1",
                "AWS_DEFAULT_REGION": "eu-1",
                "WORKSPACE_BUCKET": "ws-ada",
            }
        ]
        assert os.environ["AWS_ACCESS_KEY_ID"] == "of the server"
        assert SECRET_KEY not in caplog.text
        assert TOKEN not in caplog.text

    def test_credentials_in_failures(self, api, tmp_path, caplog):
        """A job that fails with them in its words tells them nobody."""

        def fail(_):
            raise RuntimeError(f"no entry with {os.environ['AWS_ACCESS_KEY_ID']} and {SECRET_KEY} and {TOKEN}")

        outcome = self.execute(tmp_path, [handler(api)], fail)
        assert outcome.message == "RuntimeError: no entry with *** and *** and ***"
        assert not [secret for secret in (ACCESS_KEY, SECRET_KEY, TOKEN) if secret in caplog.text]

    def test_registration(self, api, tmp_path):
        """After success, once, with the name of the output's place; not where the job has no such output."""
        assert self.execute(tmp_path, [handler(api)]).status.value == "successful"
        assert list(api.registered["ws-ada-l"].values()) == [{"type": "stac-item", "url": CATALOGUE}]
        self.execute(tmp_path, [handler(api, register_output="environment", registration="none")])
        self.execute(tmp_path, [handler(api)], lambda _: (JSON, {"environment": 1}))
        assert len(api.registered["ws-ada-l"]) == 1

    def test_the_place_may_be_made(self, api, tmp_path):
        """Where the output itself is no URL, a template says what is."""
        options = {"register_output": "environment", "catalog_url": "s3://{bucket}/{process_id}/{job_id}.json"}
        assert self.execute(tmp_path, [handler(api, **options)]).status.value == "successful"
        assert [one["url"] for one in api.registered["ws-ada-l"].values()] == [f"s3://ws-ada/process/{JOB_ID}.json"]

    def test_what_is_no_place(self, api, tmp_path):
        """A document or a path of this machine is nothing that another one could register."""
        for value in ({"type": "Catalog"}, "/scratch/catalog.json"):
            outcome = self.execute(tmp_path, [handler(api)], lambda _, value=value: (JSON, {"stac_catalog": value}))
            assert outcome.message == (
                "The output 'stac_catalog' is no URL, so it cannot be registered in your workspace."
            )

    @pytest.mark.parametrize(("registration", "status"), [("required", "failed"), ("best_effort", "successful")])
    def test_registration_that_fails_for_good(self, api, tmp_path, registration, status, caplog):
        """The job fails with a reason; where the configuration says so, it is only logged."""

        def fail_from_now_on(data):
            api.next_answers = [Answer(503)] * 3
            return environment_of(data)

        outcome = self.execute(tmp_path, [handler(api, registration=registration)], fail_from_now_on)
        assert outcome.status.value == status
        assert len(api.calls) == 1 + 3
        if status == "failed":
            assert outcome.message == "Your workspace cannot be reached. Try again later."
            assert outcome.problem.status == 503
        else:
            assert "the result is not registered" in caplog.text

    @pytest.mark.parametrize(
        ("answer", "status", "message"),
        [
            (Answer(404), 403, "You have no workspace."),
            (Answer(401), 403, "The workspace API refuses your access token."),
            (Answer(400), 502, "The workspace API refused what this job asked of it."),
            (Answer.of(200, {"status": "provisioning"}), 503, "Your workspace has no storage, or is not ready yet."),
        ],
    )
    def test_jobs_without_a_workspace(self, api, tmp_path, answer, status, message):
        """They do not begin, and say why."""
        api.next_answers = [answer]
        outcome = self.execute(tmp_path, [handler(api)], lambda _: pytest.fail("the process ran"))
        assert (outcome.problem.status, outcome.message) == (status, message)

    def test_where_the_api_is(self, api, tmp_path, monkeypatch):
        """The environment says so where the configuration does not; without either the job fails with a reason."""
        one = handler(api)
        del one["options"]["workspace_api_url"]
        assert self.execute(tmp_path, [one]).message == "The server does not know where your workspace is."
        monkeypatch.setenv("WORKSPACE_API_URL", api.url)
        assert self.execute(tmp_path, [one]).status.value == "successful"

    def test_combined(self, api, tmp_path):
        """With the class that validates: the workspace first, and nothing is registered that does not pass."""
        one = handler(api, name=f"{__name__}.Combined", rules={"environment": {"schema": {"required": ["AWS_REGION"]}}})
        assert self.execute(tmp_path, [one]).status.value == "successful"
        assert len(api.registered["ws-ada-l"]) == 1
        bad = self.execute(tmp_path, [one], lambda _: (JSON, {"stac_catalog": CATALOGUE, "environment": {"a": 1}}))
        assert "AWS_REGION" in bad.message
        assert len(api.registered["ws-ada-l"]) == 1


class Combined(WorkspaceHandler, ValidatedHandler):
    def pre_execution_hook(self):
        WorkspaceHandler.pre_execution_hook(self)
        ValidatedHandler.pre_execution_hook(self)

    def post_execution_hook(self, log, output, usage_report, tool_logs):
        ValidatedHandler.post_execution_hook(self, log, output, usage_report, tool_logs)
        WorkspaceHandler.post_execution_hook(self, log, output, usage_report, tool_logs)


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """The URL of a real S3 server with a bucket."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (tmp_path_factory.mktemp("s3") / "s3.log").open("wb") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        eventually(lambda: is_up(url), within=30, what="an answer of the S3 server")
        s3_at(url).mkdir("ws-ada")
        yield url
    finally:
        server.terminate()
        server.wait(10)


def is_up(url):
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def s3_at(url):
    return S3FileSystem(key="key", secret="secret", client_kwargs={"endpoint_url": url}, skip_instance_cache=True)


class TestObjectStores:
    """The server's own object store, and the one of the workspace."""

    @pytest.fixture(autouse=True)
    def _environment(self, monkeypatch):
        for name in STORAGE_VARIABLES:
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield
        forget_connections()

    def test_the_job_works_in_the_workspace(self, api, s3, tmp_path, monkeypatch):
        """What it opens is the workspace's, also where the pool worker has opened the server's before."""
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
        of_server = fsspec.filesystem("s3")
        api.add("ws-ada-l", TOKEN, {**STORAGE, "endpoint": s3})

        def write(_):
            with fsspec.open(CATALOGUE, "w") as file:
                file.write("{}")
            return JSON, {"stac_catalog": CATALOGUE}

        assert fsspec.filesystem("s3") is of_server
        outcome = executed_for_ada(tmp_path, [handler(api)], write)
        assert outcome.status.value == "successful", outcome.message
        assert s3_at(s3).cat(CATALOGUE) == b"{}"
        with pytest.raises(EndpointConnectionError):
            fsspec.filesystem("s3", config_kwargs={"retries": {"max_attempts": 1}}).ls("ws-ada")

    def test_the_result_is_stored_by_the_server(self, api, s3, tmp_path, monkeypatch):
        """It is written and read with the credentials that the server has, whatever the job finds."""
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3)
        s3_at(s3).mkdir("results", create_parents=True)
        returned = ("application/octet-stream", bytes(10_000))
        combined = handler(api, name=f"{__name__}.Combined", rules={"return": {"min_bytes": 10_000}})
        outcome = executed_for_ada(tmp_path, [combined], returned, store_url="s3://results/outputs")
        assert outcome.status.value == "successful", outcome.message
        assert s3_at(s3).cat(f"results/outputs/{JOB_ID}/1/return") == bytes(10_000)


class TestConnections:
    def test_object_stores_are_opened_anew(self):
        """A file system that one job opened with its user's credentials is not the next job's."""
        before = fsspec.filesystem("s3", anon=True)
        assert fsspec.filesystem("s3", anon=True) is before
        forget_connections()
        assert fsspec.filesystem("s3", anon=True) is not before

    def test_the_result_store_keeps_its_own(self, tmp_path):
        """It is connected once, before hooks can change the environment, and shares its connection with nobody."""
        store = ResultStore(f"memory://{tmp_path.name}")
        store.connect()
        mine = store._open()[0]
        store.connect()
        assert store._open()[0] is mine
        assert store.limited(1000)._open()[0] is mine

    def test_the_jobs_of_a_pool_worker_share_it(self, tmp_path):
        """What one job has connected the next one need not, whatever their limits."""
        store = ResultStore(f"memory://{tmp_path.name}")
        store.limited(1000).connect()
        mine = store._open()[0]
        store.limited(None).connect()
        assert store._open()[0] is mine
        assert fsspec.filesystem("memory") is not mine
        assert fsspec.filesystem("memory") is not mine
        store.put("a", b"b")
        assert store.get("a") == b"b"


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            ({"workspace_api_url": "ftp://host"}, "workspace_api_url: "),
            ({"workspace_api_url": "https://user:password@host/"}, "workspace_api_url: "),
            ({"workspace": "ws-{user}"}, r"workspace: .*\{username\}"),
            ({"register_path": "{"}, r"register_path: .*\{workspace\}, \{username\}"),
            ({"catalog_url": "{output.x}"}, "catalog_url: "),
            ({"registration": "maybe"}, "registration: "),
            ({"attempts": 0}, "attempts: "),
            ({"workspace_url": ""}, r"workspace_url is not known; did you mean 'workspace.*'\?"),
        ],
    )
    def test_mistakes(self, options, complaint):
        """What cannot be meant is refused where the configuration is read, by its key."""
        resource = {
            "processor": {"name": "HelloWorld", "prefect": {"handlers": [{"name": WORKSPACE, "options": options}]}}
        }
        with pytest.raises(ConfigurationError, match=rf"handlers\.0\.options\.{complaint}"):
            load_handlers("p", process_settings("p", resource).handlers)

    def test_documentation(self):
        """Each option is in the page, with its default."""
        page = (Path(__file__).parents[1] / "docs" / "how-to" / "workspaces.md").read_text()
        told = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", page.partition("## Options")[2], re.M))
        assert told == {
            name: "environment variable `WORKSPACE_API_URL`" if option.default is None else f"`{option.default}`"
            for name, option in WorkspaceOptions.model_fields.items()
        }

    def test_web_processes(self):
        """To load the handlers costs them neither an HTTP client nor a validator of STAC."""
        script = (
            "import json, sys\n"
            "from pygeoapi_prefect.process.processor import load_processor\n"
            f"handlers = [{WORKSPACE!r}, 'pygeoapi_prefect.handlers.ValidatedHandler']\n"
            "load_processor('p', {'processor': {'name': 'HelloWorld', 'prefect': {'handlers': handlers}}})\n"
            "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
        )
        run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        loaded = set(json.loads(run.stdout))
        assert "pygeoapi_prefect" in loaded
        assert loaded & {"httpx", "prefect", "alembic", "rasterio", "pystac"} == set()


@pytest.fixture(scope="module")
def served_api():
    """The workspace API of the server."""
    with workspace_api() as started:
        started.add("ws-ada-l", TOKEN)
        yield started


@pytest.fixture(scope="module")
def served(served_api, prefect_server, tmp_path_factory):
    """One server, whose pool worker runs one job after the other."""
    name = "workspace_processes.TellCredentials"
    processors = {"tell": {"name": name, "prefect": {"handlers": [handler(served_api)]}}, "next": {"name": name}}
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "issuer.pem").write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    auth = {"issuer": ISSUER, "audience": AUDIENCE, "key_file": str(folder / "issuer.pem")}
    manager = {"max_running": 1, "auth": auth}
    environment = {"PREFECT_API_URL": prefect_server.connection.api_url}
    server = Server(folder, processors=processors, manager=manager, environment=environment)
    server.client.headers["Authorization"] = f"Bearer {TOKEN}"
    with running(server):
        yield server


class TestServed:
    @pytest.mark.parametrize("fails", [False, True])
    def test_nobody_reads_the_credentials(self, served, served_api, prefect_server, fails):
        """Neither client nor operator nor Prefect, whether the job succeeds or fails; and the next job has none."""
        job_id = served.submit("tell", {"fails": fails})
        job = served.wait_for(job_id)
        assert job["status"] == ("failed" if fails else "successful"), job
        assert [one["url"] for one in served_api.registered["ws-ada-l"].values()] == ["s3://ws-ada/catalog.json"]
        prefect = Prefect(prefect_server.connection.api_url)
        with prefect.client:
            run = prefect.ended(job_id)
            lines = eventually(lambda: prefect.logs(run["id"]), within=30, what="the job's log in Prefect")
        assert {"working with ***", "printed *** ***"} <= set(lines)
        told = json.dumps([job, served.results(job_id).text, run, lines, served.runner_log()])
        assert not [secret for secret in (ACCESS_KEY, SECRET_KEY, TOKEN) if secret in told]
        following = served.submit("next", outputs={"found": {}}, response="document")
        assert served.wait_for(following)["status"] == "successful"
        assert served.results(following).json() == {"found": "None"}
