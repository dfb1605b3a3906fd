"""Stages the outputs of a job out to stores of its operator's, or of its user's."""

import logging
import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pygeoapi_prefect.exceptions import StageOutError
from pygeoapi_prefect.handlers.common import CommonExecutionHandler
from pygeoapi_prefect.handlers.staged_files import FileToStage, file_in_store, files_of, place_of
from pygeoapi_prefect.handlers.staging import StagedFile, StoreOfJob, report_of
from pygeoapi_prefect.handlers.storage_options import StageOutOptions, filled_in
from pygeoapi_prefect.jobs.queries import MESSAGE_SUCCESSFUL
from pygeoapi_prefect.results.store import ResultStore

LOGGER = logging.getLogger(__name__)

_S3 = ("s3", "s3a")
_GOOGLE = ("gs", "gcs")
_AZURE = ("abfs", "abfss", "az", "adl")


class MultiStorageHandler(CommonExecutionHandler):
    """
    Copies each output to one or several stores when the process has succeeded.

    Options: those of :class:`~pygeoapi_prefect.handlers.storage_options.StageOutOptions`. What is staged out is what
    all handlers together have made of the outputs. It stays where it is when the job is deleted.

    A store that fails does not keep others from being filled. The job then fails where the store is required, with a
    reason that says which stores have the outputs; of an optional store its message tells.
    """

    own_options = StageOutOptions

    def pre_execution_hook(self) -> None:
        """
        Open the stores, so that nothing is computed in vain.

        Raises:
            ConfigurationError: The options are wrong, or a driver or a credential of a required store is missing.
        """
        super().pre_execution_hook()
        for name in [store.name for store in self.stage_out_options.stores if store.required]:
            self._store(name)

    def place_output(self, output_id: str, values: MutableMapping[str, Any]) -> None:
        super().place_output(output_id, values)
        options = self.stage_out_options
        if options.stages(output_id):
            self._values[output_id] = dict(values)
            if options.link is not None and "href" not in values:
                self._replace_by_link(output_id, values, self._store(options.link))

    def post_execution_hook(
        self,
        log: str,
        output: Mapping[str, Any],
        usage_report: Mapping[str, float],
        tool_logs: list[dict[str, str]],
    ) -> None:
        """
        Fill the stores.

        Raises:
            UnusableReturnError: The process has not left the files that it should.
            StageOutError: A required store does not have the outputs.
        """
        super().post_execution_hook(log, output, usage_report, tool_logs)
        self._files = {
            name: list(self._files_of(name, values, output.get(name))) for name, values in self._values.items()
        }
        staged: dict[str, dict[str, list[StagedFile]]] = {}
        for options in self.stage_out_options.stores:
            try:
                store = self._store(options.name)
                store.begin()
                staged[store.name] = self.replicate(output, store)
            except Exception:
                LOGGER.exception("Staging out to %s failed", options.name)
        self._report(staged)
        self._tell(set(staged))

    def replicate(self, output: Mapping[str, Any], store: StoreOfJob) -> dict[str, list[StagedFile]]:
        """
        Copy the outputs to one store.

        Args:
            output: As :meth:`post_execution_hook` has it.
            store: The store; :attr:`~pygeoapi_prefect.handlers.staging.StoreOfJob.name` is its name.

        Returns:
            The files by output id.

        Raises:
            Exception: The store does not have all of them.
        """
        return {name: [store.put(file) for file in files] for name, files in self._files.items()}

    def get_pod_env_vars(self) -> dict[str, Any]:
        """
        Where the stores are, without what opens them: Prefect shows job variables to everybody.

        ``PRIMARY_S3_ENDPOINT`` and ``PRIMARY_S3_BUCKET`` of the first S3 store (else of ``S3_ENDPOINT`` and
        ``S3_BUCKET`` in the environment), ``GCS_BUCKET`` and ``AZURE_STORAGE_ACCOUNT``.
        """
        variables: dict[str, Any] = {
            "PRIMARY_S3_ENDPOINT": os.environ.get("S3_ENDPOINT"),
            "PRIMARY_S3_BUCKET": os.environ.get("S3_BUCKET"),
            "GCS_BUCKET": os.environ.get("GCS_BUCKET"),
            "AZURE_STORAGE_ACCOUNT": os.environ.get("AZURE_STORAGE_ACCOUNT"),
        }
        for store in reversed(self.stage_out_options.stores):
            place, options = urlsplit(filled_in(store.url, self.conf["lenv"])), store.storage_options
            if place.scheme in _S3:
                client = options.get("client_kwargs") or {}
                endpoint = options.get("endpoint_url") or client.get("endpoint_url")
                variables |= {"PRIMARY_S3_ENDPOINT": endpoint, "PRIMARY_S3_BUCKET": place.hostname}
            elif place.scheme in _GOOGLE:
                variables["GCS_BUCKET"] = place.hostname
            elif place.scheme in _AZURE and options.get("account_name"):
                variables["AZURE_STORAGE_ACCOUNT"] = options["account_name"]
        return variables | super().get_pod_env_vars()

    def get_secrets(self) -> Mapping[str, Any]:
        """Every credential of a store, as far as it is set where this runs."""
        own = [secret for store in self.stage_out_options.stores for secret in store.secrets()]
        return {**super().get_secrets(), "stores": own}

    @cached_property
    def stage_out_options(self) -> StageOutOptions:
        """The options, parsed."""
        return StageOutOptions.of(self.options, f"options of {type(self).__name__}")

    # ---------------------------------------------------------------- parts of the hooks

    @cached_property
    def _values(self) -> dict[str, dict[str, Any]]:
        """What :meth:`place_output` was called with, by output id."""
        return {}

    @cached_property
    def _files(self) -> dict[str, list[FileToStage]]:
        """What the outputs become in each store, by output id; known once all outputs are stored."""
        return {}

    @cached_property
    def _opened(self) -> dict[str, StoreOfJob]:
        return {}

    def _store(self, name: str) -> StoreOfJob:
        """The store of that name, opened once. Raises ConfigurationError."""
        if name not in self._opened:
            options, lenv = self.stage_out_options, self.conf["lenv"]
            store = next(one for one in options.stores if one.name == name)
            self._opened[name] = StoreOfJob(
                store,
                filled_in(store.url, lenv),
                None if store.public_url is None else filled_in(store.public_url, lenv),
                verify=options.verify_copies,
                attempts=options.copy_attempts,
                timeout=options.copy_timeout,
            )
        return self._opened[name]

    def _replace_by_link(self, name: str, values: MutableMapping[str, Any], store: StoreOfJob) -> None:
        media_type = str(values["mediaType"])
        # a folder has no link of its own that could be signed, and what a STAC document names would not be
        is_one_file = "stac" not in values and not (isinstance(values["value"], Path) and values["value"].is_dir())
        lifetime = self.stage_out_options.link_lifetime if is_one_file else None
        values["href"] = store.link(place_of(name, values), lifetime, media_type)
        if "stac" in values:
            # for the handlers that publish or register it: nothing of it is in the result store
            self.conf["lenv"].setdefault("stac_hrefs", {})[name] = values["href"]
        for other in ("stac", "value", "folder", "public_url"):
            values.pop(other, None)

    def _files_of(self, name: str, values: Mapping[str, Any], kept: Any) -> Iterator[FileToStage]:
        if "href" not in values:
            yield from files_of(name, values, Path(self.conf["main"]["tmpPath"]))
        elif kept != values["href"]:
            # a flow left it somewhere, and it was taken into the result store
            store = self.result_store or ResultStore(self.conf["main"]["tmpUrl"])
            yield file_in_store(name, str(values["mediaType"]), kept, store, self.conf["lenv"]["job_id"])
        # and what the process itself only links to is not its output

    def _report(self, staged: dict[str, dict[str, list[StagedFile]]]) -> None:
        """Write the report to each store that has the outputs; one that does not take it does not count as one."""
        stores = {options.name: options.name in staged for options in self.stage_out_options.stores}
        for name, outputs in list(staged.items()):
            try:
                self._store(name).finish(report_of(self.conf["lenv"], outputs, stores))
            except Exception:
                LOGGER.exception("Staging out to %s failed: its report cannot be written", name)
                del staged[name]

    def _tell(self, complete: set[str]) -> None:
        options = self.stage_out_options.stores
        missing = [store for store in options if store.name not in complete]
        has = [store.name for store in options if store.name in complete]
        if not missing:
            LOGGER.info("The outputs are in %s", _listed(has))
            return
        said = f"{_listed(has)} {'has' if len(has) < 2 else 'have'} them"
        said = f"The outputs are not in {_listed([store.name for store in missing])}; {said}."
        if any(store.required for store in missing):
            raise StageOutError(f"{said} The job's log tells why.", user_msg=said)
        self.conf["lenv"]["message"] = f"{MESSAGE_SUCCESSFUL}. {said}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) or "no store"
