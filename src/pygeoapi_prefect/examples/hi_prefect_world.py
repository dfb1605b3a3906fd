"""
A greeting, as a flow that follows the contract of :class:`~pygeoapi_prefect.process.base.BasePrefectProcessor`.

::

    resources:
      hi-prefect-world:
        type: process
        processor:
          name: pygeoapi_prefect.examples.hi_prefect_world.HiPrefectWorldProcessor
"""

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.blocks.core import Block
from prefect.filesystems import LocalFileSystem

from pygeoapi_prefect import exceptions, schemas
from pygeoapi_prefect.process.base import BasePrefectProcessor


@flow(name="hi-prefect-world", persist_result=True)
def hi_prefect_world(
    job_id: str,
    result_storage_block: str | None,
    process_description: schemas.ProcessDescription,
    execution_request: schemas.ExecuteRequest,
) -> schemas.JobStatusInfoInternal:
    """
    Greet somebody, and store the greeting.

    Args:
        job_id: Names the folder of the output.
        result_storage_block: ``<slug>/<name>`` of the block to store it in. None, where the flow is called by hand: the
            working directory.
        process_description: Has the media type of the output.
        execution_request: Has the inputs.

    Raises:
        MissingJobParameterError: There is no name.
    """
    get_run_logger().debug("greeting", extra={"action": "greet", "job_id": job_id})
    try:
        name = execution_request.inputs["name"].root
    except KeyError:
        raise exceptions.MissingJobParameterError(user_msg="Cannot process without a name") from None
    message = execution_request.inputs.get("message")
    greeting = f"Hello {name}! {message.root if message is not None else ''}".strip()
    # without a base path a block writes where nobody can say afterwards
    storage: Any = LocalFileSystem(basepath=str(Path.cwd()))
    if result_storage_block is not None:
        storage = Block.load(result_storage_block)
    result_path = f"{job_id}/output-result.txt"
    storage.write_path(result_path, greeting.encode())
    return schemas.JobStatusInfoInternal(
        jobID=job_id,
        processID=process_description.id,
        status=schemas.JobStatus.SUCCESSFUL,
        generated_outputs={
            "result": schemas.OutputExecutionResultInternal(
                location=f"{storage.basepath}/{result_path}",
                media_type=process_description.outputs["result"].schema_.content_media_type,
            )
        },
    )


class HiPrefectWorldProcessor(BasePrefectProcessor):
    """The process ``hi-prefect-world``."""

    process_flow = hi_prefect_world
    process_description = schemas.ProcessDescription(
        id="hi-prefect-world",
        version="1.0.0",
        title="Hi Prefect world",
        description="Answers a greeting to a name, with a message if there is one.",
        keywords=["example", "greeting"],
        jobControlOptions=[
            schemas.ProcessJobControlOption.SYNC_EXECUTE,
            schemas.ProcessJobControlOption.ASYNC_EXECUTE,
        ],
        inputs={
            "name": schemas.ProcessInput(
                title="Name",
                description="Who is greeted.",
                schema=schemas.ProcessIOSchema(type=schemas.ProcessIOType.STRING),
            ),
            "message": schemas.ProcessInput(
                title="Message",
                description="What is said after the greeting.",
                schema=schemas.ProcessIOSchema(type=schemas.ProcessIOType.STRING),
                minOccurs=0,
            ),
        },
        outputs={
            "result": schemas.ProcessOutput(
                title="Greeting",
                schema=schemas.ProcessIOSchema(type=schemas.ProcessIOType.STRING, contentMediaType="text/plain"),
            )
        },
        example={"inputs": {"name": "Prefect", "message": "Good morning."}},
    )
