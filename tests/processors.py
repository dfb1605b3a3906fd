"""Unmodified pygeoapi processors, each for one law that the tests state."""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pygeoapi.process.base import BaseProcessor, ProcessorExecuteError

from pygeoapi_prefect import report_progress

LOGGER = logging.getLogger(__name__)


def _metadata(process_id, inputs=(), outputs=("result",), options=("sync-execute", "async-execute")):
    return {
        "id": process_id,
        "version": "1.0.0",
        "title": process_id,
        "description": process_id,
        "jobControlOptions": list(options),
        "inputs": {name: {"schema": {}, "minOccurs": 0} for name in inputs},
        "outputs": {name: {"schema": {"type": "object", "contentMediaType": "application/json"}} for name in outputs},
    }


class _Processor(BaseProcessor):
    inputs = ()
    outputs = ("result",)
    options = ("sync-execute", "async-execute")

    def __init__(self, processor_def):
        super().__init__(processor_def, _metadata(type(self).__name__, self.inputs, self.outputs, self.options))


class OldSignature(_Processor):
    """As processors were written before outputs could be chosen."""

    inputs = ("x", "n")

    def execute(self, data):
        return "application/json", {"data": data}


class Sleep(_Processor):
    """Sleeps; reports progress in ten steps; tells its process id."""

    inputs = ("seconds", "pid_file")

    def execute(self, data, outputs=None):
        if "pid_file" in data:
            Path(data["pid_file"]).write_text(str(os.getpid()))
        seconds = data.get("seconds", 60)
        for step in range(10):
            self.report_progress(step * 10, f"step {step}")
            time.sleep(seconds / 10)
        return "application/json", {"slept": seconds}


class SyncOnlySleep(Sleep):
    options = ("sync-execute",)


class AsyncOnly(_Processor):
    options = ("async-execute",)

    def execute(self, data, outputs=None):
        return "application/json", {"ran": True}


class Family(_Processor):
    """Starts a child, and a grandchild in a session of its own, tells their ids, and sleeps."""

    inputs = ("pid_file", "leave")

    def execute(self, data, outputs=None):
        sleep = "import time; time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-c", sleep])
        grandchild = subprocess.Popen(
            [sys.executable, "-c", f"import os, time; os.fork() and os._exit(0); os.setsid(); {sleep}"],
            start_new_session=True,
        )
        grandchild.wait()
        Path(data["pid_file"]).write_text(f"{os.getpid()} {child.pid}")
        if data.get("leave"):
            return "application/json", {}
        return time.sleep(600)


class Stubborn(_Processor):
    """Does not heed SIGTERM."""

    inputs = ("pid_file",)

    def execute(self, data, outputs=None):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path(data["pid_file"]).write_text(str(os.getpid()))
        while True:
            time.sleep(1)


class Polite(_Processor):
    """Tidies up when it is stopped."""

    inputs = ("pid_file", "tidied_file")

    def execute(self, data, outputs=None):
        Path(data["pid_file"]).write_text(str(os.getpid()))
        try:
            time.sleep(600)
        finally:
            Path(data["tidied_file"]).write_text("tidy")


class Fail(_Processor):
    inputs = ("how",)

    def execute(self, data, outputs=None):
        match data.get("how"):
            case "refuse":
                raise ProcessorExecuteError("input 'depth' must be positive")
            case "exit":
                sys.exit("gave up")
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "return":
                return "only one thing"
            case "json":
                return "application/json", {"value": object()}
        raise RuntimeError("the disk of node 7 is full")


class Bytes(_Processor):
    """Returns bytes of every value, in the size that is asked for."""

    inputs = ("size",)

    def execute(self, data, outputs=None):
        return "application/octet-stream", (bytes(range(256)) * (data["size"] // 256 + 1))[: data["size"]]


class Several(_Processor):
    outputs = ("a", "b")

    def __init__(self, processor_def):
        super().__init__(processor_def)
        self.supports_outputs = True

    def execute(self, data, outputs=None):
        return "application/json", {name: name.upper() for name in outputs or ("a", "b")}


class Talkative(_Processor):
    inputs = ("seconds",)

    def execute(self, data, outputs=None):
        LOGGER.info("a record of %s", "the logging module")
        print("a printed line")
        subprocess.run(["sh", "-c", "echo a line of a tool"], check=True)
        report_progress(50, "half way")
        time.sleep(data.get("seconds", 0))
        return "application/json", {}


class Secretive(_Processor):
    """Takes a token that nobody shall read, and says that it came."""

    def __init__(self, processor_def):
        super().__init__(processor_def)
        self.metadata["inputs"] = {"token": {"schema": {"type": "string", "writeOnly": True}}}

    def execute(self, data, outputs=None):
        return "application/json", {"length": len(data["token"])}


class Environment(_Processor):
    """Shows what it finds, and leaves a mess."""

    def execute(self, data, outputs=None):
        found = {
            "left_behind": os.environ.get("LEFT_BEHIND"),
            "folder": str(Path.cwd()),
            "scratch": tempfile.gettempdir(),
            "ephemeral_prefect": os.environ.get("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"),
        }
        os.environ["LEFT_BEHIND"] = "yes"
        os.chdir("/")
        Path(tempfile.gettempdir(), "file").write_text("temporary")
        return "application/json", found


class Resourceful(Sleep):
    def remove_resources(self, job_id):
        with Path(os.environ["TEST_REMOVED"]).open("a") as file:
            file.write(f"{job_id}\n")


class Received(_Processor):
    """Shows what it got of each input, and what is in the files that it got the paths of."""

    def __init__(self, processor_def):
        super().__init__(processor_def)
        raster = {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/tiff"}
        self.metadata["inputs"] = {
            "raster": {"schema": raster, "minOccurs": 0},
            "text": {"schema": {"type": "string", "maxLength": 20}, "minOccurs": 0},
            "texts": {"schema": {"type": "string"}, "minOccurs": 0, "maxOccurs": "unbounded"},
            "numbers": {"schema": {"type": "array", "items": {"type": "number"}}, "minOccurs": 0},
            "feature": {"schema": {"type": "object", "required": ["type"]}, "minOccurs": 0},
            "any": {"schema": {}, "minOccurs": 0},
        }

    def execute(self, data, outputs=None):
        paths = [value for value in data.values() if isinstance(value, str) and value.startswith("/")]
        files = {path: Path(path).read_text(errors="replace") for path in paths}
        return "application/json", {"data": data, "files": files, "scratch": tempfile.gettempdir()}


class Unimportable(BaseProcessor):
    def __init__(self, processor_def):
        raise ImportError("No module named 'a_library_that_is_missing'")
