"""What a web process does with jobs: submit them, wait for their ends, and make the responses."""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial

from pygeoapi_prefect.exceptions import UnknownJobError
from pygeoapi_prefect.identity import User, current_user, is_told_users
from pygeoapi_prefect.jobs import JobDetails, JobStore, NewJob, Wakeups
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.jobs.queries import ENDED
from pygeoapi_prefect.results import OutputLinks, Response, ResultStore, respond
from pygeoapi_prefect.results.signed_links import SIGNATURE, LinkSigner
from pygeoapi_prefect.runner.web_threads import default_sync_waits
from pygeoapi_prefect.settings import ManagerSettings


class WebProcess:
    """
    Connections and threads that a forked web process must not share with its parent: made by their first use.

    Args:
        settings: Of the manager.
    """

    def __init__(self, settings: ManagerSettings) -> None:
        self.results = ResultStore(settings.output_dir)
        self._settings = settings
        self._signer = LinkSigner.of(settings)
        self._lock = threading.Lock()
        self._pid = 0

    def _made(self) -> "WebProcess":
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    database = Database(self._settings.connection, timeout=self._settings.database_timeout)
                    self._store = JobStore(database)
                    self._wakeups = Wakeups(database.url, change=ENDED)
                    self._sync_waits = threading.Semaphore(self._settings.max_sync_waits or default_sync_waits())
                    self._pid = os.getpid()
        return self

    @property
    def store(self) -> JobStore:
        """The job store as the current user may see it; whole where nobody asks who sends requests."""
        whole = self._made()._store
        has_users = self._settings.auth is not None or is_told_users()
        return whole.seen_by(current_user()) if has_users else whole

    def require_free(self, job_id: str) -> None:
        """
        Refuse an id that a client proposes where the result store has something else of that name.

        The id is the name of the job's folder, which is removed with the job, whatever is in it. A job of somebody
        else is answered like anything else of that name. Of one that the user may see the store tells whether the
        request is that job's.

        Raises:
            JobExistsError: There is something else.
            ResultStoreError: The result store cannot be read.
            JobStoreUnavailableError: The database cannot be reached.
        """
        if self._is_stored(self._made()._store, job_id):
            if not self._is_stored(self.store, job_id):
                raise self.store.job_exists(job_id, f"Job {job_id!r} is somebody else's")
        elif self.results.holds(job_id):
            reason = f"{self.results.url} holds something that is named {job_id!r}, as a client would name its job"
            raise self.store.job_exists(job_id, reason)

    @staticmethod
    def _is_stored(store: JobStore, job_id: str) -> bool:
        try:
            store.status(job_id)
        except UnknownJobError:
            return False
        return True

    def submit(self, new_job: NewJob, *, wait: float) -> tuple[str, JobDetails | None]:
        """
        Store a job as accepted, and wait for its end.

        Args:
            new_job: The job.
            wait: Seconds; at most ``sync_timeout`` count.

        Returns:
            The job's id, which is that of an earlier job where the request was sent again; and the ended job. None
            when time ran out, or this process waits for as many jobs as it may.

        Raises:
            ExecutionRefusedError: No job was made.
            JobStoreUnavailableError: The database cannot be reached.
        """
        process = self._made()
        seen = process._wakeups.seen()
        job_id = self.store.submit(
            new_job,
            max_waiting=self._settings.max_waiting,
            max_waiting_per_user=self._settings.max_waiting_per_user,
        )
        return job_id, self._wait(job_id, seen, min(wait, self._settings.sync_timeout)) if wait > 0 else None

    def _wait(self, job_id: str, seen: int, seconds: float) -> JobDetails | None:
        if not self._sync_waits.acquire(blocking=False):
            return None
        try:
            deadline = time.monotonic() + seconds
            while not self.store.status(job_id).is_terminal:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                seen = self._wakeups.wait(seen, left)
        finally:
            self._sync_waits.release()
        return self.store.details(job_id)

    def owner_by_link(self, job_id: str, parameters: Mapping[str, Sequence[str]]) -> User | None:
        """
        For whom a signed link to an output acts: the owner of its job. None: the request is no good one of that kind.

        Args:
            job_id: Whose results are asked for.
            parameters: Of the request, by name, each with every value that was given.
        """
        if self._signer is None or SIGNATURE not in parameters:
            return None
        try:
            details = self._made()._store.details(job_id)
        except UnknownJobError:
            return None
        return None if self._signer.good_until(details.job, parameters) is None else details.user

    def respond(
        self,
        details: JobDetails,
        *,
        base_url: str | None = None,
        prefers_json: bool = False,
        outputs: Sequence[str] | None = None,
        parameters: Mapping[str, Sequence[str]] | None = None,
    ) -> Response:
        """
        The response with a job's result, in the form that its execute request asked for.

        Args:
            details: The job.
            base_url: Of the server, for links to outputs by reference; None: these are answered by value.
            prefers_json: Whether the client would rather have several raw outputs as a document than as a multipart.
            outputs: Ids of those that are wanted; None: all.
            parameters: Of the request, as :meth:`owner_by_link` has them: links in the answer to one that was made by
                a signed link are good no longer than that.

        Raises:
            ResultNotReadyError: The job has not ended.
            ResultNotAvailableError: It was dismissed, or its stored outputs are gone.
            UnknownOutputError: *outputs* names one that there is not.
            JobFailedError: It failed; with its reason and status.
        """
        job = details.job
        if (error := job.why_no_result()) is not None:
            raise error
        settings, signer = self._settings, self._signer
        lifetime = settings.link_lifetime if settings.output_links == "store" else None
        until = None if signer is None else signer.good_until(job, parameters or {})
        if lifetime is not None and until is not None:
            lifetime = min(lifetime, until - time.time())
        sign = None if signer is None else partial(signer.parameters, job, until=until)
        return respond(
            self.results,
            details.result,
            details.request,
            as_returned=not settings.ogc_compliance,
            links=None if base_url is None else OutputLinks(base_url, job.job_id, lifetime, sign),
            prefers_json=prefers_json,
            outputs=outputs,
        )
