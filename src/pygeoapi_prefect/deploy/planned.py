"""Which deployment a process shall have: by its configuration and by its processor."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.process.code import PULL_STEP, code_of_folder, code_of_modules
from pygeoapi_prefect.process.flow_runs import TAG, flow_name
from pygeoapi_prefect.process.processor import is_flow, load_processor
from pygeoapi_prefect.results.store import is_inside
from pygeoapi_prefect.settings import DeploymentSettings, process_settings

ENTRYPOINT = "pygeoapi_prefect.process.deployed.process_flow"
"""Of every deployment. Not imported from there: that would import Prefect."""

_LANGUAGE = "en"


@dataclass(frozen=True)
class PlannedDeployment:
    """
    The deployment that a process shall have.

    Attributes:
        settings: ``processor.prefect.deployment``.
        flow_name: Of the user's flow; of the process where its work is none.
        modules: Names of the modules that have the processor, its flow and its handlers.
        description: Of the process.
        version: Of the process.
        sub_path: Folder of the code in the storage block; None where the code is not uploaded.
        files: Of the code, by their paths in that folder.
    """

    process_id: str
    settings: DeploymentSettings
    flow_name: str
    modules: tuple[str, ...]
    description: str | None
    version: str | None
    sub_path: str | None = None
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``flow/deployment``."""
        return f"{self.flow_name}/{self.settings.name}"

    @property
    def tags(self) -> frozenset[str]:
        """By which runners find it."""
        return frozenset({TAG, f"process:{self.process_id}"})

    @property
    def pull_steps(self) -> list[dict[str, Any]] | None:
        """How a worker gets the code; None where it is there already."""
        if self.sub_path is None or not self.files:
            return None
        return [{PULL_STEP: {"block": self.settings.storage_block, "sub_path": self.sub_path}}]


def key_of(process_id: str) -> str:
    """Where the deployment of a process is configured, for messages."""
    return f"resources.{process_id}.processor.prefect.deployment"


def is_deployed(process_id: str, resource: Mapping[str, Any]) -> bool:
    """Whether a process has a deployment that is ours to make. Raises ConfigurationError."""
    deployment = process_settings(process_id, resource).deployment
    return deployment is not None and not deployment.is_foreign


def chosen(resources: Mapping[str, Mapping[str, Any]], process_ids: Iterable[str]) -> list[str]:
    """
    The processes that are to be deployed.

    Args:
        resources: The processes, by process id.
        process_ids: Those that were named; none: all that have a deployment of ours.

    Raises:
        ConfigurationError: One that was named is unknown, has no deployment, or one that somebody else makes.
    """
    named = list(dict.fromkeys(process_ids))
    for process_id in named:
        if process_id not in resources:
            raise ConfigurationError(
                f"There is no process {process_id!r}. Configured are: {', '.join(resources) or 'none'}."
            )
        deployment = process_settings(process_id, resources[process_id]).deployment
        if deployment is None:
            raise ConfigurationError(
                f"Process {process_id!r} has no deployment. Add {key_of(process_id)} with a work_pool."
            )
        if deployment.is_foreign:
            raise ConfigurationError(
                f"{key_of(process_id)}.name is {deployment.name!r}: with a slash it names a deployment that somebody "
                "else made, which is never changed. Name it without the flow to have it made."
            )
    return named or [process_id for process_id, resource in resources.items() if is_deployed(process_id, resource)]


def planned(process_id: str, resource: Mapping[str, Any]) -> PlannedDeployment:
    """
    Plan the deployment of a process. Imports its processor.

    Args:
        process_id: A process with a deployment.
        resource: Its entry under ``resources``.

    Raises:
        ConfigurationError: The settings do not go together, or the code cannot be found.
        Exception: Whatever the processor's module and constructor raise.
    """
    process = process_settings(process_id, resource)
    settings = process.deployment
    assert settings is not None
    key = key_of(process_id)
    if settings.work_pool is None:
        raise ConfigurationError(f"{key}.work_pool is missing: the work pool whose workers run the process")
    for name in ("storage_sub_path", "code"):
        if settings.storage_block is None and getattr(settings, name) is not None:
            raise ConfigurationError(f"{key}.{name} is for code in a storage block. Set storage_block, too.")
    processor = load_processor(process_id, resource)
    modules = {type(processor).__module__} | {handler.name.rpartition(".")[0] for handler in process.handlers}
    if is_flow(processor):
        modules.add(processor.flow.fn.__module__)
    plan = PlannedDeployment(
        process_id=process_id,
        settings=settings,
        flow_name=str(processor.flow.name) if is_flow(processor) else flow_name(process_id),
        modules=tuple(sorted(modules)),
        description=_text(processor.metadata.get("description") or processor.metadata.get("title")),
        version=_text(processor.metadata.get("version")),
    )
    if settings.storage_block is None:
        return plan
    return PlannedDeployment(**{**vars(plan), "sub_path": _sub_path(plan), "files": _files(plan)})


def _sub_path(plan: PlannedDeployment) -> str:
    sub_path = (plan.settings.storage_sub_path or flow_name(plan.process_id)).strip("/")
    if not is_inside(sub_path):
        raise ConfigurationError(f"{key_of(plan.process_id)}.storage_sub_path must be a folder in the storage block")
    return sub_path


def _files(plan: PlannedDeployment) -> Mapping[str, Path]:
    if plan.settings.code is None:
        try:
            return code_of_modules(plan.modules)
        except ConfigurationError as error:
            raise ConfigurationError(f"resources.{plan.process_id}.processor: {error}") from error
    folder = Path(plan.settings.code).expanduser()
    files = code_of_folder(folder) if folder.is_dir() else {}
    if not files:
        raise ConfigurationError(f"{key_of(plan.process_id)}.code: {plan.settings.code} is no folder with files")
    return files


def conflicts(plans: Iterable[PlannedDeployment]) -> dict[str, ConfigurationError]:
    """
    The processes whose deployments would overwrite those of others.

    Prefect knows a deployment by its flow and its name, so processes that share a flow need names of their own.

    Args:
        plans: Of all processes that have a deployment, whether they are deployed now or not.

    Returns:
        By process id, what is wrong; both sides of a conflict have an entry.
    """
    found: dict[str, ConfigurationError] = {}
    by_name: dict[str, PlannedDeployment] = {}
    by_folder: dict[tuple[str | None, str], PlannedDeployment] = {}
    for plan in plans:
        other = by_name.setdefault(plan.name, plan)
        if other is not plan:
            for one, two in ((plan, other), (other, plan)):
                found[one.process_id] = ConfigurationError(
                    f"{key_of(one.process_id)}.name: process {two.process_id!r} has the same flow {one.flow_name!r}, "
                    f"and a deployment of the same name {one.settings.name!r}. Give one of them another name."
                )
        if plan.sub_path is None:
            continue
        other = by_folder.setdefault((plan.settings.storage_block, plan.sub_path), plan)
        if other.files != plan.files:
            for one, two in ((plan, other), (other, plan)):
                found[one.process_id] = ConfigurationError(
                    f"{key_of(one.process_id)}.storage_sub_path: process {two.process_id!r} has other code in the same "
                    f"folder {one.sub_path!r} of {one.settings.storage_block}. Give one of them another folder."
                )
    return found


def _text(value: Any) -> str | None:
    """Of a text that may be given in several languages."""
    if isinstance(value, Mapping):
        value = value.get(_LANGUAGE) or next(iter(value.values()), None)
    return str(value) if value else None
