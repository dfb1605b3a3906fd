"""Laws of the limits that a job has where it runs, told to its client."""

import json

import pytest

from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.jobs.records import JobSecrets
from pygeoapi_prefect.process.handed_over import HandedOver, read_order
from pygeoapi_prefect.settings import ManagerSettings, process_settings
from serving import Server, running


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    processors = {
        "limited": {"name": "processors.Bytes", "prefect": {"max_output_bytes": 1000}},
        "bytes": {"name": "processors.Bytes"},
    }
    folder = tmp_path_factory.mktemp("limits")
    with running(Server(folder, processors=processors, manager={"max_output_bytes": 20_000})) as started:
        yield started


class TestOutputs:
    @pytest.mark.parametrize(("process_id", "limit"), [("limited", 1000), ("bytes", 20_000)])
    def test_too_large(self, server, process_id, limit):
        """The process's limit counts, or else the manager's; a job beyond it fails with 507 and stores nothing."""
        assert server.execute(process_id, {"size": limit}).status_code == 200
        job_id = server.submit(process_id, {"size": limit + 1})
        job = server.wait_for(job_id)
        assert job["status"] == "failed"
        assert job["message"] == f"The outputs of this job are larger than the {limit} bytes that it may store."
        assert server.results(job_id).status_code == 507
        assert not [path for path in (server.folder / "results").glob(f"{job_id}/**/*") if path.is_file()]

    def test_in_deployments(self):
        """The limit travels with the job; an order that was written without one has none."""
        handed_over = HandedOver("job-1", "p", {}, {"inputs": {}}, "storage", max_output_bytes=5)
        data = handed_over.order_json()
        assert read_order(data, "job-1", JobSecrets()).max_output_bytes == 5
        old = {key: value for key, value in json.loads(data).items() if key != "max_output_bytes"}
        assert read_order(json.dumps(old).encode(), "job-1", JobSecrets()).max_output_bytes is None

    def test_settings(self, tmp_path):
        """A process's own limit wins, in both directions; none is none, and zero is refused."""
        processor = {"name": "a.B", "prefect": {"max_output_bytes": 50}}
        manager = {"connection": str(tmp_path / "jobs.db"), "output_dir": str(tmp_path), "processes": {}}
        manager["processes"] = {"own": {"processor": processor}, "plain": {"processor": {"name": "a.B"}}}
        with_default = ManagerSettings.from_manager_def({**manager, "max_output_bytes": 10})
        assert [with_default.max_output_bytes_of(name) for name in ("own", "plain")] == [50, 10]
        assert ManagerSettings.from_manager_def(manager).max_output_bytes_of("plain") is None
        with pytest.raises(ConfigurationError, match="max_output_bytes"):
            process_settings("p", {"processor": {"name": "a.B", "prefect": {"max_output_bytes": 0}}})
