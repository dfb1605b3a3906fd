"""Laws of the routes that list and describe: jobs, one job, its dismissal, processes. In this process, no server."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import django.conf
import flask
import jsonschema
import pytest
import starlette.requests
from django.test import RequestFactory
from pygeoapi.api import API, APIRequest
from pygeoapi.api import processes as routes
from werkzeug.test import EnvironBuilder

import ogc_schema
from factories import FAILURE, TERMINAL, accepted, claim_all, ended, running
from pygeoapi_prefect.jobs import JobStore
from pygeoapi_prefect.ogcapi.processes import offered
from pygeoapi_prefect.schemas import JobStatus
from serving import configuration

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
RESULTS = "http://www.opengis.net/def/rel/ogc/1.0/results"
EXCEPTIONS = "http://www.opengis.net/def/rel/ogc/1.0/exceptions"
OGC = "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0"
PROCESSES = {name: {"name": "HelloWorld"} for name in ("hello-world", "b", "c", "d & e", "f")} | {
    "sync-only": {"name": "processors.SyncOnlySleep"},
    "async-only": {"name": "processors.AsyncOnly"},
}


def flask_request(path: str, query: str) -> Any:
    return flask.Request(EnvironBuilder(path=path, query_string=query).get_environ())


def starlette_request(path: str, query: str) -> Any:
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": []}
    return starlette.requests.Request(scope)


def django_request(path: str, query: str) -> Any:
    if not django.conf.settings.configured:
        django.conf.settings.configure()
    return RequestFactory().get(f"{path}?{query}")


FRONTS: dict[str, Callable[[str, str], Any]] = {
    "flask": flask_request,
    "starlette": starlette_request,
    "django": django_request,
}


@dataclass(frozen=True)
class Answer:
    headers: dict[str, str]
    status: int
    text: str

    def json(self) -> Any:
        return json.loads(self.text)

    def problem(self, status: int) -> dict[str, Any]:
        """The problem document, which the answer must be."""
        assert (self.status, self.headers["Content-Type"]) == (status, "application/problem+json"), self.text
        return dict(self.json())


class Service:
    """pygeoapi's API with our manager, and no runner: jobs are as a test makes them."""

    def __init__(self, folder: Path, **server: Any) -> None:
        config = configuration(folder, 80, {"runner": "external"}, {}, PROCESSES)
        config["server"] |= server
        self.api = API(config, {})
        self.url = config["server"]["url"]
        self.store: JobStore = self.api.manager.store

    def get(self, path: str, query: Any = (), *, front: str = "flask", delete: bool = False) -> Answer:
        """The answer to a request for JSON that states no preference."""
        query = query if isinstance(query, str) else urlencode(query, doseq=True)
        request = APIRequest(FRONTS[front](path, query), self.api.locales)
        _, route, *rest = path.split("/")
        function = {
            ("jobs", False): routes.get_job_result if path.endswith("/results") else routes.get_jobs,
            ("jobs", True): routes.delete_job,
            ("processes", False): routes.describe_processes,
        }[route, delete]
        headers, status, content = function(self.api, request, *rest[:1])
        return Answer(headers, int(status), content)

    def follow(self, link: dict[str, str]) -> Answer:
        parts = urlsplit(link["href"])
        assert f"{parts.scheme}://{parts.netloc}" == self.url
        return self.get(parts.path, parts.query)

    def walk(self, path: str, query: Any, rel: str) -> list[dict[str, Any]]:
        """The pages from the one at *path*, each by the one before."""
        pages = [self.get(path, query).json()]
        while link := links_of(pages[-1]).get(rel):
            pages.append(self.follow(link).json())
            assert len(pages) < 50
        return pages


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def links_of(document: dict[str, Any]) -> dict[str, dict[str, str]]:
    """By relation; an alternate is the one for people."""
    assert len({(link["rel"], link["type"]) for link in document["links"]}) == len(document["links"])
    return {link["rel"]: link for link in document["links"]}


def ids(job_list: dict[str, Any]) -> list[str]:
    return [job["jobID"] for job in job_list["jobs"]]


def parameters_of(link: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(urlsplit(link["href"]).query, keep_blank_values=True, strict_parsing=True):
        found.setdefault(name, []).append(value)
    return found


def in_status(store: JobStore, status: JobStatus) -> str:
    """A job in any status."""
    if status is JobStatus.ACCEPTED:
        return accepted(store).job_id
    return running(store).job_id if status is JobStatus.RUNNING else ended(store, status).job_id


# ---------------------------------------------------------------- list


class TestJobList:
    def test_is_valid_whatever_the_jobs_do(self, service: Service) -> None:
        """Newest first, each a statusInfo without nulls, with times in UTC as RFC 3339 writes them."""
        made = [in_status(service.store, status) for status in (*TERMINAL, JobStatus.RUNNING, JobStatus.ACCEPTED)]
        answer = service.get("/jobs")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        ogc_schema.validate(answer.json(), "jobList")
        assert ids(answer.json()) == made[::-1]
        for job in answer.json()["jobs"]:
            ogc_schema.validate(job, "statusInfo")
            assert None not in job.values()
            assert "parameters" not in job
            times = [job[name] for name in ("created", "started", "finished", "updated") if name in job]
            assert all(time.endswith("Z") and datetime.fromisoformat(time).tzinfo is UTC for time in times)
        assert ["started" in job for job in answer.json()["jobs"]] == [False, True, True, True, True]
        assert ["finished" in job for job in answer.json()["jobs"]] == [False, False, True, True, True]

    def test_of_no_jobs_is_an_empty_list(self, service: Service) -> None:
        """It is valid, and there is nowhere to go from it."""
        job_list = service.get("/jobs").json()
        ogc_schema.validate(job_list, "jobList")
        assert job_list["jobs"] == []
        assert set(links_of(job_list)) == {"self", "alternate"}
        assert set(links_of(service.get("/jobs", {"offset": 5}).json())) == {"self", "alternate"}

    def test_links_lead_through_all_pages_and_back(self, service: Service) -> None:
        """``next`` is there exactly when there is a next page, ``prev`` when there is one before."""
        names = [accepted(service.store).job_id for _ in range(6)][::-1]
        for limit in (1, 2, 3, 4, 6, 7):
            pages = service.walk("/jobs", {"limit": limit}, "next")
            assert [ids(page) for page in pages] == [names[start : start + limit] for start in range(0, 6, limit)]
            assert ["prev" in links_of(page) for page in pages] == [False] + [True] * (len(pages) - 1)
        assert [ids(page) for page in service.walk("/jobs", {"limit": 2, "offset": 4}, "prev")] == [
            names[4:],
            names[2:4],
            names[:2],
        ]

    def test_a_page_beyond_the_end_leads_back_to_the_last_one(self, service: Service) -> None:
        """It is empty, and ``prev`` is not."""
        names = [accepted(service.store).job_id for _ in range(5)][::-1]
        page = service.get("/jobs", {"limit": 2, "offset": 100}).json()
        assert page["jobs"] == []
        assert "next" not in links_of(page)
        assert ids(service.follow(links_of(page)["prev"]).json()) == names[3:]

    @pytest.mark.parametrize("front", FRONTS)
    def test_links_keep_every_parameter(self, service: Service, front: str) -> None:
        """Lists, repeated parameters, those that the server does not know, and characters that need an escape."""
        for _ in range(4):
            accepted(service.store, process_id="d & e")
        given = {
            "processID": ["d & e", "x,y"],
            "status": ["accepted", "running"],
            "datetime": ["2026-01-31T13:00:00+01:00/.."],
            "limit": ["1"],
            "other": ["", "ü&=#?+ %2B"],
        }
        page = service.get("/jobs", [*given.items(), ("offset", "1")], front=front).json()
        assert len(page["jobs"]) == 1
        offsets = {"self": ["1"], "alternate": ["1"], "prev": ["0"], "next": ["2"]}
        for rel, link in links_of(page).items():
            form = ["html"] if rel == "alternate" else ["json"]
            assert parameters_of(link) == given | {"offset": offsets.pop(rel), "f": form}
            assert link["href"].isascii()
            assert " " not in link["href"]
            assert link["type"] == {"html": "text/html", "json": "application/json"}[form[0]]
        assert offsets == {}

    @pytest.mark.parametrize("front", FRONTS)
    def test_repeated_parameters_count(self, service: Service, front: str) -> None:
        """The dictionaries of the three fronts give one value of several, each another; all are read."""
        made = {status: in_status(service.store, status) for status in (*TERMINAL, JobStatus.ACCEPTED)}
        found = service.get("/jobs", {"status": ["failed", "successful,accepted"]}, front=front).json()
        assert set(ids(found)) == set(made.values()) - {made[JobStatus.DISMISSED]}
        refused = service.get("/jobs", {"limit": ["1", "2"]}, front=front).problem(400)
        assert refused["detail"] == "'limit' must be one whole number, 1 or more."

    def test_filters_are_those_of_the_standard(self, service: Service) -> None:
        """Each leaves out what does not fit; together all do."""
        for number in range(6):
            created = NOON + timedelta(hours=number)
            columns = {"status": JobStatus.SUCCESSFUL, "created": created, "started": created}
            finished = {"finished": created + timedelta(seconds=10 * number)}
            service.store.add(f"{number}", "ab"[number % 2], columns | finished)
        service.store.add("failed", "a", {"status": JobStatus.FAILED, "created": NOON, "finished": NOON})
        wanted = {
            "type=process": "5 4 3 2 1 failed 0",
            "processID=b": "5 3 1",
            "processID=a,b": "5 4 3 2 1 failed 0",
            "processID=none": "",
            "status=failed": "failed",
            "datetime=2026-01-31T13:00:00Z": "1",
            "datetime=2026-01-31T15:00:00+01:00/2026-01-31T15:00:00Z": "3 2",
            "datetime=../2026-01-31T12:00:00Z": "failed 0",
            "datetime=2026-01-31T16:00:00Z/..": "5 4",
            "minDuration=30": "5 4 3",
            "maxDuration=10": "1 0",
            "minDuration=10&maxDuration=40&processID=b": "3 1",
            "unknown=1": "5 4 3 2 1 failed 0",
        }
        found = {query: " ".join(ids(service.get("/jobs", query).json())) for query in wanted}
        assert found == wanted

    @pytest.mark.parametrize(
        "query",
        [
            "status=done",
            "type=job",
            "processID=",
            "datetime=yesterday",
            "minDuration=-1",
            "maxDuration=1,2",
            "limit=0",
            "limit=-1",
            "limit=x",
            "limit=1.0",
            "limit=true",
            "limit=",
            "offset=-1",
            "offset=x",
            "offset=99999999999999999999",
        ],
    )
    @pytest.mark.parametrize("form", ["json", "html"])
    def test_wrong_values_are_refused_by_name(self, service: Service, query: str, form: str) -> None:
        """400, and the client reads which parameter it is; as a page where the client wants one."""
        answer = service.get("/jobs", f"{query}&f={form}")
        name = query.partition("=")[0]
        if form == "json":
            assert answer.problem(400)["detail"].startswith(f"'{name}' must ")
        else:
            assert (answer.status, answer.headers["Content-Type"]) == (400, "text/html")
            assert name in answer.text

    def test_limit_is_capped(self, tmp_path: Path) -> None:
        """Without a limit it is ``default_items``; above ``max_items`` it is that, unless the server refuses it."""
        service = Service(tmp_path, limits={"default_items": 2, "max_items": 4})
        for _ in range(6):
            accepted(service.store)
        assert [len(service.get("/jobs", query).json()["jobs"]) for query in ("", "limit=3", "limit=9999")] == [2, 3, 4]
        service.api.config["server"]["limits"]["on_exceed"] = "error"
        assert service.get("/jobs", "limit=5").problem(400)["detail"] == "Limit of 4 exceeded."

    def test_page_for_people_is_filtered_too(self, service: Service) -> None:
        """The page shows the same jobs as the JSON does, started or not, and leads to pages of its kind."""
        made = [in_status(service.store, status) for status in (*TERMINAL, JobStatus.RUNNING, JobStatus.ACCEPTED)]
        every = service.get("/jobs", {"f": "html"})
        assert (every.status, every.headers["Content-Type"]) == (200, "text/html")
        assert all(job_id in every.text for job_id in made)
        filtered = service.get("/jobs", {"f": "html", "status": ["accepted", "failed"], "limit": 1})
        shown = [job_id for job_id in made if f"/jobs/{job_id}" in filtered.text]
        assert shown == [made[-1]]
        assert "status=accepted&amp;status=failed" in filtered.text
        assert "f=html&amp;offset=1" in filtered.text
        last = service.get("/jobs", {"f": "html", "status": ["accepted", "failed"], "limit": 1, "offset": 1})
        assert ("Prev" in last.text, "Next" in last.text) == (True, False)


# ---------------------------------------------------------------- one job


class TestJob:
    @pytest.mark.parametrize("status", JobStatus)
    def test_links_are_those_of_its_status(self, service: Service, status: JobStatus) -> None:
        """A result is linked when there is one, the reason when the job failed; the rest is always there."""
        job_id = in_status(service.store, status)
        answer = service.get(f"/jobs/{job_id}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        ogc_schema.validate(answer.json(), "statusInfo")
        links = links_of(answer.json())
        extra = {JobStatus.SUCCESSFUL: {RESULTS}, JobStatus.FAILED: {EXCEPTIONS}}.get(status, set())
        assert set(links) == {"self", "alternate", "monitor", "up"} | extra
        assert service.follow(links["self"]).json() == service.follow(links["monitor"]).json() == answer.json()
        assert service.follow(links["alternate"]).headers["Content-Type"] == "text/html"
        assert ids(service.follow(links["up"]).json()) == [job_id]
        for rel in extra:
            assert links[rel]["href"] == f"{service.url}/jobs/{job_id}/results"

    def test_says_why_it_failed_and_not_what_it_was_given(self, service: Service) -> None:
        """The message is the reason; inputs may be secret."""
        answer = service.get(f"/jobs/{in_status(service.store, JobStatus.FAILED)}")
        assert (answer.json()["status"], answer.json()["message"]) == ("failed", FAILURE.message)
        assert "parameters" not in answer.json()

    def test_message_arrives_as_it_was_written(self, service: Service) -> None:
        """Characters that a browser might take for HTML are escaped in JSON's way, which clients undo."""
        claim = running(service.store)
        service.store.report_progress(claim, 1, "<script> & 1 > 0")
        answer = service.get(f"/jobs/{claim.job_id}")
        assert answer.json()["message"] == "<script> & 1 > 0"
        assert "<" not in answer.text
        assert "<script> &" not in service.get(f"/jobs/{claim.job_id}", "f=html").text

    @pytest.mark.parametrize("status", JobStatus)
    def test_page_for_people(self, service: Service, status: JobStatus) -> None:
        """pygeoapi's page works in every status."""
        answer = service.get(f"/jobs/{in_status(service.store, status)}", "f=html")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html")
        assert f"Status: {status.value}" in answer.text

    @pytest.mark.parametrize("job_id", ["nothing", "a\x00b", "\ud800", "x" * 300])
    def test_unknown_jobs_are_not_found(self, service: Service, job_id: str) -> None:
        """404 on each route, whatever the identifier is made of."""
        request = APIRequest(flask_request("/jobs", ""), service.api.locales)
        for route in (routes.get_jobs, routes.get_job_result, routes.delete_job):
            headers, status, content = route(service.api, request, job_id)
            assert Answer(headers, int(status), content).problem(404)["type"] == f"{OGC}/no-such-job"

    @pytest.mark.parametrize(
        ("status", "http_status", "type_"),
        [
            (JobStatus.ACCEPTED, 404, f"{OGC}/result-not-ready"),
            (JobStatus.RUNNING, 404, f"{OGC}/result-not-ready"),
            (JobStatus.DISMISSED, 404, f"{OGC}/result-not-available"),
            (JobStatus.FAILED, 400, "about:blank"),
        ],
    )
    def test_jobs_without_results_say_why(
        self, service: Service, status: JobStatus, http_status: int, type_: str
    ) -> None:
        """By status and type of the problem; that of a failed job is its own, with the reason."""
        job_id = in_status(service.store, status)
        problem = service.get(f"/jobs/{job_id}/results").problem(http_status)
        assert problem["type"] == type_
        if status is JobStatus.FAILED:
            assert (problem["detail"], problem["code"]) == (FAILURE.message, "InvalidParameterValue")
        page = service.get(f"/jobs/{job_id}/results", "f=html")
        assert (page.status, page.headers["Content-Type"]) == (http_status, "text/html")


class TestDismissal:
    @pytest.mark.parametrize("status", [JobStatus.ACCEPTED, JobStatus.RUNNING])
    def test_a_job_that_goes_on_is_dismissed(self, service: Service, status: JobStatus) -> None:
        """The answer is the whole statusInfo, the same that the job has from then on."""
        job_id = in_status(service.store, status)
        answer = service.get(f"/jobs/{job_id}", delete=True)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        ogc_schema.validate(answer.json(), "statusInfo")
        assert (answer.json()["status"], answer.json()["message"]) == ("dismissed", "Job dismissed")
        assert answer.json() == service.get(f"/jobs/{job_id}").json()
        assert claim_all(service.store) == []

    @pytest.mark.parametrize("status", TERMINAL)
    def test_a_job_that_has_ended_is_removed(self, service: Service, status: JobStatus) -> None:
        """The answer is its last statusInfo, which says so; its links lead to what is still there."""
        job_id = in_status(service.store, status)
        before = service.get(f"/jobs/{job_id}").json()
        answer = service.get(f"/jobs/{job_id}", delete=True)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        ogc_schema.validate(answer.json(), "statusInfo")
        up = [links_of(before)["up"]]
        assert answer.json() == before | {"status": "dismissed", "message": "Job removed", "links": up}
        assert service.get(f"/jobs/{job_id}").problem(404)["type"] == f"{OGC}/no-such-job"
        assert service.get(f"/jobs/{job_id}", delete=True).problem(404)["type"] == f"{OGC}/no-such-job"

    def test_the_second_dismissal_removes(self, service: Service) -> None:
        """Once to stop the job, once to forget it."""
        job_id = in_status(service.store, JobStatus.RUNNING)
        messages = [service.get(f"/jobs/{job_id}", delete=True).json()["message"] for _ in range(2)]
        assert messages == ["Job dismissed", "Job removed"]
        service.get(f"/jobs/{job_id}", delete=True).problem(404)


# ---------------------------------------------------------------- processes


class TestProcesses:
    def test_every_process_can_be_reached(self, tmp_path: Path) -> None:
        """Whatever the limit is, links lead to the last process; none is hidden, none comes twice."""
        service = Service(tmp_path, limits={"default_items": 2, "max_items": 3})
        for query in ({}, {"limit": 1}, {"limit": 3}, {"limit": 1000}):
            pages = service.walk("/processes", query, "next")
            assert [process["id"] for page in pages for process in page["processes"]] == list(PROCESSES)
            assert len(pages) > 2
        back = service.walk("/processes", {"offset": 6}, "prev")
        assert [process["id"] for process in back[-1]["processes"]] == list(PROCESSES)[:2]

    def test_without_limits_in_the_configuration_nothing_is_hidden(self, tmp_path: Path) -> None:
        """pygeoapi's own default is 10: a list of as many has no next page, one of fewer neither."""
        service = Service(tmp_path, limits={})
        (page,) = service.walk("/processes", {}, "next")
        assert len(page["processes"]) == len(PROCESSES)

    def test_the_list_holds_valid_summaries(self, service: Service) -> None:
        """Summaries have no inputs and outputs."""
        process_list = service.get("/processes").json()
        ogc_schema.validate(process_list, "processList")
        for summary in process_list["processes"]:
            ogc_schema.validate(summary, "processSummary")
            assert not {"inputs", "outputs", "example"} & set(summary)
        assert [link["rel"] for link in process_list["links"]] == ["self", "alternate", "alternate"]

    def test_the_page_for_people_shows_all(self, tmp_path: Path) -> None:
        """pygeoapi's page has no links to further ones."""
        page = Service(tmp_path, limits={"default_items": 2, "max_items": 3}).get("/processes", "f=html")
        assert page.headers["Content-Type"] == "text/html"
        assert page.text.count('itemprop="name"') == len(PROCESSES)

    @pytest.mark.parametrize("query", ["limit=0", "limit=x", "offset=-1"])
    def test_wrong_pages_are_refused(self, service: Service, query: str) -> None:
        """400, with the name of the parameter."""
        assert service.get("/processes", query).problem(400)["detail"].startswith(f"'{query.partition('=')[0]}' must ")

    @pytest.mark.parametrize("process_id", PROCESSES)
    def test_descriptions_are_valid_and_say_what_is_offered(self, service: Service, process_id: str) -> None:
        """Modes are those of the process, every job can be dismissed, and links lead back to the description."""
        answer = service.get(f"/processes/{process_id}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.headers["Content-Language"] == "en-US"
        description = answer.json()
        modes = {"sync-only": ["sync-execute"], "async-only": ["async-execute"]}
        own = modes.get(process_id, ["sync-execute", "async-execute"])
        assert description["jobControlOptions"] == [*own, "dismiss"]
        summaries = {summary["id"]: summary for summary in service.get("/processes").json()["processes"]}
        assert summaries[process_id]["jobControlOptions"] == description["jobControlOptions"]
        own_links = [link for link in description["links"] if link["href"].startswith(service.url)]
        assert [link["rel"].rpartition("/")[2] for link in own_links] == [
            "self",
            "alternate",
            "job-list",
            "job-list",
            "execute",
        ]
        quoted = process_id.replace(" ", "%20").replace("&", "%26")
        assert own_links[0]["href"] == f"{service.url}/processes/{quoted}?f=json"
        page = service.get(f"/processes/{process_id}", "f=html")
        assert (page.status, page.headers["Content-Type"]) == (200, "text/html")
        assert ("Asynchronous" in page.text) == ("async-execute" in own)

    def test_unknown_processes_are_not_found(self, service: Service) -> None:
        """404 with the standard's type."""
        assert service.get("/processes/nothing").problem(404)["type"] == f"{OGC}/no-such-process"

    def test_what_is_offered(self) -> None:
        """A process that names no mode is synchronous; one that names no transmission lets the client choose."""
        both = ["value", "reference"]
        assert offered({}) == (["sync-execute", "dismiss"], both)
        assert offered({"jobControlOptions": ["dismiss"]}) == (["sync-execute", "dismiss"], both)
        assert offered({"jobControlOptions": ["async-execute"]}) == (["async-execute", "dismiss"], both)
        declared = {"jobControlOptions": ["dismiss", "async-execute", "sync-execute"], "outputTransmission": ["value"]}
        assert offered(declared) == (["dismiss", "async-execute", "sync-execute"], ["value"])

    def test_the_processors_own_description_is_not_changed(self, service: Service) -> None:
        """To answer changes no list that processors of one class share."""
        first, second = (service.get("/processes/hello-world").json() for _ in range(2))
        assert first == second
        with pytest.raises(jsonschema.ValidationError):
            ogc_schema.validate({**first, "jobControlOptions": ["other"]}, "processSummary")
