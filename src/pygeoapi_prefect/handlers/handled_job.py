"""One job with its handlers, where it runs."""

import json
import logging
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pygeoapi_prefect.handlers.chain import HandlerChain
from pygeoapi_prefect.handlers.connections import forget_connections
from pygeoapi_prefect.handlers.contract import ExecutionHandler
from pygeoapi_prefect.handlers.loading import load_handlers
from pygeoapi_prefect.handlers.outputs import described_files, kept_outputs, output_of, shown_output
from pygeoapi_prefect.jobs.queries import MESSAGE_RUNNING
from pygeoapi_prefect.jobs.records import MAX_LOG_LINES
from pygeoapi_prefect.masking import SecretMask
from pygeoapi_prefect.results.linked_files import FilesBeside, folder_beside, store_files, with_files
from pygeoapi_prefect.results.store import ResultStore
from pygeoapi_prefect.settings import HandlerSettings
from pygeoapi_prefect.telemetry.usage import UsageMeter

TOOL_LOGS = "TOOL_LOGS"
"""Environment variable: the folder where external tools leave their log files."""

MAX_TOOL_LOG_BYTES = 1024 * 1024
"""Of each log file the end is read, up to this size."""

_NEVER_INPUTS = frozenset({"access_token"})
"""Names in ``lenv`` that mean who the client is: no input of that name gets there."""


class HandledJob:
    """
    A job whose process has handlers.

    The place where the job runs calls :meth:`open`, :meth:`set_environment` where no work pool does that, then
    :meth:`attempt` around each attempt to run the process,
    :meth:`output` for each output before it is stored, :meth:`finish` when all are, and at last :meth:`close`.

    Args:
        job_id: The job.
        process_id: Its process.
        inputs: As the client sent them.
        requested_outputs: ``outputs`` of the execute request.
        declared_outputs: Ids of those in the process description.
        handlers: Of the process, outermost first.
        store: The result store.
        folder: Of the claim, in the store.
        user: Who submitted the job; None: nobody is known.
        access_token: Theirs, where the process keeps it for its handlers; else empty.
        mask: Of the job; the handlers' secrets are added to it. None: it has no others.
        drain: Waits until all that the job has printed is logged.
        usage: Measures the job; None: from now on.
    """

    def __init__(
        self,
        *,
        job_id: str,
        process_id: str,
        inputs: Mapping[str, Any],
        requested_outputs: Any,
        declared_outputs: Sequence[str],
        handlers: Sequence[HandlerSettings],
        store: ResultStore,
        folder: str,
        user: Mapping[str, Any] | None = None,
        access_token: str = "",
        mask: SecretMask | None = None,
        drain: Callable[[], None] = lambda: None,
        usage: UsageMeter | None = None,
    ) -> None:
        self._job_id = job_id
        self._process_id = process_id
        self._inputs = inputs
        self._outputs = _requested(requested_outputs, declared_outputs)
        self._declared_outputs = list(declared_outputs)
        self._handlers = handlers
        self._store = store
        self._folder = folder
        self._user = user
        self._access_token = access_token
        self._drain = drain
        self._chain = HandlerChain(())
        self._mask = SecretMask() if mask is None else mask
        self._log = _KeptLog()
        self._tool_logs = Path()
        self._is_open = False
        self._lenv: Mapping[str, Any] = {}
        self._stac_files: dict[str, str] = {}
        self._files_beside: dict[str, FilesBeside] = {}
        self._usage = usage or UsageMeter()

    # ---------------------------------------------------------------- for the place where the job runs

    def job_variables(self) -> dict[str, Any]:
        """
        What the handlers want of the work pool that the job is to run on: ``env`` and ``node_selector``, if anything.

        Raises as :meth:`open`.
        """
        with self._told(lambda _: None), self._hooks():
            wanted = {"env": self._chain.pod_env_vars(), "node_selector": self._chain.pod_node_selector()}
            return {name: value for name, value in wanted.items() if value}

    def set_environment(self) -> None:
        """Set the environment variables that the handlers ask for; the caller undoes that. Raises as :meth:`open`."""
        with self._told(lambda _: None), self._hooks():
            os.environ.update(self._chain.pod_env_vars())
            forget_connections()

    def open(self) -> None:
        """
        Make the handlers, and a folder for the log files of tools. May be repeated.

        Raises:
            ConfigurationError: A handler cannot be imported, or is none.
            Exception: What a handler raises, without secrets; :meth:`close` is to be called all the same.
        """
        if not self._is_open:
            with self._told(lambda _: None):
                self._open()
            self._is_open = True

    def _open(self) -> None:
        self._mask.begin()
        self._log.begin()
        # handlers may put other credentials into the environment
        self._store.connect()
        scratch = Path(tempfile.gettempdir())
        self._tool_logs = scratch / "tool-logs"
        self._tool_logs.mkdir(exist_ok=True)
        os.environ[TOOL_LOGS] = str(self._tool_logs)
        conf = self._conf(scratch)
        self._lenv = conf["lenv"]
        made: list[ExecutionHandler] = []
        for settings, kind in zip(self._handlers, load_handlers(self._process_id, self._handlers), strict=True):
            create: Any = kind
            handler: ExecutionHandler = create(conf, self._outputs)
            handler.options = settings.options
            handler.result_store = self._store
            handler.needs_access_token = kind.needs_access_token or settings.needs_access_token
            made.append(handler)
        self._chain = HandlerChain(made, conf["additional_parameters"])
        self._mask.add(self._chain.secrets())

    def close(self) -> None:
        """Leave logs alone again, and nothing of the job's environment behind."""
        forget_connections()
        self._log.end()
        self._mask.end()

    @contextmanager
    def attempt(self, *, is_last: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """
        Run the handlers' pre hooks, and then the block; tell them when it has failed for good.

        Args:
            is_last: Whether no other attempt follows when this one fails.

        Raises:
            Exception: Of a hook or of the block, without secrets.
        """

        def tell(error: Exception) -> None:
            if is_last():
                self._chain.on_failure(error)

        with self._told(tell):
            with self._hooks():
                self._chain.pre()
                forget_connections()
            yield

    def values_of(self, name: str, values: dict[str, Any]) -> Mapping[str, Any]:
        """What the handlers make of the ``values`` of an output. Raises what a hook raises."""
        with self._hooks():
            return self._chain.set_output(name, values)

    def left_in(self, name: str, values: Mapping[str, Any]) -> tuple[str, Any]:
        """Media type and value that stand in ``values``. Raises UnusableReturnError: There is none."""
        return self._taken(name, values, None)

    def _taken(self, name: str, values: Mapping[str, Any], made_of: Any) -> tuple[str, Any]:
        media_type, value = output_of(name, values, made_of)
        self._stac_files.pop(name, None)
        self._files_beside.pop(name, None)
        if "stac" in values and isinstance(value, Path):
            self._stac_files[name] = str(value)
            if (tree := values.get("folder")) is not None:
                self._files_beside[name] = self._stored_beside(name, Path(tree), value, values.get("public_url"))
                value = json.loads(value.read_bytes())
        return media_type, value

    def _stored_beside(self, name: str, tree: Path, document: Path, public_url: str | None) -> FilesBeside:
        files = store_files(self._store, folder_beside(self._folder, name), tree, described_files(tree))
        return FilesBeside(document.relative_to(tree).as_posix(), files, public_url)

    def output(self, name: str, media_type: str, value: Any) -> tuple[str, Any]:
        """
        What the handlers make of an output that the process returned: media type and value.

        Raises:
            UnusableReturnError: They left nothing to store.
            Exception: What a hook raises.
        """
        return self._taken(name, self.values_of(name, shown_output(media_type, value)), value)

    def finish(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """
        Run what handlers do after success.

        Args:
            manifest: Of the stored outputs.

        Returns:
            The manifest, with the files that handlers have put beside outputs.

        Raises:
            ResultStoreError: They cannot be read back.
            Exception: What a hook raises.
        """
        self._drain()
        # what a STAC document links to stands beside it, and not beside its copy in the store
        output = kept_outputs(self._store, manifest) | self._stac_files
        with self._hooks():
            self._chain.post(self._log.text, output, self._usage.report(), _tool_logs(self._tool_logs))
        return with_files(manifest, self._files_beside)

    @property
    def message(self) -> str | None:
        """What handlers have left as the job's message, without secrets; None: nothing."""
        message = self._lenv.get("message")
        return None if message in (None, "", MESSAGE_RUNNING) else self._mask.text(str(message))

    # ---------------------------------------------------------------- for handlers

    def _conf(self, scratch: Path) -> dict[str, Any]:
        own = {
            "usid": self._job_id,
            "Identifier": self._process_id,
            "job_id": self._job_id,
            "process_id": self._process_id,
            "inputs": dict(self._inputs),
            "user": None if self._user is None else dict(self._user),
            "message": MESSAGE_RUNNING,
            "tool_logs": str(self._tool_logs),
            **({"access_token": self._access_token} if self._access_token else {}),
            "declared_outputs": self._declared_outputs,
        }
        inputs = {name: value for name, value in self._inputs.items() if name not in _NEVER_INPUTS}
        return {
            "lenv": inputs | own,
            "main": {"tmpPath": str(scratch), "tmpUrl": self._store.url, "resultFolder": self._folder},
            "auth_env": {},
            "additional_parameters": {},
        }

    @contextmanager
    def _hooks(self) -> Iterator[None]:
        """Around every call of hooks: what they say in the end is masked, also what is secret only since then."""
        self._mask.add(self._chain.secrets())
        try:
            yield
        except Exception:
            # the reason is that of the hook, and not that its secrets are not there either
            with suppress(Exception):
                self._mask.add(self._chain.secrets())
            raise
        self._mask.add(self._chain.secrets())

    @contextmanager
    def _told(self, tell: Callable[[Exception], None]) -> Iterator[None]:
        """What is raised goes to *tell*, and on, without secrets."""
        try:
            yield
        except Exception as error:
            shown = self._mask.error(error)
            tell(shown)
            if shown is error:
                raise
            raise shown from None


class _KeptLog(logging.Handler):
    """The job's log so far."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: deque[str] = deque(maxlen=MAX_LOG_LINES)

    @property
    def text(self) -> str:
        return "\n".join(self._lines)

    def begin(self) -> None:
        logging.getLogger().addHandler(self)

    def end(self) -> None:
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(self.format(record))
        except Exception:
            self._lines.append(str(record.msg))


def _requested(requested: Any, declared: Sequence[str]) -> dict[str, Any]:
    if isinstance(requested, Mapping) and requested:
        return {str(name): dict(spec) if isinstance(spec, Mapping) else {} for name, spec in requested.items()}
    if isinstance(requested, list) and requested:
        return {str(name): {} for name in requested}
    return {name: {} for name in declared}


def _tool_logs(folder: Path) -> list[dict[str, str]]:
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - MAX_TOOL_LOG_BYTES))
            text = file.read().decode(errors="replace")
        found.append({"name": path.relative_to(folder).as_posix(), "path": str(path), "text": text})
    return found
