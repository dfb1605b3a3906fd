"""Laws of jobs that are handed over to Prefect, and of waiting for it: on both databases."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from factories import FAILURE, SUCCESS, accepted, claim_all, new_job, runner_record, running
from pygeoapi_prefect.jobs import Claim, JobStore
from pygeoapi_prefect.schemas import JobStatus

NOBODY_LIVES = {"host": "here", "is_alive": lambda *_: False}


def hand_over(store: JobStore, runner_id: str = "runner", processes: tuple[str, ...] = ("ndvi",), limit: int = 99):
    return store.claim_to_hand_over(runner_id, limit=limit, process_limits={}, processes=processes, record=True)


def test_a_job_that_is_handed_over_stays_accepted(job_store: JobStore) -> None:
    """Until its run begins: then it runs, once, and only for the claim that holds it."""
    job = accepted(job_store)
    (details,) = hand_over(job_store)
    assert (details.job.status, details.job.runner_id) == (JobStatus.ACCEPTED, "runner")
    assert details.job.started is None
    assert not job_store.begin(Claim(job.job_id, 7))
    assert job_store.begin(details.job.claim)
    assert not job_store.begin(details.job.claim)
    begun = job_store.job(job.job_id)
    assert begun.status is JobStatus.RUNNING
    assert begun.started is not None


def test_nobody_else_gets_it(job_store: JobStore) -> None:
    """A job that a runner holds is claimed by no other, in no way, and counts as that runner's."""
    accepted(job_store)
    (details,) = hand_over(job_store, "one")
    assert hand_over(job_store, "two") == []
    assert claim_all(job_store, "two") == []
    assert job_store.outlook("one").claims == {details.job.claim}
    assert not job_store.outlook("two").jobs_wait


def test_only_processes_with_a_deployment_are_handed_over(job_store: JobStore) -> None:
    """And the pool leaves those alone."""
    accepted(job_store, "pool", "plain")
    accepted(job_store, "deployed", "ndvi")
    in_pool = job_store.claim("r", limit=9, process_limits={}, record=True, processes=["plain", "ndvi"], but=["ndvi"])
    assert [details.job.job_id for details in in_pool] == ["pool"]
    assert [details.job.job_id for details in hand_over(job_store)] == ["deployed"]


def test_the_limit_of_a_process_counts_what_waits_in_prefect(job_store: JobStore) -> None:
    """A job that was handed over takes a place of its process, begun or not."""
    for _ in range(3):
        accepted(job_store)
    options = {"limit": 9, "process_limits": {"ndvi": 2}, "processes": ["ndvi"], "record": True}
    first = job_store.claim_to_hand_over("r", **options)
    assert len(first) == 2
    job_store.begin(first[0].job.claim)
    assert job_store.claim_to_hand_over("r", **options) == []
    job_store.finish(first[1].job.claim, SUCCESS)
    assert len(job_store.claim_to_hand_over("r", **options)) == 1


@pytest.mark.parametrize("has_begun", [False, True])
@pytest.mark.parametrize("outcome", [SUCCESS, FAILURE])
def test_it_may_end_before_anybody_saw_it_begin(job_store: JobStore, has_begun: bool, outcome) -> None:
    """Its outcome is taken, and a successful job has run, if only for a moment."""
    accepted(job_store)
    (details,) = hand_over(job_store)
    if has_begun:
        job_store.begin(details.job.claim)
    flow_run_id = uuid4()
    assert job_store.finish(details.job.claim, outcome, flow_run_id=flow_run_id)
    job = job_store.job(details.job.job_id)
    assert (job.status, job.flow_run_id) == (outcome.status, flow_run_id)
    assert job.started is not None or outcome is FAILURE


def test_a_job_that_is_given_back_waits_again(job_store: JobStore) -> None:
    """With the reason; its old claim is worth nothing, and the next one is another."""
    accepted(job_store)
    (first,) = hand_over(job_store)
    assert job_store.give_back(first.job.claim, "The job waits")
    job = job_store.job(first.job.job_id)
    assert (job.status, job.message, job.runner_id) == (JobStatus.ACCEPTED, "The job waits", None)
    assert not job_store.finish(first.job.claim, SUCCESS)
    assert not job_store.begin(first.job.claim)
    (second,) = hand_over(job_store)
    assert second.job.claim_number == 2
    assert not job_store.give_back(first.job.claim, "late")


def test_a_job_that_runs_is_not_given_back(job_store: JobStore) -> None:
    """What has begun cannot wait."""
    claim = running(job_store)
    assert not job_store.give_back(claim, "The job waits")
    assert job_store.status(claim.job_id) is JobStatus.RUNNING


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_deployment_s_job_is_adopted(job_store: JobStore, has_begun: bool) -> None:
    """Of a runner that is gone: the job keeps its status, the new runner holds it, the old claim is worth nothing."""
    job_store.register_runner(runner_record("old"), lease=60)
    accepted(job_store)
    (details,) = hand_over(job_store, "old")
    if has_begun:
        job_store.begin(details.job.claim)
    status = job_store.status(details.job.job_id)
    (adopted,) = job_store.finish_lost("new", **NOBODY_LIVES, rerun=lambda _: False, adopt=lambda _: True)
    assert (adopted.runner_id, adopted.status) == ("new", status)
    assert job_store.outlook("new").claims == {Claim(adopted.job_id, 2)}
    assert not job_store.finish(details.job.claim, FAILURE)
    assert job_store.finish(adopted.claim, SUCCESS)


def test_a_job_that_was_let_go_is_adopted(job_store: JobStore) -> None:
    """Though its runner lives on; jobs of other processes stay with it, and the old claim is worth nothing then."""
    job_store.register_runner(runner_record("old"), lease=60)
    accepted(job_store, "deployed")
    accepted(job_store, "other", "plain")
    (details,) = hand_over(job_store, "old")
    (other,) = claim_all(job_store, "old")
    job_store.let_go("old", ["ndvi"])
    assert job_store.outlook("old").claims == {other.job.claim}
    lives = {"host": "here", "is_alive": lambda *_: True}
    (adopted,) = job_store.finish_lost("new", **lives, rerun=lambda _: False, adopt=lambda _: True)
    assert (adopted.job_id, adopted.runner_id) == ("deployed", "new")
    assert not job_store.finish(details.job.claim, SUCCESS)
    assert job_store.finish(adopted.claim, SUCCESS)


def test_a_flow_run_is_noted_for_its_claim_only(job_store: JobStore) -> None:
    """Also when the job has just ended, so that its run can be ended too; never for an older claim."""
    claim = running(job_store)
    job_store.dismiss(claim.job_id)
    flow_run_id = uuid4()
    job_store.keep_flow_run(Claim(claim.job_id, claim.number + 1), uuid4())
    assert job_store.job(claim.job_id).flow_run_id is None
    job_store.keep_flow_run(claim, flow_run_id)
    assert job_store.job(claim.job_id).flow_run_id == flow_run_id


def test_cancelling_a_flow_run_dismisses_its_job(job_store: JobStore) -> None:
    """As long as a runner holds the job; of other flow runs nothing is known."""
    claim = running(job_store)
    flow_run_id = uuid4()
    job_store.keep_flow_run(claim, flow_run_id)
    assert job_store.live_flow_runs("runner") == [flow_run_id]
    assert job_store.dismiss_flow_run(uuid4()) is None
    dismissed = job_store.dismiss_flow_run(flow_run_id)
    assert dismissed is not None
    assert dismissed.status is JobStatus.DISMISSED
    assert job_store.dismiss_flow_run(flow_run_id) is None
    assert job_store.live_flow_runs("runner") == []


class TestWaiting:
    def explain(self, store: JobStore, give_up: float = 60) -> int:
        return store.explain_waiting(["ndvi"], "The job waits", give_up=give_up, reason="It waited too long")

    def test_waiting_jobs_say_why(self, job_store: JobStore) -> None:
        """Those of the processes that wait, and no others."""
        held = running(job_store)
        waits, other = accepted(job_store), accepted(job_store, process_id="plain")
        assert self.explain(job_store) == 0
        said = [job_store.job(job_id).message for job_id in (held.job_id, waits.job_id, other.job_id)]
        assert said == ["Job running", "The job waits", "Job accepted"]

    def test_they_give_up(self, job_store: JobStore) -> None:
        """After the time that they may wait they fail with the reason, 503; younger ones go on waiting."""
        old = new_job(created=datetime.now(UTC) - timedelta(minutes=2))
        job_store.submit(old, max_waiting=9)
        young = accepted(job_store)
        assert self.explain(job_store) == 1
        job = job_store.job(old.job_id)
        assert (job.status, job.message) == (JobStatus.FAILED, "It waited too long")
        assert job.problem is not None
        assert job.problem.status == 503
        assert job_store.job(young.job_id).status is JobStatus.ACCEPTED
