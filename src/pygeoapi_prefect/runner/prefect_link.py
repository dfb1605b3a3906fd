"""Where a runner finds Prefect, and whether it can be reached."""

import logging
import threading
from dataclasses import replace

from pygeoapi_prefect.exceptions import ConfigurationError, PrefectUnavailableError
from pygeoapi_prefect.prefect_api import PrefectApi, PrefectConnection, configured_connection
from pygeoapi_prefect.runner.flow_run_watch import FlowRunWatch
from pygeoapi_prefect.runner.prefect_server import LocalPrefectServer
from pygeoapi_prefect.runner.presence import Presence, RunnerStatus

LOGGER = logging.getLogger(__name__)

_START_SECONDS = 120


class PrefectLink:
    """
    A runner's Prefect, found in the background.

    With no Prefect API in Prefect's settings an embedded runner starts a local server; an external one has none.
    Thread-safe.

    Attributes:
        is_recording: Whether there is a Prefect that jobs can be recorded in.
    """

    def __init__(self, presence: Presence, status: RunnerStatus, *, may_start_server: bool, tell_status: bool) -> None:
        self._presence = presence
        self._status = status
        self._may_start_server = may_start_server
        self._tell_status = tell_status
        self._lock = threading.Lock()
        self._connection: PrefectConnection | None = None
        self._server: LocalPrefectServer | None = None
        self._watch: FlowRunWatch | None = None
        self._is_closed = False
        self.is_recording = True

    # ---------------------------------------------------------------- connections

    def connect(self) -> PrefectApi | None:
        """
        A connection, once Prefect was found; starts the local server, and again when it has ended.

        Returns:
            None where there is no Prefect, for good.

        Raises:
            PrefectUnavailableError: Prefect was not found; try again.
        """
        with self._lock:
            if self._is_closed:
                raise PrefectUnavailableError("The runner ends")
            connection, server = self._find()
        if server is None:
            return None if connection is None else PrefectApi(connection)
        # without the lock: the runner may be told to end meanwhile
        server.wait_until_healthy(_START_SECONDS)
        self._tell(f"recorded at {server.connection.api_url} (local)", server.connection)
        return PrefectApi(server.connection)

    def api(self) -> PrefectApi:
        """A connection for one use, without waiting. Raises PrefectUnavailableError."""
        if self._connection is not None:
            return PrefectApi(self._connection)
        if self._server is not None and self._server.is_alive():
            return PrefectApi(self._server.connection)
        raise PrefectUnavailableError("Prefect was not found yet")

    @property
    def local_api_url(self) -> str | None:
        """Of the local server, if there is one: Prefect's own settings do not know it."""
        return self._server.connection.api_url if self._server is not None and self._server.is_alive() else None

    def _find(self) -> tuple[PrefectConnection | None, LocalPrefectServer | None]:
        try:
            if self._connection is None and self._server is None:
                self._connection = configured_connection()
        except ConfigurationError as error:
            self._tell(f"not recorded: {error}")
            raise PrefectUnavailableError(str(error)) from error
        if self._connection is not None:
            self._tell(f"recorded at {self._connection.api_url}", self._connection)
            return self._connection, None
        if not self._may_start_server:
            self.is_recording = False
            self._tell("not recorded: Prefect's settings name no API. Set PREFECT_API_URL.")
            return None, None
        if self._server is None:
            self._server = LocalPrefectServer(self._presence.prefect)
        if not self._server.is_alive():
            self._tell("not recorded yet: the local Prefect server is starting")
            self._server.start()
        return None, self._server

    def _tell(self, text: str, connection: PrefectConnection | None = None) -> None:
        if text == self._status.prefect:
            return
        self._status = replace(
            self._status,
            prefect=text,
            prefect_api_url=connection.api_url if connection else None,
            prefect_ui_url=connection.ui_url if connection else None,
        )
        LOGGER.info("jobs are %s", text, extra={"action": "connect_prefect"})
        if self._tell_status:
            self._presence.write_status(self._status)

    # ---------------------------------------------------------------- the watch

    def watch(self, watch: FlowRunWatch) -> None:
        """Watch flow runs from now on."""
        self._watch = watch
        self._watch.start()

    @property
    def is_reachable(self) -> bool:
        """Whether Prefect answered lately."""
        return self._watch is not None and self._watch.is_reachable

    def close(self) -> None:
        """End the watch, and the local server if there is one."""
        if self._watch is not None:
            self._watch.stop(timeout=2)
        with self._lock:
            self._is_closed = True
            if self._server is not None:
                self._server.stop()
