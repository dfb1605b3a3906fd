"""
Calls clients back, beside the execution of jobs and never on its path.

What is to be told stands in the job store, written with the change that it tells of. A call is claimed with a lease,
made in a thread of its own, and forgotten when it has arrived or is given up. A call that was claimed by a runner that
is gone is due again when the lease lapses: it is made at least once, with the same ``Idempotency-Key``.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

import httpx

from pygeoapi_prefect.exceptions import JobStoreUnavailableError, ResultStoreError, UnknownJobError
from pygeoapi_prefect.jobs import Callback, CallbackKind, JobStore, LogLine
from pygeoapi_prefect.jobs.records import utc_now
from pygeoapi_prefect.references.guard import AddressPolicy, guarded_client
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.results.signed_links import LinkSigner
from pygeoapi_prefect.runner.callback_calls import CallFailedError, content_of, seconds_to_retry, send

LOGGER = logging.getLogger(__name__)

_AT_ONCE = 16
_AT_ONCE_TO_ONE_HOST = 2
_LEASE_MARGIN = 20.0
"""Seconds on top of a call's own time: to read the results, and to write down what became of it."""

_NEWS_SECONDS = 1.0
"""Between two calls of a job's ``inProgressUri``."""

_REST_SECONDS = 10.0
_RETRY_SECONDS = 1.0


class Callbacks:
    """
    One thread that hands out the calls, and one more for each call under way.

    Calls of one job are made one after another; few go to one host at the same time, so that a receiver which does
    not answer holds up nobody else.

    Args:
        store: Where the calls are, and the jobs.
        results: Of the installation.
        policy: Which addresses may be called for a process of that id.
        attempts: How often the end of a job is told before it is given up.
        timeout: Seconds that a call may take, as a whole.
        log: Adds a line to the log of a job that this runner holds; does nothing where it holds none of that id.
        signer: Of links to outputs by reference; None: they are not signed.
    """

    def __init__(
        self,
        store: JobStore,
        results: ResultStore,
        policy: Callable[[str], AddressPolicy],
        *,
        attempts: int,
        timeout: float,
        log: Callable[[str, LogLine], None],
        signer: LinkSigner | None = None,
    ) -> None:
        self._store = store
        self._results = results
        self._policy = policy
        self._attempts = attempts
        self._timeout = timeout
        self._log = log
        self._signer = signer
        self._clients: dict[AddressPolicy, httpx.Client] = {}
        self._lock = threading.Lock()
        self._hosts: Counter[str] = Counter()
        self._job_ids: set[str] = set()
        self._nudged = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="callbacks", daemon=True)

    def start(self) -> None:
        """Start calling."""
        self._thread.start()

    def nudge(self) -> None:
        """There may be calls to make. From any thread."""
        self._nudged.set()

    def stop(self, timeout: float) -> None:
        """Make the calls that are due, for at most *timeout* seconds, then end. The rest is left to another runner."""
        deadline = time.monotonic() + timeout
        self._stopping.set()
        self._nudged.set()
        self._thread.join(timeout)
        while self._job_ids and time.monotonic() < deadline:
            time.sleep(0.02)

    def _run(self) -> None:
        while True:
            is_last_round = self._stopping.is_set()
            try:
                pause = self._start_due()
            except JobStoreUnavailableError as error:
                LOGGER.warning("clients are called later", extra={"action": "call_back", "reason": str(error)})
                pause = _RETRY_SECONDS
            except Exception:
                LOGGER.exception("callbacks failed; trying again", extra={"action": "call_back"})
                pause = _REST_SECONDS
            if is_last_round:
                return
            self._nudged.wait(pause)
            self._nudged.clear()

    def _start_due(self) -> float:
        """Start the calls that are due; returns how long there is nothing to do."""
        while True:
            with self._lock:
                hosts = [host for host, calls in self._hosts.items() if calls >= _AT_ONCE_TO_ONE_HOST]
                job_ids = set(self._job_ids)
            if len(job_ids) >= _AT_ONCE:
                return _REST_SECONDS
            seconds = self._store.seconds_to_callback(but_hosts=hosts, but_jobs=job_ids)
            if seconds is None or seconds > 0:
                return min(_REST_SECONDS, seconds or _REST_SECONDS)
            callback = self._store.claim_callback(
                lease=self._timeout + _LEASE_MARGIN, but_hosts=hosts, but_jobs=job_ids
            )
            if callback is None:
                # another runner has it under its hands
                return _RETRY_SECONDS
            self._start(callback)

    def _start(self, callback: Callback) -> None:
        policy = self._policy(callback.job.process_id)
        if policy not in self._clients:
            self._clients[policy] = guarded_client(policy, timeout=self._timeout)
        with self._lock:
            self._hosts[callback.host] += 1
            self._job_ids.add(callback.job.job_id)
        threading.Thread(
            target=self._make, args=(callback, self._clients[policy]), name="callback", daemon=True
        ).start()

    def _make(self, callback: Callback, client: httpx.Client) -> None:
        facts = {"action": "call_back", "job_id": callback.job.job_id, "kind": callback.kind, "host": callback.host}
        try:
            try:
                self._call(callback, client)
            except CallFailedError as error:
                self._call_failed(callback, error)
            else:
                self._arrived(callback)
        except UnknownJobError:
            LOGGER.info("job was removed before its client was called", extra=facts)
        except JobStoreUnavailableError as error:
            LOGGER.warning("call is made again when its lease has lapsed", extra={**facts, "reason": str(error)})
        except Exception:
            LOGGER.exception("call failed", extra=facts)
        finally:
            with self._lock:
                self._hosts[callback.host] -= 1
                if not self._hosts[callback.host]:
                    del self._hosts[callback.host]
                self._job_ids.discard(callback.job.job_id)
            self.nudge()

    def _call(self, callback: Callback, client: httpx.Client) -> None:
        try:
            media_type, body = content_of(callback, self._store, self._results, self._signer)
            send(client, callback, media_type, body)
        except (CallFailedError, UnknownJobError, JobStoreUnavailableError):
            raise
        except ResultStoreError as error:
            LOGGER.warning("results cannot be read", extra={"action": "call_back", "reason": str(error)})
            raise CallFailedError("the results cannot be read", is_final=False) from error
        except Exception as error:
            # else it would be claimed for ever; without a traceback, whose text may have the URL in it
            LOGGER.error("call broke down", extra={"action": "call_back", "error": type(error).__name__})
            raise CallFailedError("the call could not be made", is_final=False) from error

    def _arrived(self, callback: Callback) -> None:
        if callback.kind is CallbackKind.IN_PROGRESS:
            self._store.await_news(callback, _NEWS_SECONDS, arrived=True)
        else:
            self._store.end_callback(callback)

    def _call_failed(self, callback: Callback, error: CallFailedError) -> None:
        failures = callback.failures + 1
        seconds = seconds_to_retry(failures, error.retry_after)
        is_progress = callback.kind is CallbackKind.IN_PROGRESS
        if error.is_final or (not is_progress and callback.claim_number >= self._attempts):
            self._tell(callback, f"{error}; given up")
            self._store.end_callback(callback)
        elif is_progress:
            if failures == 1:
                self._tell(callback, str(error))
            self._store.await_news(callback, seconds, arrived=False)
        else:
            self._tell(callback, f"{error}; attempt {callback.claim_number} of {self._attempts}")
            self._store.retry_callback(callback, seconds)

    def _tell(self, callback: Callback, reason: str) -> None:
        """In the runner's log and in the job's own; of the URL no more than its host, for the rest may be a secret."""
        job_id = callback.job.job_id
        LOGGER.warning(
            "client not called",
            extra={
                "action": "call_back",
                "job_id": job_id,
                "kind": callback.kind,
                "host": callback.host,
                "reason": reason,
            },
        )
        line = LogLine(utc_now(), logging.WARNING, __name__, f"Callback {callback.kind} at {callback.host}: {reason}")
        if not self._store.note(job_id, line):
            self._log(job_id, line)
