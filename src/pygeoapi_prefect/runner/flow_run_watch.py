"""Watches the flow runs of this runner's jobs: by Prefect's events, and by a slow poll in case one was missed."""

import logging
import threading
import time
from collections.abc import Callable, Collection
from uuid import UUID

from pygeoapi_prefect.exceptions import JobStoreUnavailableError, PrefectUnavailableError
from pygeoapi_prefect.prefect_api import FlowRunEvents, FlowRunState, PrefectApi, PrefectRefusedError, Progress

LOGGER = logging.getLogger(__name__)

POLL_SECONDS = 10.0
"""The safety net, with events."""

POLL_WITHOUT_EVENTS_SECONDS = 2.0
"""Where the server, or a proxy before it, has no events."""

NEW_SECONDS = 1.0
"""Between two looks for new flow runs: what happened to one before the runner knew it was told to nobody."""

PROGRESS_SECONDS = 2.0
"""Between two looks at progress artifacts, which make no events."""

CANCELLED_STATE_NAMES = ("Cancelling", "Cancelled")

_RECEIVE_SECONDS = 1.0
_MAX_RETRY_SECONDS = 10.0


class FlowRunWatch:
    """
    One thread that tells of every state of the watched flow runs, at least once, and whether Prefect can be reached.

    Args:
        connect: Called in the thread while there is no connection; raises PrefectUnavailableError to be called again
            later. None says that there is no Prefect, for good.
        watched: The flow runs to poll; called in the thread. Events of others are told as well.
        tell: Called in the thread with a flow run and its state; None: it was deleted.
        in_progress: The flow runs whose progress artifacts are asked for; called in the thread.
        tell_progress: Called in the thread with a flow run and its progress.
        on_change: Called when :attr:`is_reachable` has changed.
        every_state: Whether all states are told as they come; else only those of cancelled runs, and the others when
            they are polled.

    Attributes:
        is_reachable: Whether Prefect answered lately.
        reason: Why not, for the log and the operator.
    """

    def __init__(
        self,
        connect: Callable[[], PrefectApi | None],
        *,
        watched: Callable[[], Collection[UUID]],
        tell: Callable[[UUID, FlowRunState | None], None],
        in_progress: Callable[[], Collection[UUID]],
        tell_progress: Callable[[UUID, Progress], None],
        on_change: Callable[[], None],
        every_state: bool,
    ) -> None:
        self._connect = connect
        self._state_names = None if every_state else CANCELLED_STATE_NAMES
        self._watched = watched
        self._tell = tell
        self._in_progress = in_progress
        self._tell_progress = tell_progress
        self._on_change = on_change
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flow-run-watch", daemon=True)
        self._polled: frozenset[UUID] = frozenset()
        self.is_reachable = False
        self.reason = "Prefect has not answered yet"

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Stop watching, within about a second."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        retry_seconds = 0.0
        while not self._stopping.is_set():
            try:
                api = self._connect()
                if api is None:
                    self._change(False, "Prefect's settings name no API. Set PREFECT_API_URL.")
                    return
                with api:
                    self._poll(api)
                    self._change(True, "")
                    retry_seconds = 0.0
                    self._follow(api)
            except (PrefectUnavailableError, PrefectRefusedError) as error:
                self._change(False, str(error))
            except JobStoreUnavailableError as error:
                LOGGER.debug("job store cannot be reached", extra={"action": "watch", "reason": str(error)})
            except Exception:
                LOGGER.exception("watching flow runs failed; trying again", extra={"action": "watch"})
            retry_seconds = min(retry_seconds * 2 or 0.25, _MAX_RETRY_SECONDS)
            self._stopping.wait(retry_seconds)

    def _follow(self, api: PrefectApi) -> None:
        """Until the connection breaks or the end."""
        try:
            events = FlowRunEvents(api.connection, state_names=self._state_names)
        except (PrefectUnavailableError, PrefectRefusedError) as error:
            LOGGER.warning("no events of Prefect; asking instead", extra={"action": "watch", "reason": str(error)})
            while not self._stopping.wait(POLL_WITHOUT_EVENTS_SECONDS):
                self._poll(api)
                self._look_at_progress(api)
            return
        try:
            # what happened between the first poll and the subscription
            poll_at = new_at = progress_at = 0.0
            while not self._stopping.is_set():
                if time.monotonic() >= poll_at:
                    self._poll(api)
                    poll_at = time.monotonic() + POLL_SECONDS
                if time.monotonic() >= new_at:
                    self._poll_new(api)
                    new_at = time.monotonic() + NEW_SECONDS
                if time.monotonic() >= progress_at:
                    self._look_at_progress(api)
                    progress_at = time.monotonic() + PROGRESS_SECONDS
                event = events.receive(_RECEIVE_SECONDS)
                if event is not None:
                    self._tell(event.flow_run_id, event.state)
        finally:
            events.close()

    def _poll(self, api: PrefectApi) -> None:
        self._polled = watched = frozenset(self._watched())
        if not watched and not api.is_healthy():
            raise PrefectUnavailableError(f"Prefect at {api.connection.api_url} does not answer")
        self._tell_states(api, watched)

    def _poll_new(self, api: PrefectApi) -> None:
        watched = frozenset(self._watched())
        new, self._polled = watched - self._polled, watched
        self._tell_states(api, new)

    def _tell_states(self, api: PrefectApi, flow_run_ids: Collection[UUID]) -> None:
        for flow_run_id, state in api.flow_run_states(flow_run_ids).items():
            self._tell(flow_run_id, state)

    def _look_at_progress(self, api: PrefectApi) -> None:
        running = self._in_progress()
        if running:
            for flow_run_id, progress in api.progress_artifacts(running).items():
                self._tell_progress(flow_run_id, progress)

    def _change(self, is_reachable: bool, reason: str) -> None:
        if is_reachable == self.is_reachable and reason == self.reason:
            return
        if is_reachable != self.is_reachable:
            LOGGER.info(
                "Prefect %s", "can be reached" if is_reachable else "cannot be reached", extra={"reason": reason}
            )
        self.is_reachable, self.reason = is_reachable, reason
        self._on_change()
