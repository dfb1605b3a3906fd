"""Laws of pygeoapi's fronts: the manager behaves alike under each, and to load it starts nothing."""

import gzip
import socket
import subprocess
import sys
from http.client import HTTPResponse

import pytest

from pygeoapi_prefect.exceptions import OGC_EXCEPTIONS
from serving import Server, assert_problem, eventually, running

MAX_REQUEST_BYTES = 4_000_000


@pytest.mark.parametrize("front", ["flask", "starlette", "django", "preload"])
def test_fronts_behave_alike(tmp_path, front):
    """
    Before the first request there is no runner and no database; then both ways of execution, problems, pages and
    dismissal work under every front.
    """
    server = Server(tmp_path, front=front, cors=True, manager={"max_request_bytes": MAX_REQUEST_BYTES})
    try:
        server.start(wait=False)
        eventually(lambda: _listens(server.port), within=60)
        assert not server.presence.folder.exists()
        assert not (tmp_path / "jobs.db").exists()
        # the first request of all: Django's views would answer it as if there were no wrappers
        assert_problem(server.client.put("/jobs/x"), 405)
        eventually(server._answers, within=30)
        assert server.runner().pid
        assert server.execute("hello-world", {"name": "Ada"}).json() == "Hello Ada!"
        job_id = server.submit("sleep", {"seconds": 60})
        server.wait_for(job_id, "running")
        response = server.client.delete(f"/jobs/{job_id}")
        assert (response.status_code, response.json()["status"]) == (200, "dismissed")
        assert response.headers["content-type"] == "application/json"
        assert_problem(server.client.get("/jobs/nothing"), 404)
        dismissed = server.client.get("/jobs", params={"status": ["failed", "dismissed"]}).json()
        assert [job["jobID"] for job in dismissed["jobs"]] == [job_id]
        assert [server.client.head(path).status_code for path in ("/jobs", f"/jobs/{job_id}")] == [200, 200]
        assert_problem(server.execute("fail"), 500)
        assert_problem(server.execute("broken-import"), 503)
        assert server.execute("bytes", {"size": 300}).content == (bytes(range(256)) * 2)[:300]
        assert server.execute("bytes", {"size": 9_000_000}).content == (bytes(range(256)) * 40_000)[:9_000_000]
        several = server.execute("several")
        assert several.headers["content-type"].startswith("multipart/related")
        assert server.client.get(f"{several.headers['Location']}/results", params={"outputs": "b"}).json() == "B"
        outputs = {"a": {"transmissionMode": "reference"}}
        by_reference = server.execute("several", outputs=outputs)
        assert (by_reference.status_code, by_reference.content) == (204, b"")
        assert by_reference.headers["Link"].startswith(f"<{by_reference.headers['Location']}/results?outputs=a>")
        assert server.client.get("/jobs", params={"f": "html"}).headers["content-type"].startswith("text/html")
        _assert_other_sites_may_ask(server)
        _assert_problems(server)
    finally:
        server.stop()


def _assert_other_sites_may_ask(server: Server) -> None:
    """A page of another site may send every header that has a meaning here, and read every one of the answer."""
    headers = ("authorization", "content-type", "idempotency-key", "prefer")
    asked = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = ", ".join(headers)
    allowed = server.client.options("/processes/hello-world/execution", headers=asked)
    assert allowed.status_code == 200
    assert set(headers) <= set(allowed.headers["access-control-allow-headers"].lower().split(", "))
    answer = server.client.get("/jobs", headers={"Origin": "https://example.org"})
    assert answer.headers["access-control-allow-origin"] in ("*", "https://example.org")
    assert answer.headers["access-control-expose-headers"] == "*"


def refused(server: Server, path: str, header: str, body: bytes = b"") -> tuple[int, str]:
    """Status and media type of the answer to a request whose body is not complete."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{header}\r\n\r\n"
        connection.sendall(head.encode() + body)
        answer = HTTPResponse(connection, method="POST")
        answer.begin()
        return answer.status, str(answer.headers["content-type"])


def _assert_problems(server: Server) -> None:
    """Whoever answers, it is a problem document; nothing that a client sends is an error of the server's."""
    client = server.client
    no_such_job = f"{OGC_EXCEPTIONS}/no-such-job"
    for path in (
        "/jobs/x/nothing",
        "/jobs/x/results/y",
        "/processes/sleep/nothing",
        "/jobs/a%2Fb",
        "/jobs/a%2Fb/results",
    ):
        assert assert_problem(client.get(path), 404)["type"] == "about:blank"
    for job_id in ("%00", "%FF%FE", "x" * 3000, "%E2%80%AE"):
        document = assert_problem(client.get(f"/jobs/{job_id}/results"), 404)
        assert document["type"] == no_such_job
    assert assert_problem(client.delete("/jobs/%00"), 404)["instance"] == "/jobs/%00"
    for path, method, allowed in (
        ("/jobs/x", "PUT", {"GET", "DELETE"}),
        ("/jobs", "POST", {"GET"}),
        ("/jobs/x/results", "DELETE", {"GET"}),
        ("/processes", "DELETE", {"GET"}),
        ("/processes/sleep/execution", "GET", {"POST"}),
    ):
        response = client.request(method, path)
        assert_problem(response, 405)
        assert set(response.headers["allow"].split(", ")) - {"HEAD", "OPTIONS"} == allowed
        if server.front == "django":
            # it came through the operator's middlewares
            assert response.headers["x-frame-options"] == "DENY"
    assert_problem(client.get("/jobs", headers={"Accept": "image/png"}), 406)
    assert_problem(client.get("/processes", headers={"Accept": "image/png, text/html;q=0"}), 406)
    assert client.get("/jobs", headers={"Accept": "image/png, */*;q=0.1"}).status_code == 200
    assert_problem(client.get("/jobs", params={"f": "xml"}), 400)
    assert_problem(client.get("/jobs?limit=%FF&offset=%00"), 400)
    for headers in ({"Accept-Language": b"\xff;q=zz,,;"}, {"Accept": ";;q=,/"}, {"Prefer": '";,="'}):
        assert client.get("/jobs", headers=headers).status_code == 200
    execution = "/processes/hello-world/execution"
    assert_problem(client.post(execution, content=b"\xff\xfe", headers={"Content-Type": "application/json"}), 400)
    assert_problem(client.post(execution, data={"inputs": "x"}), 415)
    three_megabytes = server.execute("hello-world", {"name": "x" * 3_000_000})
    assert three_megabytes.status_code == 200
    compressed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert_problem(client.post(execution, content=gzip.compress(b"{}"), headers=compressed), 415)
    # no byte of it was sent
    assert refused(server, execution, f"Content-Length: {2 * MAX_REQUEST_BYTES}") == (413, "application/problem+json")
    if server.front != "django":  # whose WSGI server takes no body without a length
        chunk = b"%x\r\n%b\r\n" % (MAX_REQUEST_BYTES + 100_000, b" " * (MAX_REQUEST_BYTES + 100_000))
        # its end was never sent
        assert refused(server, execution, "Transfer-Encoding: chunked", chunk) == (413, "application/problem+json")
    # other resources are the host's
    other = client.get("/collections/nothing", params={"f": "json"}, follow_redirects=True)
    assert (other.status_code, other.headers["content-type"]) == (404, "application/json")
    unrouted = client.get("/nothing")
    assert (unrouted.status_code, "problem" in unrouted.headers["content-type"]) == (404, False)


def test_openapi_generation_starts_nothing(tmp_path):
    """``pygeoapi openapi generate`` loads the manager without database, runner or Prefect."""
    server = Server(tmp_path)
    server.cli("openapi", "generate", str(server.config_path), "--output-file", str(server.openapi_path))
    text = server.openapi_path.read_text()
    assert "/processes/hello-world/execution" in text
    assert "successUri" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yml", "openapi.yml"]


def test_configuration_is_valid_for_pygeoapi(tmp_path):
    """pygeoapi's own validation accepts our configuration."""
    server = Server(tmp_path, prefect={"sleep": {"max_running": 1}})
    assert server.cli("config", "validate", "-c", str(server.config_path)).returncode == 0


def test_conformance_is_declared_as_far_as_it_is_met(tmp_path):
    """The classes of the standard that hold, in the document and on the page."""
    with running(Server(tmp_path)) as server:
        declared = server.client.get("/conformance", params={"f": "json"}).json()["conformsTo"]
        classes = {uri.rpartition("/")[2] for uri in declared if "processes" in uri}
        assert classes == {"core", "ogc-process-description", "json", "oas30", "job-list", "dismiss", "callback"}
        page = server.client.get("/conformance", params={"f": "html"})
        assert "conf/job-list" in page.text


def test_wrong_key_is_named_at_start(tmp_path):
    """A server with a wrong key does not start, and says which."""
    server = Server(tmp_path, manager={"max_wating": 5})
    result = server.cli("openapi", "generate", str(server.config_path), "--output-file", "x.yml", check=False)
    assert result.returncode != 0
    assert "server.manager.max_wating is not known; did you mean 'max_waiting'?" in result.stderr


class TestWithoutCompliance:
    def test_stock_behaviour_is_what_the_wrappers_mend(self, tmp_path):
        """
        With ``ogc_compliance: false`` pygeoapi answers as it does by itself. Each assertion is a stock behaviour that a
        wrapper mends: when one fails, upstream has mended it and the wrapper can go.
        """
        with running(Server(tmp_path, manager={"ogc_compliance": False})) as server:
            raw = server.execute("hello-world", {"name": "Ada"})
            assert raw.content == b'{"id":"echo","value":"Hello Ada!"}'
            job_id = server.submit("fail")
            server.wait_for(job_id, "failed")
            hidden = server.results(job_id)
            assert (hidden.status_code, hidden.json()["description"]) == (400, "job failed")  # B4
            assert hidden.json()["type"] == "InvalidParameterValue"  # B2
            done = raw.headers["Location"].rpartition("/")[2]
            assert server.results(done).headers["content-type"] == "text/html"  # B7
            deleted = server.client.delete(f"/jobs/{done}")
            assert not deleted.headers.get("content-type", "").startswith("application/json")  # B6
            assert "type" not in deleted.json()  # B6
            unfinished = server.job(server.submit("sleep", {"seconds": 60}))
            assert unfinished["finished"] is None  # B1
            assert [link["rel"].rpartition("/")[2] for link in unfinished["links"]] == ["results"]  # B3
            asked = {"f": "json", "status": "dismissed", "limit": 2}
            listed = server.client.get("/jobs", params=asked).json()
            assert len(listed["jobs"]) == 2  # B5
            assert [link["rel"] for link in listed["links"]][2:] == ["next"]  # B12: there are no more
            few = server.client.get("/processes", params={"f": "json", "limit": 1}).json()
            assert (len(few["processes"]), [link["rel"] for link in few["links"]][3:]) == (1, [])  # B12
            described = server.client.get("/processes/sync-only-sleep", params={"f": "json"}).json()
            assert "async-execute" in described["jobControlOptions"]
            body = server.client.post("/processes/hello-world/execution", content="[1]")
            assert body.status_code == 500  # B9
            declared = server.client.get("/conformance", params={"f": "json"}).json()["conformsTo"]
            assert any("callback" in uri for uri in declared)
            assert not any("job-list" in uri for uri in declared)
            assert server.client.get("/jobs", params={"f": "xml"}).json()["type"] == "InvalidParameterValue"  # B2
            assert server.client.get("/jobs", headers={"Accept": "image/png"}).status_code == 200
            for page, status in ((server.client.get("/jobs/x/nothing"), 404), (server.client.put("/jobs/x"), 405)):
                assert (page.status_code, page.headers["content-type"].split(";")[0]) == (status, "text/html")

    @pytest.mark.parametrize("front", ["starlette", "django"])
    def test_fronts_answer_pages_of_their_frameworks(self, tmp_path, front):
        """What the hooks of the fronts mend, and what Django's views do besides."""
        with running(Server(tmp_path, front=front, manager={"ogc_compliance": False})) as server:
            page = server.client.get("/jobs/x/nothing")
            assert (page.status_code, page.headers["content-type"].split("/")[0]) == (404, "text")
            put = server.client.put("/jobs/x")
            assert put.headers["content-type"] != "application/problem+json"
            if front == "django":
                assert put.status_code == 403  # for the want of a CSRF token
                assert server.client.get("/jobs").status_code == 301
                assert "Traceback" in server.client.get("/jobs/x/results/y").text
                large = server.execute("hello-world", {"name": "x" * 3_000_000})
                assert (large.status_code, large.headers["content-type"].split(";")[0]) == (400, "text/html")
            else:
                assert put.status_code == 405

    def test_documents_are_answered_as_stock_does(self, tmp_path):
        """Without the wrappers outputs are what the process returned, byte for byte."""
        with running(Server(tmp_path, manager={"ogc_compliance": False})) as server:
            assert server.execute("bytes", {"size": 1000}).content == (bytes(range(256)) * 4)[:1000]
            assert server.execute("several", outputs={"b": {}}).json() == {"b": "B"}


def test_manager_is_light():
    """The web process imports neither prefect nor alembic, nor the runner's loop."""
    code = (
        "import sys, pygeoapi_prefect.manager; print([m for m in ('prefect', 'alembic', 'httpx') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
