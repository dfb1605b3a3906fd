"""Flows, each for one law that the tests state."""

import os
import time
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from pygeoapi_prefect import exceptions, report_progress, schemas
from pygeoapi_prefect.process.base import BasePrefectProcessor


@flow(name="greeting", persist_result=True)
def greet(name: str, times: Annotated[int, Field(ge=1, le=3)] = 1, tone: Literal["kind", "loud"] = "kind") -> str:
    """
    Greet somebody.

    Args:
        name: Who is greeted.
        times: How often.
        tone: In which way.
    """
    get_run_logger().info("greeting %s", name)
    text = " ".join([f"Hello {name}!"] * times)
    return text.upper() if tone == "loud" else text


@flow
def nothing() -> str:
    """Do nothing: what the job path itself costs."""
    return "nothing"


@flow
async def later(seconds: float = 0.01) -> dict[str, float]:
    """An asynchronous flow."""
    import asyncio

    await asyncio.sleep(seconds)
    return {"slept": seconds}


class Statistics(TypedDict):
    """Several outputs."""

    mean: float
    text: str
    raster: bytes


@flow
def several(numbers: list[float]) -> Statistics:
    """Return several outputs."""
    return {"mean": sum(numbers) / len(numbers), "text": f"{len(numbers)} numbers", "raster": bytes(range(256)) * 100}


@flow(retries=2, retry_delay_seconds=1)
def second_time(folder: str) -> int:
    """Fail at the first attempt."""
    marks = Path(folder)
    attempt = len(list(marks.iterdir())) + 1
    (marks / str(attempt)).touch()
    report_progress(10 * attempt, f"attempt {attempt}")
    if attempt == 1:
        raise RuntimeError("the first attempt fails")
    return attempt


@task
def square(number: int) -> int:
    return number * number


@flow
def squares(numbers: list[int]) -> list[int]:
    """Square numbers, each in a task of its own."""
    return square.map(numbers).result()


@flow
def sleep(pid_file: str, seconds: float = 60) -> str:
    """Sleep, and tell the process id before."""
    Path(pid_file).write_text(str(os.getpid()))
    for step in range(100):
        report_progress(step, f"step {step}")
        time.sleep(seconds / 100)
    return "slept"


@flow
def bar(seconds: float = 3) -> str:
    """Show progress as Prefect's users do."""
    artifact_id = create_progress_artifact(5, key="my-bar", description="reading")
    time.sleep(seconds)
    update_progress_artifact(artifact_id, 60)
    time.sleep(seconds)
    return "done"


@flow
def fail(reason: str = "it cannot be") -> str:
    """Fail."""
    raise ValueError(reason)


@flow
def refuse() -> str:
    """Refuse the inputs."""
    raise exceptions.MissingJobParameterError(user_msg="Cannot process without a scene")


@flow
def die() -> str:
    """Kill the process it runs in."""
    os.kill(os.getpid(), 9)
    return ""


@flow
def sizes(raster: bytes, texts: list[str]) -> dict[str, list[int]]:
    """Measure what comes."""
    return {"raster": [len(raster)], "texts": [len(text) for text in texts]}


@flow
def login(user: str, password: SecretStr) -> dict[str, object]:
    """Take a secret."""
    return {"user": user, "length": len(password.get_secret_value())}


@flow(persist_result=True)
def simple_flow(
    job_id: str,
    result_storage_block: str | None,
    process_description: schemas.ProcessDescription,
    execution_request: schemas.ExecuteRequest,
) -> schemas.JobStatusInfoInternal:
    """The contract's own example."""
    try:
        name = execution_request.inputs["name"].root
    except KeyError:
        raise exceptions.MissingJobParameterError("Cannot process without a name") from None
    message = execution_request.inputs.get("message")
    storage = Block.load(result_storage_block)
    result_path = f"{job_id}/output-result.txt"
    greeting = f"Hello {name}! {message.root if message is not None else ''}".strip()
    if name != "nobody":
        storage.write_path(result_path, (greeting * (1000 if name == "everybody" else 1)).encode())
    return schemas.JobStatusInfoInternal(
        jobID=job_id,
        processID=process_description.id,
        status=schemas.JobStatus.successful,
        generated_outputs={}
        if name == "forgetful"
        else {
            "result": schemas.OutputExecutionResultInternal(
                location=f"{storage.basepath}/{result_path}",
                media_type=process_description.outputs["result"].schema_.content_media_type,
            )
        },
    )


class SimpleFlowProcessor(BasePrefectProcessor):
    process_flow = simple_flow
    process_description = schemas.ProcessDescription(
        id="simple-flow",
        version="0.0.1",
        title="Simple flow Processor",
        jobControlOptions=[
            schemas.ProcessJobControlOption.SYNC_EXECUTE,
            schemas.ProcessJobControlOption.ASYNC_EXECUTE,
        ],
        inputs={
            "name": schemas.ProcessInput(
                title="Name", schema=schemas.ProcessIOSchema(type=schemas.ProcessIOType.STRING)
            ),
            "message": schemas.ProcessInput(
                title="Message", schema=schemas.ProcessIOSchema(type=schemas.ProcessIOType.STRING), minOccurs=0
            ),
        },
        outputs={
            "result": schemas.ProcessOutput(
                schema=schemas.ProcessIOSchema(type=schemas.ProcessIOType.STRING, contentMediaType="text/plain")
            )
        },
    )


class RenamedFlowProcessor(SimpleFlowProcessor):
    """The same flow under another id."""

    process_description = SimpleFlowProcessor.process_description.model_copy(update={"id": "in-a-folder"})
