"""Flows as users of pygeoapi-prefect 0.9 wrote them. Run as a script, this serves one of them, as they did."""

import os
import time
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.filesystems import LocalFileSystem


class Trap:
    """A pickle of this writes the process id of whoever loads it, and is then a text."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return eval, (f"open({self.path!r}, 'a').write(str(__import__('os').getpid()) + ' ') and 'it snapped'",)


@task(persist_result=True, result_storage_key="{parameters[pygeoapi_job_id]}.pickle")
def keep(pygeoapi_job_id: str, media_type: str, value: Any) -> tuple[str, Any]:
    return media_type, value


@flow
def shout(processor_id: str, pygeoapi_job_id: str, inputs: dict, outputs: dict | None = None) -> None:
    match inputs.get("how", "text"):
        case "text":
            print(f"shouting for {processor_id}")
            keep(pygeoapi_job_id, "text/plain", f"{inputs['words'].upper()}!")
        case "bytes":
            keep(pygeoapi_job_id, "image/x-noise", bytes(range(256)) * 100)
        case "document":
            keep(pygeoapi_job_id, "application/json", {"called": [processor_id, inputs, outputs]})
        case "block":
            elsewhere = keep.with_options(
                result_storage=LocalFileSystem.load("kept-by-0-9"),
                result_storage_key="results/{parameters[pygeoapi_job_id]}.bin",
            )
            elsewhere(pygeoapi_job_id, "text/plain", b"from the block")
        case "trap":
            keep(pygeoapi_job_id, "text/plain", Trap(inputs["pid_file"]))
        case "set":
            keep(pygeoapi_job_id, "text/plain", {1, 2})
        case "fail":
            raise ValueError("hoarse")
        case "sleep":
            Path(inputs["pid_file"]).write_text(str(os.getpid()))
            time.sleep(120)


@flow
def hum(processor_id: str, pygeoapi_job_id: str, inputs: dict, outputs: dict | None = None) -> tuple[str, bytes]:
    """Return the result itself."""
    return "text/plain", f"hm, {inputs['words']}".encode()


@flow
async def shout_later(processor_id: str, pygeoapi_job_id: str, inputs: dict, outputs: dict | None = None) -> None:
    """Persist from an asynchronous flow."""
    keep(pygeoapi_job_id, "text/plain", f"{inputs['words']} (later)")


if __name__ == "__main__":
    LocalFileSystem(basepath=os.environ["KEPT_BY_0_9"]).save("kept-by-0-9", overwrite=True)
    shout.serve(name="by-hand", limit=4)
