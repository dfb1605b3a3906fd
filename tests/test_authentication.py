"""Laws of the edge: who is not known gets nothing of jobs, under each front, and is told what is missing."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import httpx
import jwt
import pytest
import yaml
from pygeoapi.api import API, APIRequest, admin, processes
from pygeoapi.openapi import get_oas
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from oidc_issuer import KINDS, Issuer, issuing
from pygeoapi_prefect import ogcapi
from pygeoapi_prefect.cli.doctor import examine
from pygeoapi_prefect.exceptions import AuthenticationError, ConfigurationError
from pygeoapi_prefect.identity import User, acting_as
from pygeoapi_prefect.jobs import JobStore
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.ogcapi.embedding import application
from serving import Server, assert_problem, configuration, eventually, running

PROCESSORS = {"open": {"name": "HelloWorld"}, "restricted": {"name": "HelloWorld", "prefect": {"roles": ["analyst"]}}}
REALM = 'Bearer realm="OGC API - Processes"'
EXECUTE = "/processes/open/execution"
GUARDED = [
    ("GET", "/jobs"),
    ("GET", "/jobs?f=html"),
    ("HEAD", "/jobs"),
    ("GET", "/jobs/x"),
    ("GET", "/jobs/x/results"),
    ("DELETE", "/jobs/x"),
    ("POST", EXECUTE),
    ("POST", "/processes/unknown/execution"),
]


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """Believed by all servers of this file."""
    with issuing() as one:
        yield one


@pytest.fixture(scope="module")
def server(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Under Flask; whoever has the role ``root`` may do everything."""
    folder = tmp_path_factory.mktemp("served")
    auth = issuer.auth(admin_roles=["root"], keys_min_age=1)
    with running(Server(folder, front="flask", manager={"auth": auth}, processors=PROCESSORS)) as one:
        yield one


def challenge(error: str, description: str) -> str:
    return f'{REALM}, error="{error}", error_description="{description}"'


# ---------------------------------------------------------------- over HTTP


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_nobody_gets_anything_of_jobs(server, method, path):
    """Without a token everything but descriptions is 401, also what is not there."""
    response = server.client.request(method, path)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, REALM)
    if method != "HEAD" and "html" not in path:
        assert_problem(response, 401)


@pytest.mark.parametrize("path", ["/", "/conformance", "/processes", "/processes/open", "/processes/restricted"])
def test_what_is_offered_is_public(server, path):
    """By default everybody may read which processes there are."""
    assert server.client.get(path, params={"f": "json"}).status_code == 200


def test_a_user_executes_and_sees(server, issuer):
    """With a token every request is answered, and the job keeps who submitted it, without the token."""
    headers = issuer.headers("ada", preferred_username="Ada", groups=["/geo"])
    done = server.client.post(EXECUTE, json={"inputs": {"name": "Ada"}}, headers=headers)
    assert (done.status_code, done.json()) == (200, "Hello Ada!")
    job_url = done.headers["location"]
    for path in (job_url, f"{job_url}/results", "/jobs"):
        assert server.client.get(path, headers=headers).status_code == 200
    store = JobStore(Database(f"sqlite:///{server.folder / 'jobs.db'}", timeout=10))
    kept = store.details(job_url.rpartition("/")[2]).user
    store.database.dispose()
    assert kept is not None
    assert (kept.key, kept.name, kept.groups, kept.token) == (f"{issuer.url} ada", "Ada", {"/geo"}, "")


@pytest.mark.parametrize(
    ("roles", "status", "told"),
    [
        (None, 401, REALM),
        ([], 403, challenge("insufficient_scope", "You have no role that may execute this process.")),
        (["reader"], 403, challenge("insufficient_scope", "You have no role that may execute this process.")),
        (["analyst"], 200, None),
        (["root"], 200, None),
    ],
)
def test_roles_say_who_executes(server, issuer, roles, status, told):
    """Of a process that names them; administrators need none."""
    headers = {} if roles is None else issuer.headers(roles=roles)
    response = server.client.post("/processes/restricted/execution", json={"inputs": {"name": "Ada"}}, headers=headers)
    assert (response.status_code, response.headers.get("www-authenticate")) == (status, told)
    if status >= 400:
        assert_problem(response, status)


def bad_headers(issuer: Issuer) -> dict[str, tuple[list[tuple[str, str]], int, str]]:
    """Header, status, challenge."""
    good = issuer.headers()["Authorization"]
    expired = f"Bearer {issuer.token(exp=1)}"
    forged = f"Bearer {jwt.encode(issuer.claims(), KINDS['ES256'](), 'ES256', {'kid': issuer.key_id})}"
    cannot = challenge("invalid_token", "The token cannot be verified.")
    several = challenge("invalid_request", "The request has more than one Authorization header.")
    return {
        "another scheme": ([("Authorization", "Basic YTpi")], 401, REALM),
        "no scheme": ([("Authorization", good.removeprefix("Bearer "))], 401, REALM),
        "digest": ([("Authorization", 'Digest username="a", realm="b"')], 401, REALM),
        "nothing": ([("Authorization", "")], 401, REALM),
        "scheme alone": ([("Authorization", "Bearer")], 401, cannot),
        "a blank within": ([("Authorization", f"{good} x")], 401, cannot),
        "no token": ([("Authorization", "Bearer <script>")], 401, cannot),
        "made up": ([("Authorization", "Bearer a.b.c")], 401, cannot),
        "forged": ([("Authorization", forged)], 401, cannot),
        "expired": ([("Authorization", expired)], 401, challenge("invalid_token", "The token has expired.")),
        "two": ([("Authorization", good), ("Authorization", good)], 400, several),
        "two in one": ([("Authorization", f"{good}, {good}")], 400, several),
        "in the address": ([], 401, REALM),
    }


def assert_all_refused(client: httpx.Client, issuer: Issuer) -> None:
    for name, (headers, status, told) in bad_headers(issuer).items():
        params = {"access_token": issuer.token()} if name == "in the address" else {}
        response = client.get("/jobs", headers=headers, params=params)
        assert assert_problem(response, status)["type"] == "about:blank"
        assert response.headers.get_list("www-authenticate") == [told], name


def test_every_bad_credential_has_its_answer(server, issuer):
    """RFC 6750: no error where there is no token, else which, and what its holder can mend."""
    assert_all_refused(server.client, issuer)
    # also where nobody has to be known
    forged = {"Authorization": "Bearer a.b.c"}
    assert_problem(server.client.get("/processes", headers=forged), 401)
    # and the scheme in whatever case
    assert server.client.get("/jobs", headers={"Authorization": f"bearer  {issuer.token()}"}).status_code == 200


def test_pages_tell_browsers_too(server):
    """A browser gets pygeoapi's page of the error, with the challenge."""
    response = server.client.get("/jobs", headers={"Accept": "text/html"})
    assert (response.status_code, response.headers["www-authenticate"]) == (401, REALM)
    assert response.headers["content-type"].startswith("text/html")
    assert "needs a token" in response.text


def test_no_token_is_written_down(server, issuer):
    """Neither in the server's log nor in the runner's, good or bad."""
    token = issuer.token("nobody-else")
    bad = f"{token[:-4]}AAAA"
    for one in (token, bad):
        server.client.get("/jobs", headers={"Authorization": f"Bearer {one}"})
    server.client.post(EXECUTE, json={"inputs": {"name": "x"}}, headers={"Authorization": f"Bearer {token}"})
    logs = (server.folder / "web.log").read_text() + server.runner_log()
    database = b"".join(path.read_bytes() for path in server.folder.glob("jobs.db*")).decode("latin-1")
    assert "nobody-else" in database
    for secret in token.split(".")[1:]:
        assert secret not in logs + database


def test_an_issuer_that_is_away_locks_out_nobody_who_is_known(server, issuer):
    """Tokens of known keys are taken on; those of new ones are told to come again, and are taken once it is back."""
    known = issuer.headers()
    assert server.client.get("/jobs", headers=known).status_code == 200
    issuer.stop()
    try:
        issuer.rotate(keep=True)
        response = eventually(
            lambda: (one := server.client.get("/jobs", headers=issuer.headers())).status_code == 503 and one, within=30
        )
        assert_problem(response, 503)
        assert response.headers["retry-after"] == "5"
        assert server.client.get("/jobs", headers=known).status_code == 200
    finally:
        issuer.start()
    eventually(lambda: server.client.get("/jobs", headers=issuer.headers()).status_code == 200, within=30)


@pytest.mark.parametrize("front", ["starlette", "django"])
def test_other_fronts_ask_alike(tmp_path, issuer, front):
    """The same answers under Starlette and Django, where descriptions are closed, too."""
    manager = {"auth": issuer.auth(public_descriptions=False), "runner": "external"}
    server = Server(tmp_path, front=front, manager=manager, processors=PROCESSORS)
    try:
        server.start(wait=False)
        # the first request of all: Django's views would answer it as if there were no wrappers
        assert_problem(eventually(lambda: first_answer(server), within=60, what="an answer of the server"), 401)
        for method, path in [*GUARDED, ("GET", "/processes"), ("GET", "/processes/open")]:
            response = server.client.request(method, path)
            assert (response.status_code, response.headers["www-authenticate"]) == (401, REALM), path
        assert_all_refused(server.client, issuer)
        for path in ("/jobs", "/processes", "/processes/open"):
            assert server.client.get(path, headers=issuer.headers()).status_code == 200
        accepted = server.client.post(
            EXECUTE, json={"inputs": {"name": "x"}}, headers=issuer.headers() | {"Prefer": "respond-async"}
        )
        assert accepted.status_code == 201
        restricted = "/processes/restricted/execution"
        assert_problem(server.client.post(restricted, json={}, headers=issuer.headers()), 403)
    finally:
        server.stop()


def first_answer(server: Server) -> httpx.Response | None:
    try:
        return server.client.get("/jobs")
    except httpx.TransportError:
        return None


# ---------------------------------------------------------------- in this process


@pytest.fixture
def make_api(tmp_path: Path):
    """Makes pygeoapi's API with our manager; starts nothing."""
    ogcapi.uninstall()

    def make(**keys: Any) -> API:
        return API(configuration(tmp_path, 5000, {"runner": "external", **keys}, {}, PROCESSORS), {})

    yield make
    ogcapi.uninstall()


def request_for(api: API, path: str, **headers: str) -> APIRequest:
    return APIRequest.from_flask(Request(EnvironBuilder(path, headers=headers).get_environ()), api.locales)


def test_without_the_section_nobody_is_asked(make_api):
    """As before: tokens are not looked at."""
    api = make_api()
    assert processes.get_jobs(api, request_for(api, "/jobs", Authorization="Bearer x"))[1] == 200


def test_where_none_is_required_a_token_must_be_good_all_the_same(make_api, issuer):
    """Nobody may do what is not restricted; who says who they are is held to it."""
    api = make_api(auth=issuer.auth(required=False))
    assert processes.get_jobs(api, request_for(api, "/jobs"))[1] == 200
    assert processes.get_jobs(api, request_for(api, "/jobs", **issuer.headers()))[1] == 200
    for value in ("Bearer x.y.z", "Basic YTpi"):
        headers, status, _ = processes.get_jobs(api, request_for(api, "/jobs", Authorization=value))
        assert (status, headers["WWW-Authenticate"][:6]) == (401, "Bearer")
    headers, status, _ = processes.execute_process(api, execute_request(api, "restricted"), "restricted")
    assert (status, headers["WWW-Authenticate"]) == (401, REALM)


def test_only_the_log_says_what_is_wrong_with_a_signature(make_api, issuer, caplog):
    """In the message itself, which is all that pygeoapi's log shows; the client learns that it is wrong."""
    api = make_api(auth=issuer.auth())
    forged = jwt.encode(issuer.claims("mallory"), KINDS["ES256"](), "ES256", {"kid": issuer.key_id})
    with caplog.at_level("INFO", logger="pygeoapi_prefect"):
        _, _, content = processes.get_jobs(api, request_for(api, "/jobs", Authorization=f"Bearer {forged}"))
    assert "InvalidSignatureError" in caplog.text
    assert "InvalidSignatureError" not in content
    assert forged.split(".")[2] not in caplog.text


def execute_request(api: API, process_id: str) -> APIRequest:
    builder = EnvironBuilder(f"/processes/{process_id}/execution", method="POST", json={"inputs": {"name": "x"}})
    return APIRequest.from_flask(Request(builder.get_environ()), api.locales)


def test_a_function_that_cannot_be_wrapped_stops_the_start(make_api, issuer, monkeypatch):
    """Nobody would be asked there: a server that should ask does not start."""

    def get_jobs(api, request, job_id, something_new):
        return {}, 200, ""

    monkeypatch.setattr(processes, "get_jobs", get_jobs)
    make_api()
    with pytest.raises(ConfigurationError, match=r"server\.manager\.auth: .* another get_jobs"):
        make_api(auth=issuer.auth())


def test_the_manager_asks_whoever_did_not(make_api, issuer):
    """pygeoapi's own functions, unwrapped, get nothing of jobs either."""
    manager = make_api(auth=issuer.auth()).manager
    calls = [
        manager.get_jobs,
        lambda: manager.get_job("x"),
        lambda: manager.get_job_result("x"),
        lambda: manager.delete_job("x"),
        lambda: manager.execute_process("open", {"name": "x"}),
    ]
    for call in calls:
        with pytest.raises(AuthenticationError):
            call()
    with acting_as(User(issuer.url, "ada", "Ada")):
        assert manager.get_jobs() == {"jobs": [], "numberMatched": 0}


def send(app: Any, method: str, path: str, **keys: Any) -> httpx.Response:
    """A request to an ASGI application in this process."""

    async def sent() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.request(method, path, **keys)

    return asyncio.run(sent())


def test_an_application_around_is_asked_alike(make_api, issuer):
    """Mounted within an application of the user's, with our section: the token counts."""
    app = application(make_api(auth=issuer.auth()))

    async def pretending(scope, receive, send):
        with acting_as(User("https://example.org", "root", "Root", is_admin=True)):
            await app(scope, receive, send)

    requests = [("/jobs", {}), ("/jobs", issuer.headers()), ("/processes", {})]
    answers = [send(pretending, "GET", path, headers=headers) for path, headers in requests]
    assert [one.status_code for one in answers] == [401, 200, 200]


def test_an_application_around_may_say_who_it_is(make_api):
    """Without our section the job is whose the application says, and so are the roles."""
    api = make_api()
    app = application(api)

    async def knowing(scope, receive, send):
        with acting_as(User("https://example.org", "ada", "Ada", roles=frozenset({"analyst"}))):
            await app(scope, receive, send)

    path, headers = "/processes/restricted/execution", {"Prefer": "respond-async"}
    made = send(knowing, "POST", path, json={"inputs": {"name": "x"}}, headers=headers)
    job_id = made.headers["location"].rpartition("/")[2]
    user = api.manager.store.details(job_id).user
    assert user is not None
    assert user.key == "https://example.org ada"


@pytest.mark.parametrize("auth", [{}, {"required": False}])
def test_the_configuration_is_for_administrators(tmp_path, issuer, monkeypatch, auth):
    """pygeoapi's admin API shows and writes passwords and code: to nobody without one of the roles."""
    manager = {"auth": issuer.auth(admin_roles=["admin"], **auth), "runner": "external"}
    config = configuration(tmp_path, 5000, manager, {}, PROCESSORS)
    config["server"]["admin"] = True
    path = tmp_path / "config.yml"
    path.write_text(before := yaml.safe_dump(config))
    monkeypatch.setenv("PYGEOAPI_CONFIG", str(path))
    api = admin.Admin(config, {})
    every = {
        "get_config_": (),
        "put_config": (),
        "patch_config": (),
        "get_resources": (),
        "post_resource": (),
        "get_resource": ("open",),
        "put_resource": ("open",),
        "patch_resource": ("open",),
        "delete_resource": ("open",),
    }
    try:
        for name, resource in every.items():
            for headers, expected in (({}, 401), ({"Authorization": "Bearer x"}, 401), (issuer.headers("bob"), 403)):
                environ = EnvironBuilder(path="/admin/config", headers=headers, json={}).get_environ()
                request = APIRequest.from_flask(flask.Request(environ), api.locales)
                answered, status, content = getattr(admin, name)(api, request, *resource)
                assert (status, json.loads(content)["status"]) == (expected, expected), name
                assert answered["WWW-Authenticate"].startswith("Bearer"), name
        environ = EnvironBuilder(path="/admin/config", headers=issuer.headers(roles=["admin"])).get_environ()
        _, status, content = admin.get_config_(api, APIRequest.from_flask(flask.Request(environ), api.locales))
        assert (status, json.loads(content)["server"]["admin"]) == (200, True)
    finally:
        ogcapi.uninstall()
    assert path.read_text() == before


def test_the_document_says_which_operations_need_a_token(tmp_path, issuer):
    """Security schemes, what needs them, and the answers of those who have none."""
    ogcapi.uninstall()
    try:
        found = {}
        for name, keys in (("closed", {"public_descriptions": False}), ("open", {"required": False}), ("default", {})):
            config = configuration(tmp_path, 5000, {"auth": issuer.auth(**keys)}, {}, PROCESSORS)
            document = get_oas(config)
            assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
            found[name] = {
                (path, method): ("need" if {} not in one["security"] else "may", "403" in one["responses"])
                for path, item in document["paths"].items()
                if path.split("/")[1] in ("processes", "jobs")
                for method, one in item.items()
                if "401" in one["responses"]
            }
    finally:
        ogcapi.uninstall()
    restricted = ("/processes/restricted/execution", "post")
    assert found["default"] == {
        ("/processes", "get"): ("may", False),
        ("/processes/open", "get"): ("may", False),
        ("/processes/open/execution", "post"): ("need", False),
        ("/processes/restricted", "get"): ("may", False),
        restricted: ("need", True),
        ("/jobs", "get"): ("need", False),
        ("/jobs/{jobId}", "get"): ("need", False),
        # of a job that is shared
        ("/jobs/{jobId}", "delete"): ("need", True),
        ("/jobs/{jobId}/results", "get"): ("need", False),
    }
    assert {key: need for key, (need, _) in found["closed"].items()} == dict.fromkeys(found["default"], "need")
    assert {key for key, (need, _) in found["open"].items() if need == "need"} == {restricted}


def test_the_doctor_asks_for_the_keys(tmp_path, issuer):
    """And says what to do where they cannot be had, or the key of the configuration cannot be used."""

    def finding(auth: dict[str, Any]) -> Any:
        keys = {"name": "pygeoapi_prefect.PrefectManager", "connection": str(tmp_path / "jobs.db")}
        manager_def = {**keys, "output_dir": str(tmp_path), "auth": auth}
        return next(one for one in examine(manager_def) if one.subject.startswith("tokens of"))

    well = finding(issuer.auth())
    assert (well.text, well.remedy) == (f"{len(issuer.published)} keys are published", None)
    elsewhere = finding(issuer.auth(issuer="http://127.0.0.1:9"))
    assert "http://127.0.0.1:9/.well-known/openid-configuration" in elsewhere.text
    assert elsewhere.remedy is not None
    assert finding(issuer.auth(key="none")).remedy is not None
    restricted = {"restricted": {"processor": PROCESSORS["restricted"]}}
    manager_def = {"connection": str(tmp_path / "jobs.db"), "output_dir": str(tmp_path), "processes": restricted}
    assert next(one for one in examine(manager_def) if one.subject == "roles").remedy is not None
