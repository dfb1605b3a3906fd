"""Laws of the wrappers: put on once, taken off whole, only where they fit, and for our routes only."""

import asyncio
import json
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pygeoapi.api as core
import pytest
from flask import Flask
from pygeoapi.api import API, APIRequest, processes
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from pygeoapi_prefect import manager, ogcapi
from pygeoapi_prefect.ogcapi import wrapping
from pygeoapi_prefect.ogcapi.boundary import accepts, relative_path
from pygeoapi_prefect.ogcapi.conformance import declared
from pygeoapi_prefect.ogcapi.fronts import allowed_methods, flask_handler, with_problems
from pygeoapi_prefect.ogcapi.request_body import read_body
from pygeoapi_prefect.schemas.problems import problem
from pygeoapi_prefect.settings import ManagerSettings
from serving import configuration

OWNERS = [(owner, name) for owner, name, _, _ in wrapping._WRAPPERS] + [
    (APIRequest, name) for name in ("from_flask", "from_starlette", "from_django")
]


@pytest.fixture
def make_api(tmp_path: Path):
    """Makes pygeoapi's API with our manager; starts nothing."""
    # managers of other tests have left their wrappers
    ogcapi.uninstall()

    def make(**keys: Any) -> API:
        config = configuration(tmp_path, 5000, {"runner": "external", **keys}, {}, {"hello": {"name": "HelloWorld"}})
        return API(config, {})

    # a manager of another test in this process may have put them on
    ogcapi.uninstall()
    yield make
    ogcapi.uninstall()


def request_for(api: API, path: str, **keys: Any) -> APIRequest:
    return APIRequest.from_flask(Request(EnvironBuilder(path, **keys).get_environ()), api.locales)


def functions() -> list[Any]:
    return [vars(owner)[name] for owner, name in OWNERS]


def test_wrappers_are_put_on_once_and_taken_off_whole(make_api):
    """A second manager changes nothing more, and uninstall leaves no trace."""
    stock = functions()
    make_api()
    wrapped = functions()
    assert [one for one, other in zip(stock, wrapped, strict=True) if one is other] == []
    make_api()
    assert functions() == wrapped
    ogcapi.uninstall()
    assert functions() == stock


def test_managers_may_be_made_while_requests_come(make_api):
    """Django makes a manager for each request, in as many threads as there are requests."""

    class Served:
        name = "pygeoapi_prefect.PrefectManager"
        settings = ManagerSettings(connection="sqlite:///x", output_dir="x", data_dir=Path("x"))

        def start(self):
            """A runner is somebody else's matter."""

    api = make_api()
    others = [Served() for _ in range(500)]
    for one in others:
        ogcapi.install(one)
    errors = []
    stopping = threading.Event()

    def make_managers():
        while not stopping.is_set():
            ogcapi.install(Served())

    threads = [threading.Thread(target=make_managers) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for _ in range(100):
            try:
                request_for(api, "/jobs")
            except RuntimeError as error:
                errors.append(str(error))
    finally:
        sys.setswitchinterval(interval)
        stopping.set()
        for thread in threads:
            thread.join()
    assert errors == []


def test_nothing_is_wrapped_without_compliance(make_api):
    """``ogc_compliance: false`` leaves pygeoapi as it is."""
    stock = functions()
    make_api(ogc_compliance=False)
    assert functions() == stock


def test_a_function_of_other_parameters_is_left_alone(make_api, monkeypatch, caplog):
    """The log names it once; the others are wrapped."""

    def get_jobs(api, request, job_id, something_new):
        return {}, 200, ""

    monkeypatch.setattr(processes, "get_jobs", get_jobs)
    monkeypatch.delattr(core, "conformance")
    with caplog.at_level(logging.ERROR, logger=wrapping.__name__):
        make_api()
        make_api()
    assert processes.get_jobs is get_jobs
    assert hasattr(processes.delete_job, wrapping._WRAPPED)
    told = [record.getMessage() for record in caplog.records if record.name == wrapping.__name__]
    assert [text.split(" takes ")[0] for text in told] == ["pygeoapi's get_jobs", "pygeoapi's conformance"]


def test_other_resources_keep_the_exceptions_of_pygeoapi(make_api):
    """A collection's errors, and a wrong format of it, are no problem documents; those of processes are."""
    api = make_api()
    for path, media_type in (("/collections?f=xml", None), ("/jobs?f=xml", "application/problem+json")):
        headers, status, content = api.get_format_exception(request_for(api, path))
        assert status == 400
        assert headers["Content-Type"] == (media_type or "application/json")
        assert ("title" in json.loads(content)) == (media_type is not None)
    headers, status, _ = core.describe_collections(api, request_for(api, "/collections/x"), "x")
    assert (headers["Content-Type"], status) == ("application/json", 404)


def test_what_is_said_to_be_compressed_is(make_api, monkeypatch):
    """With ``server.gzip`` too: no front compresses the answer to a wrong format."""
    monkeypatch.setitem(core.FORMAT_TYPES, "gzip", "application/gzip")
    headers = {"Accept-Encoding": "gzip"}
    stock = API(configuration(Path("/nowhere"), 5000, {"ogc_compliance": False}, {}, {}), {})
    assert stock.get_format_exception(request_for(stock, "/jobs?f=xml", headers=headers))[0]["Content-Encoding"]
    api = make_api()
    answered = api.get_format_exception(request_for(api, "/jobs?f=xml", headers=headers))[0]
    assert "Content-Encoding" not in answered


def test_an_empty_content_type_is_none(make_api):
    """Fronts differ in what they do with it; the body is taken for JSON as without the header."""
    api = make_api()
    request = request_for(api, "/processes/hello/execution", method="POST", data=b"{}")
    request._headers = {"Content-Type": ""}
    assert read_body(request, api.manager.settings) == {}


def test_pages_of_other_origins_can_read_problems():
    """Headers that a middleware gave to a framework's page stay, those of CORS above all; its body's own do not."""

    async def missing(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("Not Found", 404, {"ETag": "x"})(scope, receive, send)

    app = with_problems(CORSMiddleware(missing, allow_origins=["*"]), lambda: True, "")

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://processes") as client:
            return await client.get("/jobs/x/nothing", headers={"Origin": "https://example.org"})

    response = asyncio.run(ask())
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")
    assert response.headers["access-control-allow-origin"] == "*"
    assert "etag" not in response.headers


def test_a_page_that_cannot_be_rendered_becomes_a_document(make_api, tmp_path):
    """An operator's broken template of errors does not make an error of its own."""
    (tmp_path / "exception.html").write_text("{% broken")
    api = make_api()
    api.config["server"]["templates"] = api.tpl_config["server"]["templates"] = {"path": str(tmp_path)}
    headers, status, content = processes.describe_processes(api, request_for(api, "/processes/x?f=html"), "x")
    assert (headers["Content-Type"], status) == ("application/problem+json", 404)
    assert json.loads(content)["instance"] == "/processes/x"


def test_names_of_headers_are_found_in_any_case(make_api):
    """As HTTP has it, under each front, for our routes."""
    api = make_api()
    request = request_for(api, "/jobs", headers={"IDEMPOTENCY-key": "x"})
    assert request.headers.get("idempotency-Key") == "x"


def test_a_request_that_pygeoapi_cannot_read_is_the_clients_fault(make_api, monkeypatch):
    """400 for our routes; elsewhere the error stays what it is."""
    from werkzeug.exceptions import BadRequest

    api = make_api()

    def fail(*_: Any) -> None:
        raise LookupError("unreadable")

    monkeypatch.setattr(APIRequest, "_get_locale", fail)
    with pytest.raises(BadRequest):
        request_for(api, "/jobs/x")
    with pytest.raises(LookupError):
        request_for(api, "/collections")


def test_an_api_for_each_request_shares_what_the_first_one_started(make_api, monkeypatch):
    """As Django's views make them: no connections and threads of their own, and answers through the wrappers."""
    monkeypatch.setattr(manager, "_serving", {})
    first = make_api()
    assert make_api().manager._web_process is not first.manager._web_process
    first.manager.start()
    second = make_api()
    assert second.manager._web_process is first.manager._web_process
    assert second.manager in wrapping._managers
    assert make_api(max_waiting=5).manager._web_process is not first.manager._web_process


def test_what_a_client_excludes_is_no_error(make_api):
    """A quality of zero, which stock pygeoapi divides by, excludes a format and a language; the others count."""
    api = API(configuration(Path("/nowhere"), 5000, {"ogc_compliance": False}, {}, {}), {})
    headers = {"Accept": "text/html;q=0, application/ld+json;q=0.5", "Accept-Language": "de;q=0.0"}
    with pytest.raises(ZeroDivisionError):
        request_for(api, "/jobs", headers=headers)
    assert request_for(make_api(), "/jobs", headers=headers).format == "jsonld"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/json", True),
        ("*/*", True),
        ("image/png, */*;q=0.1", True),
        ("text/*", True),
        ("APPLICATION/JSON; q=1", True),
        ("image/png", False),
        ("*/*;q=0", False),
        ("application/json;q=0, text/html;q=0.0", False),
        ("*/*, application/json;q=0, text/html;q=0", False),
        (";;q=,/", True),
        ("", True),
    ],
)
def test_accept_is_read_as_http_has_it(accept, expected):
    """The most specific range counts, and what cannot be read excludes nothing. Source: RFC 9110, 12.5.1."""
    assert accepts(accept, ("application/json", "text/html")) == expected


@pytest.mark.parametrize(
    ("path", "prefix", "expected"),
    [
        ("/jobs", "", "/jobs"),
        ("/jobs/x", "v1", None),
        ("/v1/jobs/x", "v1", "/jobs/x"),
        ("/v10/jobs", "v1", None),
        ("/jobsite", "", None),
        ("/collections/jobs", "", None),
        ("/", "", None),
        ("", "", None),
    ],
)
def test_our_routes_are_told_from_others(path, prefix, expected):
    """By the first segment after the prefix of the API."""
    assert relative_path(path, prefix) == expected


def test_methods_are_those_of_pygeoapis_routes():
    """The table says what Flask's routes of pygeoapi take."""
    assert allowed_methods("/jobs/x/results") == ("GET", "HEAD")
    assert allowed_methods("/jobs/x/results/y") is None
    assert allowed_methods("/processes/x/execution") == ("POST",)


def test_errors_of_other_routes_are_passed_over():
    """The error handler leaves an application's own errors and pages as they were, whatever handlers it has."""
    app = Flask("test")
    app.register_error_handler(Exception, flask_handler(lambda: True, ""))

    @app.route("/fail")
    @app.route("/jobs/fail")
    def fail() -> None:
        raise LookupError("inside")

    client = app.test_client()
    assert client.get("/nothing").content_type.startswith("text/html")
    assert client.get("/fail").content_type.startswith("text/html")
    response = client.get("/jobs/fail")
    assert (response.status_code, response.content_type) == (500, "application/problem+json")
    assert "inside" not in response.text
    app.config["PROPAGATE_EXCEPTIONS"] = True
    with pytest.raises(LookupError):
        client.get("/fail")


def test_a_status_that_http_does_not_know_has_a_problem_document():
    """A processor may fail with a status of its own."""
    assert problem(499, "about:blank", "no")["title"] == "Error"


def test_classes_are_declared_where_processes_are():
    """Ours replace pygeoapi's for processes; those of collections stay; without a process there are none."""
    others = ["http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/core"]
    assert declared(others, callbacks=True) == others
    stock = [*others, *processes.CONFORMANCE_CLASSES]
    with_callbacks, without = declared(stock, callbacks=True), declared(stock, callbacks=False)
    assert set(with_callbacks) - set(without) == {"http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf/callback"}
    assert others[0] in without
