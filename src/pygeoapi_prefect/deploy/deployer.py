"""Compares planned deployments with what Prefect has, and changes that."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pygeoapi_prefect.deploy.job_variables import check_job_variables, job_variables
from pygeoapi_prefect.deploy.planned import ENTRYPOINT, PlannedDeployment, key_of
from pygeoapi_prefect.exceptions import ConfigurationError, ResultStoreError
from pygeoapi_prefect.prefect_api import BlockNotFoundError, Deployment, DeploymentNotFoundError, PrefectApi
from pygeoapi_prefect.process.code import PRESENT, CodeChanges, changes_of, upload
from pygeoapi_prefect.process.flow_runs import TAG
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.results.blocks import StorageBlock, is_block

PROCESS_TAG = "process:"
DEFAULT_QUEUE = "default"
"""What Prefect calls the queue that each work pool has."""

_HIDDEN = "env"
"""The job variable whose values are not shown: environments hold passwords."""


@dataclass(frozen=True)
class Deployed:
    """
    What was done, or in a dry run would be done, for one process.

    Attributes:
        name: ``flow/deployment``.
        changes: One line each.
        notes: What its operator should know, one line each.
    """

    process_id: str
    name: str
    action: Literal["created", "updated", "unchanged"]
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Pool:
    type: str
    template: Mapping[str, Any]
    is_missing: bool


class Deployer:
    """
    Makes deployments what they shall be.

    All checks of a process come before its first change.

    Args:
        api: Prefect.
        output_dir: ``server.manager.output_dir``.
        is_dry_run: Nothing is changed, and what would be is told.
    """

    def __init__(self, api: PrefectApi, output_dir: str, *, is_dry_run: bool = False) -> None:
        self._api = api
        self._output_dir = output_dir
        self._is_dry_run = is_dry_run
        self._pools: dict[str, _Pool] = {}
        self._told: set[str] = set()  # what a dry run would make is told once

    def deploy(self, plan: PlannedDeployment, result_storage: str | None = None) -> Deployed:
        """
        Create or update the deployment of a process, with its work pool, its queue and its code. May be repeated.

        Args:
            plan: The deployment.
            result_storage: ``processor.prefect.result_storage`` of the process.

        Raises:
            ConfigurationError: The work pool's type or a job variable is wrong, the storage block is missing, or the
                deployment belongs to somebody else.
            PrefectUnavailableError: Prefect cannot be reached.
            PrefectRefusedError: Prefect does not take the deployment.
        """
        assert plan.settings.work_pool is not None
        pool = self._pool(plan, plan.settings.work_pool)
        check_job_variables(plan.process_id, plan.settings, plan.settings.work_pool, pool.template)
        existing = self._existing(plan)
        self._refuse_a_second(plan)
        store = self._store(plan)

        changes = [*self._make_pool(plan, pool)]
        if store is not None:
            changes += self._upload(plan, store)
        wanted = _wanted(plan, existing)
        differences = list(_differences(existing, wanted)) if existing is not None else []
        if (existing is None or differences) and not self._is_dry_run:
            self._api.save_deployment(plan.name, **wanted)
        changes += differences
        action: Literal["created", "updated", "unchanged"]
        action = "created" if existing is None else "updated" if changes else "unchanged"
        return Deployed(
            plan.process_id, plan.name, action, tuple(changes), tuple(self._notes(plan, pool, result_storage))
        )

    def _pool(self, plan: PlannedDeployment, name: str) -> _Pool:
        """The work pool, with its type checked; one that is missing as it will be made."""
        key, settings = key_of(plan.process_id), plan.settings
        if name not in self._pools:
            found = self._api.work_pool(name)
            if found is not None:
                self._pools[name] = _Pool(found.type, found.base_job_template, is_missing=False)
            else:
                types = self._api.work_pool_types()
                if settings.work_pool_type not in types:
                    raise ConfigurationError(
                        f"{key}.work_pool_type: Prefect knows no type {settings.work_pool_type!r} of work pools. It "
                        f"knows {', '.join(sorted(types))}."
                    )
                self._pools[name] = _Pool(settings.work_pool_type, types[settings.work_pool_type], is_missing=True)
        pool = self._pools[name]
        if "work_pool_type" in settings.model_fields_set and settings.work_pool_type != pool.type:
            raise ConfigurationError(
                f"{key}.work_pool_type is {settings.work_pool_type!r}, but work pool {name!r} has the type "
                f"{pool.type!r}. Correct the type, or name another work pool."
            )
        return pool

    def _make_pool(self, plan: PlannedDeployment, pool: _Pool) -> Iterator[str]:
        name, queue = plan.settings.work_pool, plan.settings.queue
        assert name is not None
        if pool.is_missing and name not in self._told:
            self._told.add(name)
            if not self._is_dry_run:
                self._api.create_work_pool(name, pool.type, pool.template)
            self._pools[name] = _Pool(pool.type, pool.template, is_missing=self._is_dry_run)
            yield f"work pool {name!r} of type {pool.type!r} created"
        if queue is None or (pool.is_missing and queue == DEFAULT_QUEUE):
            return
        is_missing = (pool.is_missing and self._is_dry_run) or self._api.work_queue(name, queue) is None
        if is_missing and f"{name}/{queue}" not in self._told:
            self._told.add(f"{name}/{queue}")
            if not self._is_dry_run:
                self._api.create_work_queue(name, queue)
            yield f"work queue {queue!r} created"

    def _existing(self, plan: PlannedDeployment) -> Deployment | None:
        try:
            found = self._api.deployment(plan.name)
        except DeploymentNotFoundError:
            return None
        if plan.tags <= found.tags:
            return found
        owner = _process_of(found)
        belongs = f"process {owner!r}" if owner is not None else "somebody else: it has not the tags of ours"
        raise ConfigurationError(
            f"{key_of(plan.process_id)}.name: Prefect has a deployment {plan.name!r}, which belongs to {belongs}. "
            f"Choose another name, or delete that one: prefect deployment delete {plan.name!r}"
        )

    def _refuse_a_second(self, plan: PlannedDeployment) -> None:
        """Runners know the deployment of a process by its name and tags, so there may be but one, whatever the flow."""
        for other in self._api.find_deployments(name=plan.settings.name, tags=plan.tags):
            if other.name != plan.name:
                raise ConfigurationError(
                    f"{key_of(plan.process_id)}.name: Prefect has a deployment {other.name!r} of process "
                    f"{plan.process_id!r} already, with another flow. If the flow was renamed, delete it: prefect "
                    f"deployment delete {other.name!r}. If another pygeoapi has it, choose another name."
                )

    def _store(self, plan: PlannedDeployment) -> ResultStore | None:
        """Of the code; None where nothing is uploaded."""
        reference = plan.settings.storage_block
        if reference is None or not plan.files:
            return None
        key = f"{key_of(plan.process_id)}.storage_block"
        try:
            return StorageBlock.from_document(reference, self._api.block_document(reference).data).store
        except BlockNotFoundError as error:
            raise ConfigurationError(
                f"{key}: Prefect has no block {reference!r}. Create it in Prefect's UI under Blocks, or with its "
                "save() method."
            ) from error
        except ConfigurationError as error:
            raise ConfigurationError(f"{key}: {error}") from error

    def _upload(self, plan: PlannedDeployment, store: ResultStore) -> Iterator[str]:
        assert plan.sub_path is not None
        change = changes_of if self._is_dry_run else upload
        try:
            changes: CodeChanges = change(plan.files, store, plan.sub_path)
        except ResultStoreError as error:
            raise ConfigurationError(
                f"{key_of(plan.process_id)}.storage_block: {store.url} cannot be used: {error.__cause__ or error}"
            ) from error
        if changes:
            told = [f"{_counted(len(changes.uploaded))} uploaded"] if changes.uploaded else []
            told += [f"{_counted(len(changes.removed))} removed"] if changes.removed else []
            yield f"code: {', '.join(told)}"

    def _notes(self, plan: PlannedDeployment, pool: _Pool, result_storage: str | None) -> Iterator[str]:
        settings = plan.settings
        if settings.storage_block is not None and not plan.files:
            yield "nothing to upload: the code is part of pygeoapi or of pygeoapi-prefect, which workers have"
        own = [name for name in plan.modules if name.partition(".")[0] not in PRESENT]
        if settings.storage_block is None and settings.image is None and own:
            yield f"no code is uploaded: the workers must be able to import {', '.join(own)}"
        place = result_storage or self._output_dir
        if pool.type != "process" and not is_block(place) and place.partition("://")[0] in (place, "file"):
            yield f"results go to {place}: mount it where {pool.type} jobs run, or set result_storage"
        assert settings.work_pool is not None
        if (pool.is_missing and self._is_dry_run) or self._api.living_workers(settings.work_pool) == 0:
            yield f"no worker is online; start one: prefect worker start --pool {settings.work_pool!r}"


def leftovers(api: PrefectApi, kept: Iterable[PlannedDeployment]) -> list[tuple[str, str]]:
    """
    Deployments that have our tags, but belong to no process of this configuration.

    They may belong to another pygeoapi that uses the same Prefect, so nothing here deletes them.

    Args:
        api: Prefect.
        kept: The deployments of all processes of the configuration.

    Returns:
        Pairs of ``flow/deployment`` and process id.
    """
    expected = {(plan.name, plan.process_id) for plan in kept}
    return [
        (deployment.name, process_id)
        for deployment in api.find_deployments(tags=[TAG])
        if (process_id := _process_of(deployment)) is not None and (deployment.name, process_id) not in expected
    ]


def _wanted(plan: PlannedDeployment, existing: Deployment | None) -> dict[str, Any]:
    """Arguments of ``save_deployment``."""
    others = existing.tags if existing is not None else frozenset()  # that people gave it in the UI
    return {
        "entrypoint": ENTRYPOINT,
        "path": None,
        "pull_steps": plan.pull_steps,
        "work_pool_name": plan.settings.work_pool,
        "work_queue_name": plan.settings.queue,
        "job_variables": job_variables(plan.process_id, plan.settings),
        "parameters": {},
        "parameter_schema": None,
        "enforces_schema": False,
        "tags": plan.tags | others,
        "description": plan.description,
        "version": plan.version,
    }


def _differences(existing: Deployment, wanted: Mapping[str, Any]) -> Iterator[str]:
    for field, value in wanted.items():
        old, new = getattr(existing, field), value
        if field == "work_queue_name":
            old, new = old or DEFAULT_QUEUE, new or DEFAULT_QUEUE
        if field == "job_variables":
            yield from _variable_differences(old, new)
        elif old != new and (old or new):
            yield f"{field}: {_shown(old)} → {_shown(new)}"


def _variable_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before == after and (name in old) is (name in new):
            continue
        if name != _HIDDEN or not isinstance(before or {}, Mapping) or not isinstance(after or {}, Mapping):
            yield f"job_variables.{name}: {_shown(before)} → {_shown(after)}"
            continue
        before, after = before or {}, after or {}
        for variable in sorted(before.keys() | after.keys()):
            if before.get(variable) != after.get(variable) or (variable in before) is not (variable in after):
                done = "set" if variable not in before else "removed" if variable not in after else "changed"
                yield f"job_variables.{name}.{variable}: {done}"


def _process_of(deployment: Deployment) -> str | None:
    if TAG not in deployment.tags:
        return None
    ids = sorted(tag.removeprefix(PROCESS_TAG) for tag in deployment.tags if tag.startswith(PROCESS_TAG))
    return ids[0] if ids else None


def _shown(value: Any) -> str:
    if isinstance(value, frozenset):
        value = sorted(value)
    return json.dumps(value, ensure_ascii=False) if value is not None else "none"


def _counted(count: int) -> str:
    return f"{count} file" if count == 1 else f"{count} files"
