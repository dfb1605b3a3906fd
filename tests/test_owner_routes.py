"""What users, strangers and holders of links get of jobs over the routes. In this process, and on one real server."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import flask
import fsspec
import httpx
import pytest
import yaml
from click.testing import CliRunner, Result
from fsspec.implementations.memory import MemoryFileSystem
from pygeoapi.api import API, APIRequest
from pygeoapi.api import processes as routes
from werkzeug.test import EnvironBuilder

from factories import claim_all
from oidc_issuer import Issuer, issuing
from pygeoapi_prefect.cli import prefect
from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.identity import User, acting_as
from pygeoapi_prefect.jobs import CallbackKind, JobStore, Outcome
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.results import outputs_manifest, store_value
from pygeoapi_prefect.results.linked_files import FilesBeside, with_files
from pygeoapi_prefect.results.signed_links import LinkSigner
from pygeoapi_prefect.runner.callback_calls import content_of
from pygeoapi_prefect.schemas import JobStatus
from serving import Server, assert_problem, configuration, running

RESULTS = "http://www.opengis.net/def/rel/ogc/1.0/results"
SECRET = "not a good one, for it stands here: 0123456789"
PROCESSORS = {
    "several": {"name": "processors.Several"},
    "sleep": {"name": "processors.Sleep", "prefect": {"max_running": 1}},
}
ROUTES = (
    ("GET", "/jobs/{}"),
    ("GET", "/jobs/{}?f=html"),
    ("GET", "/jobs/{}/results"),
    ("GET", "/jobs/{}/results?f=html"),
    ("GET", "/jobs/{}/results?outputs=a"),
    ("DELETE", "/jobs/{}"),
)


@dataclass(frozen=True)
class Answer:
    headers: dict[str, str]
    status: int
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


class Service:
    """pygeoapi's API with our manager, that believes an issuer, and no runner: jobs are as a test makes them."""

    def __init__(self, folder: Path, issuer: Issuer, *, auth: dict[str, Any] | None, **manager: Any) -> None:
        believed = None if auth is None else issuer.auth(admin_roles=["admin"], **auth)
        manager = {"runner": "external", "auth": believed, **manager}
        config = configuration(folder, 80, manager, {}, PROCESSORS)
        self.issuer = issuer
        self.config_path = folder / "config.yml"
        self.config_path.write_text(yaml.safe_dump(config))
        self.api = API(config, {})
        self.results = self.api.manager._web_process.results
        self.store = JobStore(Database(self.api.manager.settings.connection, timeout=10))

    def request(self, method: str, target: str, user: str | None = None, **more: Any) -> Answer:
        """The answer to a request of a user; the token of ``root`` has the role of administrators."""
        path, _, query = target.partition("?")
        headers = dict(more.pop("headers", {}))
        if user is not None:
            headers |= self.issuer.headers(
                user, roles=["admin"] if user == "root" else [], groups=more.pop("groups", [])
            )
        environ = EnvironBuilder(path=path, query_string=query, method=method, headers=headers, **more).get_environ()
        request = APIRequest.from_flask(flask.Request(environ), self.api.locales)
        _, route, *rest = path.split("/")
        function: Any = {
            ("jobs", "GET"): routes.get_job_result if path.endswith("/results") else routes.get_jobs,
            ("jobs", "DELETE"): routes.delete_job,
            ("processes", "POST"): routes.execute_process,
        }[route, method]
        answered, status, content = function(self.api, request, *rest[:1])
        return Answer(answered, int(status), content if isinstance(content, str) else content.decode())

    def execute(self, user: str | None, headers: dict[str, str] | None = None, **body: Any) -> Answer:
        """Accept a job, asynchronously."""
        headers = {"Prefer": "respond-async", **(headers or {})}
        return self.request("POST", "/processes/several/execution", user, json={"inputs": {}, **body}, headers=headers)

    def submitted(self, user: str | None, **body: Any) -> str:
        """The id of an accepted job."""
        answer = self.execute(user, **body)
        assert answer.status == 201, answer.text
        return str(answer.json()["jobID"])

    def finished(self, user: str | None, **body: Any) -> str:
        """The id of a successful job with the outputs ``a`` and ``b``."""
        job_id = self.submitted(user, **body)
        for details in claim_all(self.store):
            folder = f"{details.job.job_id}/1"
            outputs = {name: store_value(self.results, folder, name, "text/plain", name * 2) for name in ("a", "b")}
            outcome = Outcome(JobStatus.SUCCESSFUL, "Job successful", "text/plain", outputs_manifest(outputs))
            assert self.store.finish(details.job.claim, outcome)
        return job_id

    def listed(self, user: str | None, **query: Any) -> list[str]:
        """The ids of the jobs in the list."""
        answer = self.request("GET", f"/jobs?{urlencode(query)}", user)
        return [job["jobID"] for job in answer.json()["jobs"]]


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """Whose tokens are believed."""
    with issuing() as one:
        yield one


@pytest.fixture
def service(tmp_path: Path, issuer: Issuer) -> Iterator[Service]:
    """One where each request needs a token or a signed link."""
    one = Service(tmp_path, issuer, auth={}, link_secret=SECRET)
    yield one
    one.store.database.dispose()


@pytest.fixture
def open_service(tmp_path: Path, issuer: Issuer) -> Iterator[Service]:
    """One that takes requests without a token as well."""
    one = Service(tmp_path, issuer, auth={"required": False})
    yield one
    one.store.database.dispose()


# ---------------------------------------------------------------- what others get


@pytest.mark.parametrize("state", ["accepted", "successful"])
@pytest.mark.parametrize("who", ["bob", None])
def test_others_cannot_tell_that_a_job_exists(open_service: Service, who: str | None, state: str) -> None:
    """Each route answers for a job of somebody else as for one that there is not: status, headers and text."""
    job_id = open_service.finished("ann") if state == "successful" else open_service.submitted("ann")
    none = "0" * len(job_id)
    for method, route in ROUTES:
        real = open_service.request(method, route.format(job_id), who)
        unreal = open_service.request(method, route.format(none), who)
        assert (real.status, real.headers) == (unreal.status, unreal.headers)
        assert real.text.replace(job_id, none) == unreal.text
        assert real.status == 404
    assert open_service.listed(who) == []
    assert open_service.request("GET", f"/jobs/{job_id}", "ann").json()["status"] == state


def test_owners_have_their_jobs_and_administrators_all(service: Service) -> None:
    """In the list, by its filters and pages, by the id, and to dismiss."""
    anns = [service.finished("ann") for _ in range(3)][::-1]
    bobs = [service.submitted("bob")]
    assert service.listed("ann") == anns
    assert service.listed("bob") == bobs
    assert service.listed("root") == bobs + anns
    assert service.listed("ann", status="accepted") == []
    assert service.listed("ann", processID="several", limit=2, offset=1) == anns[1:]
    first = service.request("GET", "/jobs?limit=3", "ann").json()
    assert "next" not in {link["rel"] for link in first["links"]}
    assert service.request("GET", f"/jobs/{anns[0]}/results?outputs=a", "ann").text == "aa"
    assert service.request("GET", f"/jobs/{anns[0]}/results?outputs=a", "root").text == "aa"
    assert service.request("DELETE", f"/jobs/{bobs[0]}", "root").json()["status"] == "dismissed"
    assert service.request("DELETE", f"/jobs/{anns[0]}", "ann").status == 200
    assert service.listed("root") == bobs + anns[1:]
    assert not service.results.holds(anns[0])


def test_who_reads_a_shared_job_cannot_remove_it(service: Service) -> None:
    """A DELETE is refused with 403, and leaves the job with its outputs."""
    job_id = service.finished("ann")
    service.store.share(job_id, f"group {service.issuer.url} hydrology")
    reader: dict[str, Any] = {"user": "bob", "groups": ["hydrology"]}
    assert service.request("GET", f"/jobs/{job_id}", **reader).status == 200
    refused = service.request("DELETE", f"/jobs/{job_id}", **reader)
    assert refused.status == 403
    assert refused.json()["detail"] == "This job is shared with you. Only its owner may dismiss it."
    assert service.request("GET", f"/jobs/{job_id}/results?outputs=b", **reader).text == "bb"
    waits = service.submitted("ann")
    service.store.share(waits, f"group {service.issuer.url} hydrology")
    assert service.request("DELETE", f"/jobs/{waits}", **reader).status == 403
    assert service.request("GET", f"/jobs/{waits}", "ann").json()["status"] == "accepted"


def test_a_job_of_nobody_is_for_who_has_its_id(open_service: Service) -> None:
    """It may be read and dismissed without a token, is in nobody's list, and a token opens no job of nobody."""
    job_id = open_service.finished(None)
    assert open_service.request("GET", f"/jobs/{job_id}/results?outputs=a").text == "aa"
    assert open_service.listed(None) == []
    assert open_service.request("GET", f"/jobs/{job_id}", "ann").status == 404
    assert open_service.listed("root") == [job_id]
    assert open_service.request("DELETE", f"/jobs/{job_id}").status == 200


@pytest.mark.parametrize("says", [None, "bob"])
def test_an_application_that_names_users_has_owners_too(tmp_path: Path, issuer: Issuer, says: str | None) -> None:
    """Without ``auth``: whom it names sees their own jobs, and who it says is nobody sees no user's."""
    service = Service(tmp_path, issuer, auth=None)
    with acting_as(User("https://example.org", "ann", "Ann")):
        job_id = service.submitted(None)
        assert service.listed(None) == [job_id]
    with acting_as(None if says is None else User("https://example.org", says, says)):
        assert service.listed(None) == []
        assert service.request("GET", f"/jobs/{job_id}").status == 404
        assert service.request("DELETE", f"/jobs/{job_id}").status == 404
    # nobody asks
    assert service.listed(None) == [job_id]
    service.store.database.dispose()


# ---------------------------------------------------------------- what makes jobs


def test_a_key_finds_its_owners_job_alone(service: Service) -> None:
    """The same Idempotency-Key and request of two users make two jobs."""
    key = {"Idempotency-Key": "1"}
    made = {user: service.execute(user, headers=key).json()["jobID"] for user in ("ann", "bob")}
    assert made["ann"] != made["bob"]
    assert service.execute("ann", headers=key).json()["jobID"] == made["ann"]
    assert service.execute("bob", headers=key, response="document").status == 422
    assert service.listed("bob") == [made["bob"]]


def test_a_taken_id_does_not_tell_what_took_it(service: Service) -> None:
    """Somebody else's job is refused as anything else of that name in the result store, also when the queue is full."""
    service.results.put("a-folder/x", b"")
    service.submitted("ann", jobID="a-job-id")
    service.api.manager._web_process._settings = service.api.manager.settings.model_copy(update={"max_waiting": 1})
    told = [service.execute("bob", jobID=job_id) for job_id in ("a-folder", "a-job-id")]
    assert [answer.status for answer in told] == [409, 409]
    assert told[0].headers == told[1].headers
    assert told[0].text.replace("a-folder", "a-job-id") == told[1].text
    assert "There is a job" not in told[1].text


# ---------------------------------------------------------------- links


def link_of(service: Service, user: str = "ann", **query: Any) -> tuple[str, dict[str, str]]:
    """A signed link to the output ``a`` of a job: its path, and the parameters of its query."""
    wanted = {"a": {"transmissionMode": "reference"}, "b": {}}
    job_id = service.finished(user, outputs=wanted, response="document")
    document = service.request("GET", f"/jobs/{job_id}/results", user).json()
    assert document["b"] == "bb"
    parts = urlsplit(document["a"]["href"])
    return parts.path, {**dict(parse_qsl(parts.query)), **query}


def test_a_signed_link_needs_no_token(service: Service) -> None:
    """Whoever follows it gets the output, whatever token they send."""
    before = int(time.time())
    path, query = link_of(service)
    assert set(query) == {"outputs", "expires", "signature"}
    assert before + 3600 <= int(query["expires"]) <= time.time() + 3601
    target = f"{path}?{urlencode(query)}"
    answers = [service.request("GET", target), service.request("GET", target, "bob")]
    answers.append(service.request("GET", target, headers={"Authorization": "Bearer x"}))
    assert [(answer.status, answer.text) for answer in answers] == [(200, "aa")] * 3


TAMPERED: dict[str, dict[str, Any]] = {
    "another output": {"outputs": "b"},
    "more outputs": {"outputs": ["a", "b"]},
    "all outputs": {"outputs": None},
    "a later end": {"expires": "99999999999"},
    "an end that is over": {"expires": "1"},
    "no end": {"expires": None},
    "an end that is no number": {"expires": "+9e9"},
    "another signature": {"signature": "0" * 64},
    "a signature that is no ASCII": {"signature": "\u0130"},
    "two signatures": {"signature": ["0" * 64, "0" * 64]},
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_link_that_was_changed_needs_a_token(service: Service, what: str) -> None:
    """It is a link like any other then, also in what it tells of the job."""
    path, query = link_of(service, **TAMPERED[what])
    given = urlencode({name: value for name, value in query.items() if value is not None}, doseq=True)
    without = service.request("GET", f"{path}?{given}")
    of_no_job = service.request("GET", f"/jobs/none/results?{given}")
    assert without.status == 401
    assert (without.status, without.headers) == (of_no_job.status, of_no_job.headers)
    assert service.request("GET", f"{path}?{given}", "bob").status == 404
    assert service.request("GET", f"{path}?{given}", "ann").status == 200


def test_a_link_is_good_for_its_job_and_nothing_else(service: Service) -> None:
    """Not for another job of the same owner, nor for a later one of the same id, nor for the job's other pages."""
    path, query = link_of(service)
    job_id = path.split("/")[-2]
    given = urlencode(query)
    other = service.finished("ann")
    assert service.request("GET", f"/jobs/{other}/results?{given}").status == 401
    assert service.request("GET", f"/jobs/{job_id}?{given}").status == 401
    assert service.request("DELETE", f"/jobs/{job_id}?{given}").status == 401
    assert service.request("DELETE", f"/jobs/{job_id}", "ann").status == 200
    assert service.finished("ann", jobID=job_id) == job_id
    assert service.request("GET", f"{path}?{given}").status == 401


def test_a_link_expires(service: Service) -> None:
    """To the second; and whoever shall have a longer one asks for the results again."""
    path, query = link_of(service)
    job = service.store.job(path.split("/")[-2])
    over = LinkSigner(SECRET, -10).parameters(job, "a")
    assert service.request("GET", f"{path}?{urlencode({**query, **over})}").status == 401
    other_secret = LinkSigner(SECRET[::-1], 10).parameters(job, "a")
    assert service.request("GET", f"{path}?{urlencode({**query, **other_secret})}").status == 401


def stac_of(service: Service, user: str) -> str:
    """The id of a successful job with a document of three files, each with a link to the next, and another output."""
    job_id = service.submitted(user)
    [details] = claim_all(service.store)
    hrefs = {"root.json": "item.json", "item.json": "a.tif"}
    files = {
        name: store_value(service.results, job_id, name, "application/json", {"links": [{"href": href}]})
        for name, href in hrefs.items()
    }
    files["a.tif"] = store_value(service.results, job_id, "a.tif", "image/tiff", b"II")
    outputs = {"a": files["root.json"], "b": store_value(service.results, job_id, "b", "text/plain", "bb")}
    manifest = with_files(outputs_manifest(outputs), {"a": FilesBeside("root.json", files)})
    assert service.store.finish(details.job.claim, Outcome(JobStatus.SUCCESSFUL, "Done", "application/json", manifest))
    return job_id


def test_a_signed_link_cannot_be_renewed(service: Service) -> None:
    """What is answered to it links to the files beside its output, and none is good for longer than the link."""
    job_id = stac_of(service, "ann")
    signer = LinkSigner(SECRET, 0)
    parameters = signer.parameters(service.store.job(job_id), "a", until=int(time.time()) + 99)
    target = f"/jobs/{job_id}/results?{urlencode({'outputs': 'a', **parameters})}"
    for file in ("a/item.json", "a/a.tif"):
        # whoever follows it with a token gets the same
        hrefs = [service.request("GET", target, user).json()["links"][0]["href"] for user in (None, "ann")]
        for parts in map(urlsplit, hrefs):
            query = dict(parse_qsl(parts.query))
            assert (query["outputs"], query["expires"]) == (file, parameters["expires"])
            target = f"/jobs/{job_id}/results?{parts.query}"
    assert service.request("GET", target).text == "II"
    # a link that is none shortens nothing
    own = service.request("GET", f"/jobs/{job_id}/results?outputs=a&expires={parameters['expires']}&signature=0", "ann")
    assert int(dict(parse_qsl(urlsplit(own.json()["links"][0]["href"]).query))["expires"]) > time.time() + 3500


class SigningFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """A store that gives its files itself."""

    protocol = "signing"

    def sign(self, path: str, expiration: int = 100, **_: Any) -> str:
        return f"https://store.example.org/{path}?for={expiration}"


def test_links_of_the_store_end_with_a_signed_link(tmp_path: Path, issuer: Issuer) -> None:
    """The store signs for the rest of the time; for less than a second nothing, and the link is this server's."""
    fsspec.register_implementation("signing", SigningFileSystem, clobber=True)
    store = {"output_dir": f"signing://{tmp_path.name}", "output_links": "store", "link_lifetime": 900}
    service = Service(tmp_path, issuer, auth={}, link_secret=SECRET, **store)
    job_id = stac_of(service, "ann")
    target = f"/jobs/{job_id}/results?outputs=a/item.json"

    def href(lifetime: int) -> str:
        until = int(time.time()) + lifetime
        parameters = LinkSigner(SECRET, 0).parameters(service.store.job(job_id), "a/item.json", until=until)
        return str(service.request("GET", f"{target}&{urlencode(parameters)}").json()["links"][0]["href"])

    own = service.request("GET", target, "ann").json()["links"][0]["href"]
    assert own.endswith("a.tif?for=900")
    assert 40 <= int(href(60).rpartition("=")[2]) <= 60
    assert href(5000).endswith("a.tif?for=900")
    assert "/results?outputs=a%2Fa.tif&expires=" in href(1)
    service.store.database.dispose()


def test_no_cache_keeps_what_is_a_users(service: Service) -> None:
    """Requests by signed links have no header Authorization, by which caches know what is not for everybody."""
    path, query = link_of(service)
    job_path = path.removesuffix("/results")
    answers = [service.request("GET", target, "ann") for target in (job_path, f"{job_path}?f=html", path, "/jobs")]
    answers += [service.request("GET", target) for target in (f"{path}?{urlencode(query)}", path)]
    answers.append(service.execute("ann"))
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 200, 401, 201]
    assert {answer.headers.get("Cache-Control") for answer in answers} == {"no-store"}


def test_a_callback_has_signed_links(service: Service) -> None:
    """What receives the results has no token of the user."""
    wanted = {"a": {"transmissionMode": "reference"}}
    subscriber = {"successUri": "http://example.org/done"}
    job_id = service.finished("ann", outputs=wanted, subscriber=subscriber)
    callback = service.store.claim_callback(lease=10)
    assert callback is not None
    assert (callback.kind, callback.job.job_id) == (CallbackKind.SUCCESS, job_id)
    signer = LinkSigner.of(service.api.manager.settings)
    _, body = content_of(callback, service.store, service.results, signer)
    parts = urlsplit(json.loads(body)["a"]["href"])
    assert service.request("GET", f"{parts.path}?{parts.query}").text == "aa"


def test_without_a_secret_links_are_as_they_were(open_service: Service) -> None:
    """They need the token of somebody who may read the job."""
    job_id = open_service.finished("ann", outputs={"a": {"transmissionMode": "reference"}}, response="document")
    document = open_service.request("GET", f"/jobs/{job_id}/results", "ann").json()
    assert document["a"]["href"].endswith(f"/jobs/{job_id}/results?outputs=a")


def test_the_secret_comes_from_a_file_and_is_not_shown(tmp_path: Path, make_settings: Any) -> None:
    """Without the line's end; a secret that is short, or given twice, is refused by the key's name."""
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    settings = make_settings(link_secret_file=str(file))
    assert settings.link_secret == SECRET
    assert SECRET not in repr(settings)
    assert SECRET not in repr(LinkSigner.of(settings))
    for keys in (
        {"link_secret": "short"},
        {"link_secret": SECRET, "link_secret_file": str(file)},
        {"link_secret_file": str(tmp_path / "none")},
    ):
        with pytest.raises(ConfigurationError, match=r"server\.manager\.link_secret") as error:
            make_settings(**keys)
        assert SECRET not in str(error.value)


# ---------------------------------------------------------------- the command line


def test_the_command_line_shares_jobs(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a subject of the configured issuer, or a group, until ``--remove``; the list and ``show`` tell owners."""
    monkeypatch.setenv("PYGEOAPI_CONFIG", str(service.config_path))
    job_id = service.submitted("ann")
    url = service.issuer.url

    def jobs(*arguments: str) -> Result:
        return CliRunner().invoke(prefect, ["--config", str(service.config_path), "jobs", *arguments])

    def status(**reader: Any) -> int:
        return service.request("GET", f"/jobs/{job_id}", "bob", **reader).status

    assert status() == 404
    assert jobs("share", job_id, "--subject", "bob").exit_code == 0
    assert status() == 200
    shown = json.loads(jobs("show", job_id).output)
    assert (shown["owner"], shown["shared_with"]) == (f"{url} ann", [f"user {url} bob"])
    assert f"several  {url} ann" in jobs("list").output
    assert jobs("share", job_id, "--subject", "bob", "--remove").exit_code == 0
    assert status() == 404
    assert jobs("share", job_id, "--group", "g").exit_code == 0
    assert (status(groups=["g"]), status(groups=["h"])) == (200, 404)
    refused = jobs("share", job_id, "--group", "g", "--issuer", "https://b", "--remove")
    assert (refused.exit_code, "is not shared with group https://b g" in refused.output) == (1, True)
    assert jobs("share", job_id, "--subject", "a", "--group", "b").exit_code == 2
    assert jobs("share", job_id).exit_code == 2
    assert jobs("share", "none", "--group", "b").exit_code == 1


# ---------------------------------------------------------------- a real server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Server]:
    """A server with a runner, for known users and others; one job of ``sleep`` runs at a time."""
    folder = tmp_path_factory.mktemp("owners")
    manager = {
        "auth": issuer.auth(required=False, admin_roles=["admin"]),
        "link_secret": SECRET,
        "max_waiting_per_user": 2,
    }
    with running(Server(folder, front="flask", manager=manager, processors=PROCESSORS)) as one:
        yield one


def test_a_job_runs_and_is_read_by_its_owner(server: Server, issuer: Issuer) -> None:
    """A synchronous request is answered; its link is good for everybody, the job's address for the owner."""
    response = server.client.post(
        "/processes/several/execution",
        json={"inputs": {}, "outputs": {"a": {"transmissionMode": "reference"}}},
        headers=issuer.headers("ann"),
    )
    assert response.status_code == 204, response.text
    assert httpx.get(response.links[RESULTS]["url"], trust_env=False).json() == "A"
    job_url = response.headers["Location"]
    assert httpx.get(job_url, headers=issuer.headers("ann"), trust_env=False).json()["status"] == "successful"
    for headers in ({}, issuer.headers("bob")):
        assert_problem(httpx.get(job_url, headers=headers, trust_env=False), 404)


def test_a_user_hears_that_too_many_jobs_wait(server: Server, issuer: Issuer) -> None:
    """429 with Retry-After; somebody else's job is taken."""

    def execute(user: str) -> httpx.Response:
        headers = {**issuer.headers(user), "Prefer": "respond-async"}
        return server.client.post("/processes/sleep/execution", json={"inputs": {"seconds": 60}}, headers=headers)

    # one may run at some moment, and two wait
    answers = [execute("eve") for _ in range(4)]
    refused = [answer for answer in answers if answer.status_code != 201]
    problem = assert_problem(refused[0], 429)
    assert problem["detail"] == "2 of your jobs are waiting, no more are taken. Try again later."
    assert refused[0].headers["Retry-After"] == "5"
    others = execute("bob")
    assert others.status_code == 201
    for answer in [*answers, others]:
        if answer.status_code == 201:
            headers = issuer.headers("root", roles=["admin"])
            assert server.client.delete(f"/jobs/{answer.json()['jobID']}", headers=headers).status_code == 200
