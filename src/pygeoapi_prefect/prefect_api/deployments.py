"""Deployments: found, saved, and their flow runs created."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

from pygeoapi_prefect.prefect_api.client import Client, PrefectRefusedError, encoded, quoted

KIND_KEY = "__prefect_kind"
"""
Prefect's server evaluates an object with this key, wherever it stands in the parameters of a deployment's run.

With ``workspace_variable`` that is a value of anybody's, with ``jinja`` a template. Source:
``prefect.utilities.schema_tools.hydration``.
"""


ANY_PARAMETERS = {"type": "object", "properties": {}}
"""A parameter schema that everything fits, which Prefect wants in place of none."""

DEPLOYMENTS_PER_REQUEST = 200
"""The most that the server gives at once. Source: ``PREFECT_SERVER_API_DEFAULT_LIMIT``."""


class DeploymentNotFoundError(PrefectRefusedError):
    """Prefect has no such deployment: it was never made, was renamed or deleted."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """
    A deployment as Prefect has it: but for the queue, what :meth:`PrefectApi.save_deployment` was given comes back.

    Attributes:
        name: ``flow/deployment``.
        paused: Whether its schedules rest. Runs that somebody asks for are started all the same.
        work_pool_name: None where the flow is served by its own process.
        work_queue_name: With a work pool never None: its queue ``default`` where no other was asked for.
        status: READY when a worker has asked for its runs within the last minute or so, else NOT_READY.
        entrypoint: ``path/to/file.py:flow`` below *path*, or ``module.flow``.
        path: Where the code is once the pull steps are done.
        pull_steps: What a worker does to have the code; None where the work pool's image holds it.
        job_variables: Values for the work pool's base job template.
        parameters: Of every run that does not give its own.
        parameter_schema: JSON Schema of the parameters of a run; None: anything goes.
        enforces_schema: Whether Prefect holds the parameters of a run against that.
    """

    deployment_id: UUID
    name: str
    flow_id: UUID
    paused: bool
    work_pool_name: str | None
    work_queue_name: str | None
    status: str | None
    entrypoint: str | None
    path: str | None
    pull_steps: Sequence[Mapping[str, Any]] | None
    job_variables: Mapping[str, Any]
    parameters: Mapping[str, Any]
    parameter_schema: Mapping[str, Any] | None
    enforces_schema: bool
    tags: frozenset[str]
    description: str | None
    version: str | None


class Deployments(Client):
    """Finds, saves and runs deployments."""

    def deployment(self, name: str) -> Deployment:
        """
        Find a deployment.

        Args:
            name: ``flow/deployment``.

        Raises:
            DeploymentNotFoundError: There is none.
        """
        path = f"/deployments/name/{quoted(*_flow_and_deployment(name))}"
        found = self._call("GET", path, missing=DeploymentNotFoundError)
        return _deployment(name, found)

    def find_deployments(self, *, name: str | None = None, tags: Iterable[str] = ()) -> list[Deployment]:
        """
        Find deployments of whatever flow.

        Args:
            name: Of the deployment alone, without its flow's; None for any.
            tags: All of them; a deployment may have more.

        Returns:
            The one that was saved last comes first.
        """
        wanted: dict[str, Any] = {}
        if name is not None:
            wanted["name"] = {"any_": [name]}
        if all_tags := sorted(set(tags)):
            wanted["tags"] = {"all_": all_tags}
        found: dict[str, Mapping[str, Any]] = {}
        while True:
            body = {
                "deployments": wanted,
                "sort": "UPDATED_DESC",
                "offset": len(found),
                "limit": DEPLOYMENTS_PER_REQUEST,
            }
            page = self._call("POST", "/deployments/filter", body)
            found |= {deployment["id"]: deployment for deployment in page}
            if len(page) < DEPLOYMENTS_PER_REQUEST:
                break
        flow_names = self._flow_names({deployment["flow_id"] for deployment in found.values()})
        return [
            _deployment(f"{flow_names[deployment['flow_id']]}/{deployment['name']}", deployment)
            for deployment in found.values()
            if deployment["flow_id"] in flow_names  # else it was deleted with its flow between the two requests
        ]

    def _flow_names(self, flow_ids: Iterable[str]) -> dict[str, str]:
        names: dict[str, str] = {}
        ids = sorted(flow_ids)
        for start in range(0, len(ids), DEPLOYMENTS_PER_REQUEST):
            asked = ids[start : start + DEPLOYMENTS_PER_REQUEST]
            body = {"flows": {"id": {"any_": asked}}, "limit": len(asked)}
            names |= {flow["id"]: flow["name"] for flow in self._call("POST", "/flows/filter", body)}
        return names

    def save_deployment(
        self,
        name: str,
        *,
        entrypoint: str,
        path: str | None = None,
        pull_steps: Sequence[Mapping[str, Any]] | None = None,
        work_pool_name: str | None = None,
        work_queue_name: str | None = None,
        job_variables: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        parameter_schema: Mapping[str, Any] | None = None,
        enforces_schema: bool = True,
        tags: Iterable[str] = (),
        description: str | None = None,
        version: str | None = None,
        paused: bool | None = None,
    ) -> UUID:
        """
        Create a deployment, or make the one of that name what is said here. May be repeated.

        What is not given is emptied. Prefect removes the deployment's schedules whenever it is saved, those that
        somebody made in the UI included, and the runs that they have made for later; runs that somebody asked for
        stay. The flow is created when Prefect has none of that name.

        Args:
            name: ``flow/deployment``.
            entrypoint: See :class:`Deployment`, as all that follow.
            path: Where the code will be; usually None with pull steps.
            pull_steps: Such as ``[{"prefect.deployments.steps.set_working_directory": {"directory": "/code"}}]``.
            work_pool_name: Must exist.
            work_queue_name: Created in the work pool where it is missing; None for the pool's default queue.
            job_variables: Prefect checks them against the work pool's template.
            parameters: Defaults, visible in the UI. No secrets.
            parameter_schema: None lets every parameter pass.
            enforces_schema: See :class:`Deployment`.
            tags: Every run gets them too.
            description: Markdown.
            version: Free text.
            paused: None leaves a deployment that somebody paused paused; a new one is not.

        Returns:
            The deployment's id, the same for the same name.

        Raises:
            PrefectRefusedError: The work pool does not exist, or the job variables do not fit its template.
        """
        flow_name, deployment_name = _flow_and_deployment(name)
        body: dict[str, Any] = {
            "name": deployment_name,
            "entrypoint": entrypoint,
            "path": path,
            "pull_steps": pull_steps,
            "work_pool_name": work_pool_name,
            "work_queue_name": work_queue_name,
            "job_variables": dict(job_variables or {}),
            "parameters": dict(parameters or {}),
            "parameter_openapi_schema": parameter_schema or ANY_PARAMETERS,
            "enforce_parameter_schema": enforces_schema,
            "tags": sorted(set(tags)),
            "description": description,
            "version": version,
        }
        if paused is not None:
            body["paused"] = paused
        return UUID(self._call_with_flow("/deployments/", flow_name, body)["id"])

    def create_deployment_run(
        self,
        deployment_id: UUID,
        *,
        name: str,
        parameters: Mapping[str, Any],
        tags: Iterable[str] = (),
        idempotency_key: str,
        work_queue_name: str | None = None,
        job_variables: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> UUID:
        """
        Ask for a flow run of a deployment, at once, or find the one that an earlier call with the same key created.

        Parameters arrive in the flow as they are given here: what Prefect's server would evaluate in them
        (:data:`KIND_KEY`) is sent so that it does not.

        Args:
            deployment_id: From :meth:`deployment`.
            name: Of the run; need not be unique.
            parameters: JSON, at most 512 KiB, for everybody to see. No secrets.
            tags: Beside those of the deployment.
            idempotency_key: Unique within the flow, that is for all its deployments.
            work_queue_name: Another queue of the deployment's work pool, created where it is missing.
            job_variables: They win over those of the deployment.
            labels: Beside those of the deployment.

        Returns:
            The id of the flow run, which is SCHEDULED, or further.

        Raises:
            DeploymentNotFoundError: It was deleted; with the name one may find its successor.
            PrefectRefusedError: The parameters do not fit the deployment's schema. The text does not repeat them.
        """
        if KIND_KEY in parameters:
            raise PrefectRefusedError(f"A parameter cannot be called {KIND_KEY}.", status_code=HTTPStatus.BAD_REQUEST)
        body = {
            "name": name,
            "parameters": {key: _literal(value) for key, value in parameters.items()},
            "tags": sorted(set(tags)),
            "idempotency_key": idempotency_key,
            "state": {"type": "SCHEDULED"},
            "work_queue_name": work_queue_name,
            "job_variables": dict(job_variables or {}),
            "labels": dict(labels or {}),
        }
        try:
            created = self._call(
                "POST", f"/deployments/{deployment_id}/create_flow_run", body, missing=DeploymentNotFoundError
            )
        except PrefectRefusedError as error:
            if error.status_code != HTTPStatus.CONFLICT:
                raise
            raise PrefectRefusedError(
                f"Deployment {deployment_id} refuses the parameters of run {name!r}: they do not fit its parameter "
                "schema. Deploy the flow again, so that Prefect has the schema of the present version.",
                status_code=error.status_code,
            ) from None  # the original repeats the parameters
        return UUID(created["id"])


def _deployment(name: str, found: Mapping[str, Any]) -> Deployment:
    schema = found["parameter_openapi_schema"]
    return Deployment(
        deployment_id=UUID(found["id"]),
        name=name,
        flow_id=UUID(found["flow_id"]),
        paused=found["paused"],
        work_pool_name=found["work_pool_name"],
        work_queue_name=found["work_queue_name"],
        status=found["status"],
        entrypoint=found["entrypoint"],
        path=found["path"],
        pull_steps=found["pull_steps"],
        job_variables=found["job_variables"],
        parameters=found["parameters"],
        parameter_schema=None if schema == ANY_PARAMETERS else schema,
        enforces_schema=found["enforce_parameter_schema"],
        tags=frozenset(found["tags"]),
        description=found["description"],
        version=found["version"],
    )


def _flow_and_deployment(name: str) -> tuple[str, str]:
    flow_name, _, deployment_name = name.partition("/")
    if not flow_name or not deployment_name:
        raise DeploymentNotFoundError(
            f"{name!r} names no deployment: it must be flow/deployment, as `prefect deployment ls` shows them.",
            status_code=HTTPStatus.NOT_FOUND,
        )
    return flow_name, deployment_name


def _literal(value: Any) -> Any:
    """*value* so that the server takes it as it is."""
    if not _is_evaluated(value):
        return value
    return {KIND_KEY: "json", "value": encoded(value).decode()}


def _is_evaluated(value: Any) -> bool:
    if isinstance(value, Mapping):
        return KIND_KEY in value or any(map(_is_evaluated, value.values()))
    return isinstance(value, list | tuple) and any(map(_is_evaluated, value))
