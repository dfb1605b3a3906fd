"""Laws of execute requests: what clients prefer, requests sent again, proposed job ids, bodies that are none."""

import threading
from uuid import uuid4

import pytest

from ogc_schema import validate
from pygeoapi_prefect.exceptions import InvalidInputsError
from pygeoapi_prefect.manager import PrefectManager
from pygeoapi_prefect.ogcapi.preferences import Preferences
from serving import Server, assert_problem, running

RESPOND_ASYNC = Preferences(respond_async=True)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Preferences()),
        (["respond-async"], RESPOND_ASYNC),
        (["Respond-Async"], RESPOND_ASYNC),
        (["respond-async;foo=bar"], RESPOND_ASYNC),
        (["respond-async; a=b; c"], RESPOND_ASYNC),
        (['respond-async=""'], RESPOND_ASYNC),
        (["handling=lenient, respond-async"], RESPOND_ASYNC),
        (["handling=lenient", "respond-async"], RESPOND_ASYNC),
        (["respond-async, wait=10"], Preferences(respond_async=True, wait=10)),
        (["wait=10"], Preferences(wait=10)),
        (["WAIT = 10"], Preferences(wait=10)),
        (['wait="10"'], Preferences(wait=10)),
        (["wait=10, wait=20"], Preferences(wait=10)),
        (["wait=0"], Preferences(wait=0)),
        (["wait"], Preferences()),
        (["wait=soon"], Preferences()),
        (["wait=-1"], Preferences()),
        (["wait=1e3"], Preferences()),
        (['foo="respond-async, wait=3"'], Preferences()),
        (['foo="a\\",b", wait=3'], Preferences(wait=3)),
        (["respond-asyncs"], Preferences()),
        ([",, ,respond-async,"], RESPOND_ASYNC),
        (["=, ;, respond-async"], RESPOND_ASYNC),
    ],
)
def test_prefer_is_read_as_its_standard_says(values, expected):
    """Lists, several headers, parameters, quoted words, any case; the first of a name counts; nonsense counts not."""
    assert Preferences.parse(values) == expected


@pytest.mark.parametrize("value", ["a" + " " * 500_000 + "x", "a=" + " " * 500_000 + '"', "a=1" + " " * 500_000 + "x"])
def test_a_long_preference_is_read_once(value):
    """The time grows with the length, not with its square: that would be the better part of an hour here."""
    assert Preferences.parse([value]) == Preferences()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    limits = {"max_request_bytes": 10_000, "max_request_items": 2500}
    with running(Server(folder, front="gunicorn", manager=limits)) as started:
        yield started


def execute(server, process_id, inputs, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.client.post(f"/processes/{process_id}/execution", json={"inputs": inputs}, headers=headers)


class TestPrefer:
    def test_respond_async_with_wait_answers_the_result_in_time(self, server):
        """A client that would wait a while for an asynchronous job gets the result where the job ends in time."""
        response = execute(server, "hello-world", {"name": "Ada"}, Prefer="respond-async, wait=20")
        assert (response.status_code, response.json()) == (200, "Hello Ada!")
        assert response.headers["Preference-Applied"] == "wait=20"

    def test_respond_async_with_wait_answers_the_job_after_it(self, server):
        """… and else the job, whose whole status it learns."""
        response = execute(server, "sleep", {"seconds": 30}, Prefer="Respond-Async; x=y, wait=1")
        assert response.status_code == 201
        assert response.headers["Preference-Applied"] == "respond-async, wait=1"
        validate(response.json(), "statusInfo")
        assert response.json()["status"] == "running"
        assert server.client.delete(f"/jobs/{response.json()['jobID']}").status_code == 200

    @pytest.mark.parametrize(("process_id", "status"), [("sleep", 201), ("sync-only-sleep", 503)])
    def test_wait_ends_a_synchronous_request(self, server, process_id, status):
        """``wait=N`` ends the wait: with 201 where the process may run asynchronously, else with 503 and Location."""
        response = execute(server, process_id, {"seconds": 30}, Prefer="wait=1")
        assert response.status_code == status
        assert server.client.delete(response.headers["Location"]).json()["status"] == "dismissed"


class TestIdempotencyKey:
    def test_the_same_request_makes_one_job(self, server):
        """A request that is sent again with its key is answered from the job that it made, in either mode."""
        key = str(uuid4())
        first = execute(server, "hello-world", {"name": "Ada"}, Idempotency_Key=f'"{key}"')
        second = execute(server, "hello-world", {"name": "Ada"}, Idempotency_Key=key)
        third = execute(server, "hello-world", {"name": "Ada"}, Idempotency_Key=key, Prefer="respond-async")
        assert (first.status_code, second.status_code, third.status_code) == (200, 200, 201)
        assert first.headers["Location"] == second.headers["Location"] == third.headers["Location"]
        assert second.json() == "Hello Ada!"
        assert third.json()["status"] == "successful"

    def test_at_the_same_moment(self, server):
        """Of requests that race one makes the job."""
        locations = []
        key = str(uuid4())

        def send():
            response = execute(server, "hello-world", {"name": "Ada"}, Idempotency_Key=key, Prefer="respond-async")
            locations.append(response.headers["Location"])

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(locations), len(set(locations))) == (8, 1)

    @pytest.mark.parametrize("other", [("hello-world", {"name": "Eve"}), ("another-id", {"name": "Ada"})])
    def test_another_request_is_refused(self, server, other):
        """The key of one request does not answer another one, of another body or another process."""
        key = str(uuid4())
        assert execute(server, "hello-world", {"name": "Ada"}, Idempotency_Key=key).status_code == 200
        assert_problem(execute(server, *other, Idempotency_Key=key), 422)

    def test_the_key_goes_with_the_job(self, server):
        """After its job was removed a key makes a new one."""
        key = str(uuid4())
        first = execute(server, "hello-world", {"name": "Ada"}, Idempotency_Key=key).headers["Location"]
        assert server.client.delete(first).status_code == 200
        second = execute(server, "hello-world", {"name": "Ada"}, Idempotency_Key=key)
        assert (second.status_code, second.headers["Location"] != first) == (200, True)

    @pytest.mark.parametrize("key", ["", '""', "x" * 256])
    def test_keys_that_are_none(self, server, key):
        """A key that cannot be kept is refused: the client would rely on it."""
        assert_problem(execute(server, "hello-world", {"name": "Ada"}, Idempotency_Key=key), 400)


class TestProposedJobId:
    @pytest.mark.parametrize("member", ["jobID", "job_id"])
    def test_the_client_may_name_the_job(self, server, member):
        """A proposed id is the job's; a second job of that id is refused."""
        job_id = f"my-job.{uuid4().hex[:8]}"
        body = {"inputs": {"name": "Ada"}, member: job_id}
        response = server.client.post("/processes/hello-world/execution", json=body)
        assert response.headers["Location"] == f"{server.url}/jobs/{job_id}"
        assert server.job(job_id)["jobID"] == job_id
        assert_problem(server.client.post("/processes/hello-world/execution", json=body), 409)

    def test_what_is_no_job_cannot_be_removed_as_one(self, server):
        """An id is refused that something else in the result store has for a name; it would go with the job."""
        other = server.folder / "results" / "maps.2026" / "world.tif"
        other.parent.mkdir(parents=True)
        other.write_bytes(b"II*")
        body = {"inputs": {"name": "Ada"}, "jobID": "maps.2026"}
        assert_problem(server.client.post("/processes/hello-world/execution", json=body), 409)
        server.client.delete("/jobs/maps.2026")
        assert other.read_bytes() == b"II*"

    @pytest.mark.parametrize("job_id", ["", "../x", "a/b", ".hidden", "x" * 65, "ä", 5, ["a"], "a b", "a\n"])
    def test_ids_that_are_none(self, server, job_id):
        """What cannot stand in a URL or a folder's name is no job id."""
        body = {"inputs": {"name": "Ada"}, "jobID": job_id}
        assert_problem(server.client.post("/processes/hello-world/execution", json=body), 400)


class TestBodies:
    @pytest.mark.parametrize(
        ("media_type", "status"),
        [
            ("application/json", 200),
            ("Application/JSON; charset=utf-8", 200),
            ("application/geo+json", 200),
            ("application/x-www-form-urlencoded", 415),
            ("multipart/form-data; boundary=x", 415),
            ("text/plain", 415),
            ("application/xml", 415),
        ],
    )
    def test_media_types(self, server, media_type, status):
        """JSON is taken under each of its names; everything else is 415, also what a front would have parsed away."""
        response = server.client.post(
            "/processes/hello-world/execution",
            content=b'{"inputs": {"name": "Ada"}}',
            headers={"Content-Type": media_type},
        )
        assert response.status_code == status
        if status == 415:
            assert_problem(response, 415)

    def test_too_large(self, server):
        """A body above the limit is 413."""
        assert_problem(execute(server, "hello-world", {"name": "x" * 10_000}), 413)

    @pytest.mark.parametrize(
        "body",
        [
            b'{"inputs": {"name": NaN}}',
            b'{"inputs": {"name": -Infinity}}',
            b'{"inputs": {"name": ' + b"[" * 2000 + b"]" * 2000 + b"}}",
            b'{"inputs": {"name": ' + b"9" * 5000 + b"}}",
            b'{"inputs": {"name": "\xff"}}',
            b"\xff\xfe",
            b"\x00",
            b'{"inputs": {"name": "Ada"}, "inputs": {"name": "Bob"}}',
            b'{"inputs": {"name": 1e999}}',
            b'{"inputs": {"name": 1' + b"0" * 309 + b"}}",
        ],
        ids=["nan", "infinity", "nested", "digits", "utf-8", "bom", "nul", "twice", "infinite", "beyond doubles"],
    )
    def test_no_json(self, server, body):
        """What only some parsers take for JSON, or what breaks them, is a 400 problem that tells nothing of Python."""
        response = server.client.post(
            "/processes/hello-world/execution", content=body, headers={"Content-Type": "application/json"}
        )
        assert not {"sys.", "codec", "recursion"} & set(assert_problem(response, 400)["detail"].split())

    @pytest.mark.parametrize("depth", [200, 700, 900, 950, 980, 1000, 1100])
    def test_nesting(self, server, depth):
        """However deep it is, it is the client's mistake; also where the request has a key."""
        body = b'{"inputs": {"name": ' + b"[" * depth + b"]" * depth + b"}}"
        headers = {"Content-Type": "application/json", "Idempotency-Key": "deep"}
        response = server.client.post("/processes/hello-world/execution", content=body, headers=headers)
        assert "nested too deeply" in assert_problem(response, 400)["detail"]

    def test_many_items(self, server):
        """More arrays and objects than the limit are 413, before any is made."""
        body = b'{"inputs": {"name": [' + b"[]," * 2500 + b"0]}}"
        problem = assert_problem(server.client.post("/processes/hello-world/execution", content=body), 413)
        assert "more than 2500 arrays and objects" in problem["detail"]


class TestInputs:
    def test_all_that_is_wrong_is_answered(self, server):
        """No job is made; the problem document has a pointer and a sentence for each violation."""
        job_id = f"never-{uuid4()}"
        body = {"inputs": {"name": 5, "shout": True}, "outputs": {"song": {}}, "jobID": job_id}
        problem = assert_problem(server.client.post("/processes/hello-world/execution", json=body), 400)
        assert [error["pointer"] for error in problem["errors"]] == [
            "#/inputs/name",
            "#/inputs/shout",
            "#/outputs/song",
        ]
        assert problem["errors"][0]["detail"] == "Input 'name' must be a string, not 5."
        assert problem["detail"] == " ".join(error["detail"] for error in problem["errors"])
        assert problem["code"] == "InvalidParameterValue"
        assert server.client.get(f"/jobs/{job_id}").status_code == 404

    def test_missing_inputs(self, server):
        """What is missing alone is a mistake of its own kind, as in stock pygeoapi."""
        problem = assert_problem(server.client.post("/processes/hello-world/execution", json={}), 400)
        assert problem["code"] == "MissingParameterValue"
        assert problem["errors"] == [{"pointer": "#/inputs/name", "detail": "Input 'name' is missing."}]

    def test_processors_get_plain_values(self, server):
        """An unmodified processor sees the value, however it was sent."""
        inputs = {"x": {"value": {"a": 1}, "mediaType": "application/json"}, "n": [1]}
        assert execute(server, "old-signature", inputs).json() == {"data": {"x": {"a": 1}, "n": [1]}}


@pytest.mark.parametrize(
    "arguments",
    [
        {"data_dict": {"names": "Ada"}},
        {"data_dict": None},
        {"data_dict": {"name": "Ada"}, "requested_outputs": ["song"]},
        {"data_dict": {"name": "Ada"}, "requested_response": "xml"},
    ],
)
def test_requests_are_checked_behind_every_front(tmp_path, arguments):
    """pygeoapi's own functions, and programs that call the manager, make no job that does not fit either."""
    definition = {"connection": str(tmp_path / "jobs.db"), "output_dir": str(tmp_path), "ogc_compliance": False}
    processes = {"hello-world": {"type": "process", "processor": {"name": "HelloWorld"}}}
    manager = PrefectManager({"name": "p", **definition, "runner": "external", "processes": processes})
    with pytest.raises(InvalidInputsError):
        manager.execute_process("hello-world", **arguments)
    assert not (tmp_path / "jobs.db").exists()


def results(server, job_id, accept=None, **params):
    """Of a job; without ``Accept`` unless it is given."""
    request = server.client.build_request("GET", f"/jobs/{job_id}/results", params=params)
    del request.headers["Accept"]
    request.headers.update({} if accept is None else {"Accept": accept})
    return server.client.send(request)


@pytest.fixture(scope="module")
def job_id(server):
    """A job with the outputs ``a`` and ``b``."""
    job_id = server.submit("several")
    server.wait_for(job_id, "successful")
    return job_id


class TestOutputs:
    @pytest.mark.parametrize(
        ("accept", "is_document"),
        [
            (None, False),
            ("*/*", False),
            ("multipart/*", False),
            ("multipart/related, application/json;q=0.5", False),
            ("application/json;q=0.5, */*", False),
            ("image/png", False),
            ("application/json", True),
            ("application/json, text/plain, */*", True),
            ("multipart/related;q=0.5, application/json;q=0.6", True),
            ("multipart/related;q=0.001, */*", True),
        ],
    )
    def test_accept_chooses_the_form_of_several(self, server, job_id, accept, is_document):
        """Several raw outputs are a multipart, but for clients that would rather have JSON."""
        response = results(server, job_id, accept)
        assert response.status_code == 200
        assert response.headers["Content-Type"].partition(";")[0] == (
            "application/json" if is_document else "multipart/related"
        )
        assert not is_document or response.json() == {"a": "A", "b": "B"}

    def test_f_json_is_a_document(self, server, job_id):
        """pygeoapi's own parameter counts more than ``Accept``."""
        assert results(server, job_id, "*/*", f="json").json() == {"a": "A", "b": "B"}

    def test_pages(self, server, job_id):
        """A browser gets pygeoapi's page of JSON results, and everything else as it is."""
        page = results(server, job_id, "text/html,application/xml;q=0.9,*/*;q=0.8")
        assert page.headers["Content-Type"] == "text/html"
        octets = server.execute("bytes", {"size": 10}).headers["Location"].rpartition("/")[2]
        assert results(server, octets, f="html").content == bytes(range(10))

    @pytest.mark.parametrize("form", ["raw", "document"])
    @pytest.mark.parametrize("mode", ["value", "reference"])
    def test_later_is_as_at_once(self, server, form, mode):
        """The synchronous answer is byte for byte that of the results, now and later, of an asynchronous job too."""
        request = {"outputs": {"a": {}, "b": {"transmissionMode": mode}}, "response": form}
        first = server.execute("several", **request)
        job_id = server.submit("several", **request)
        server.wait_for(job_id, "successful")
        own = first.headers["Location"].rpartition("/")[2]
        again = server.results(own)
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["Content-Type"] == first.headers["Content-Type"]
        if mode == "value":
            assert server.results(job_id).content == first.content

    def test_references(self, server):
        """204 with a link to each output and to the job; what a link leads to is the output."""
        outputs = {"a": {"transmissionMode": "reference"}, "b": {"transmissionMode": "reference"}}
        response = server.execute("several", outputs=outputs)
        assert (response.status_code, response.content) == (204, b"")
        links = [link.partition(">") for link in response.headers["Link"].split(", <")]
        found = {rest.rpartition("title=")[2]: href.lstrip("<") for href, _, rest in links if "results" in rest}
        assert [server.client.get(href).json() for href in (found['"a"'], found['"b"'])] == ["A", "B"]
        assert response.headers["Link"].endswith('rel="monitor"; type="application/json"')

    def test_one_by_one(self, server, job_id):
        """``outputs`` chooses among the outputs; what there is not is the standard's problem."""
        assert results(server, job_id, outputs="b").json() == "B"
        assert results(server, job_id, f="json", outputs="b,a").json() == {"b": "B", "a": "A"}
        problem = assert_problem(results(server, job_id, outputs="a,sound"), 404)
        assert problem["type"].endswith("/no-such-output")
        assert "'sound'" in problem["detail"]

    @pytest.mark.parametrize("encoding", ["identity", "gzip"])
    def test_large_outputs(self, server, encoding):
        """Outputs that are sent in pieces come whole, with their size."""
        job_id = server.submit("bytes", {"size": 9_000_000})
        server.wait_for(job_id, "successful")
        response = server.client.get(f"/jobs/{job_id}/results", headers={"Accept-Encoding": encoding})
        assert response.content == (bytes(range(256)) * 40_000)[:9_000_000]
        assert response.headers["Content-Length"] == "9000000"
        assert response.headers["Content-Disposition"] == 'inline; filename="result.bin"'
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert server.client.head(f"/jobs/{job_id}/results").headers["Content-Length"] == "9000000"
