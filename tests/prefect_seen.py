"""What a Prefect server shows, as tests ask it."""

from contextlib import suppress
from typing import Any

import httpx

from serving import eventually


class Prefect:
    """Asks a Prefect server what it shows."""

    def __init__(self, api_url: str) -> None:
        self.client = httpx.Client(base_url=api_url, timeout=30, trust_env=False)

    def flow_run(self, job_id: str) -> dict[str, Any] | None:
        with suppress(httpx.HTTPError):
            body = {"flow_runs": {"tags": {"all_": [f"job:{job_id}"]}}}
            found = self.client.post("/flow_runs/filter", json=body).json()
            assert len(found) <= 1
            return found[0] if found else None
        return None

    def ended(self, job_id: str, *, within: float = 30) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            run = self.flow_run(job_id)
            return run if run and run["state_type"] in ("COMPLETED", "FAILED", "CANCELLED", "CRASHED") else None

        return dict(eventually(look, within=within, what=f"the end of {job_id} in Prefect"))

    def comes_to(self, job_id: str, state_type: str) -> None:
        """Wait until the flow run of a job has a state, whatever others it has before."""
        what = f"{state_type} of {job_id} in Prefect"
        eventually(lambda: (run := self.flow_run(job_id)) and run["state_type"] == state_type, within=30, what=what)

    def cancel(self, flow_run_id: str) -> None:
        """As the UI's button does."""
        state = {"type": "CANCELLING", "name": "Cancelling"}
        answer = self.client.post(f"/flow_runs/{flow_run_id}/set_state", json={"state": state}).json()
        assert answer["status"] == "ACCEPT", answer

    def state_types(self, flow_run_id: str) -> list[str]:
        """All states that a run has had, the oldest first."""
        states = self.client.get("/flow_run_states/", params={"flow_run_id": flow_run_id}).json()
        return [state["type"] for state in sorted(states, key=lambda state: state["timestamp"])]

    def task_runs(self, flow_run_id: str) -> list[dict[str, Any]]:
        body = {"task_runs": {"flow_run_id": {"any_": [flow_run_id]}}}
        return list(self.client.post("/task_runs/filter", json=body).json())

    def logs(self, flow_run_id: str) -> list[str]:
        body = {"logs": {"flow_run_id": {"any_": [flow_run_id]}}, "sort": "TIMESTAMP_ASC"}
        return [line["message"] for line in self.client.post("/logs/filter", json=body).json()]

    def progress(self, flow_run_id: str) -> list[float]:
        body = {"artifacts": {"flow_run_id": {"any_": [flow_run_id]}, "type": {"any_": ["progress"]}}}
        return [float(artifact["data"]) for artifact in self.client.post("/artifacts/filter", json=body).json()]
