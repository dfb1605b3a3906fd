"""Handlers that tell what happened to them, and processes for them."""

import json
import logging
import os
import subprocess
import tempfile
from pathlib import Path

from pygeoapi.process.base import ProcessorExecuteError

from processors import _Processor
from pygeoapi_prefect.handlers import CommonExecutionHandler
from pygeoapi_prefect.handlers.options import HandlerOptions

LOGGER = logging.getLogger(__name__)
SECRET = "correct horse battery staple"


class Recorder(CommonExecutionHandler):
    """Writes what it is called with to the file that its option ``file`` names, a JSON document for each line."""

    def tell(self, hook, **facts):
        with Path(self.options["file"]).open("a") as file:
            label = self.options.get("label", "handler")
            job_id = self.conf["lenv"]["job_id"]
            file.write(
                json.dumps({"handler": label, "hook": hook, "instance": id(self), "job": job_id, **facts}) + "\n"
            )

    def pre_execution_hook(self):
        super().pre_execution_hook()
        self.tell("pre", conf=self.conf, outputs=self.outputs, pod=os.environ.get("POD_VARIABLE"))

    def post_execution_hook(self, log, output, usage_report, tool_logs):
        super().post_execution_hook(log, output, usage_report, tool_logs)
        self.tell("post", log=log, output=output, usage_report=usage_report, tool_logs=tool_logs)

    def handle_outputs(self, log, output, usage_report, tool_logs):
        self.tell("handle_outputs", output=output)

    def setOutput(self, outputName, values):  # noqa: N802, N803 ZOO's names
        self.tell("setOutput", name=outputName, values={**values})
        if "value" in values and self.options.get("suffix"):
            values["value"] += self.options["suffix"]
            values["mediaType"] = "text/x-changed"
        super().setOutput(outputName, values)

    def on_failure(self, error):
        self.tell("on_failure", error=f"{type(error).__name__}: {error}")
        raise RuntimeError("on_failure fails as well")


class Secretive(CommonExecutionHandler):
    """Leaves a mess in the environment, and has a secret, which it fails with or prints."""

    def get_secrets(self):
        return {"passwords": [SECRET]}

    def pre_execution_hook(self):
        os.environ["LEFT_BEHIND"] = "yes"
        LOGGER.warning("logging in with %s", SECRET)
        print("printed", SECRET)
        if self.conf["lenv"]["inputs"].get("refuse"):
            raise ProcessorExecuteError(user_msg=f"refused by {SECRET}")

    def post_execution_hook(self, log, output, usage_report, tool_logs):
        if self.conf["lenv"]["inputs"].get("fail"):
            raise ValueError(f"cannot use {SECRET}")


class Unready(Secretive):
    """Cannot say what its job needs, or takes the pool worker along."""

    def get_pod_env_vars(self):
        if self.conf["lenv"]["inputs"].get("fail") == "exit":
            os._exit(3)
        raise RuntimeError(f"no credentials with {SECRET}")


class NoHandler:
    """Is none."""


class Awaited(CommonExecutionHandler):
    """Would never be awaited."""

    async def pre_execution_hook(self):
        pass


class CountingOptions(HandlerOptions):
    """Of :class:`Counting`."""

    at_most: int = 1


class Counting(CommonExecutionHandler):
    """Has an option of its own."""

    own_options = CountingOptions


class Free(Counting):
    """Declares no option."""


class Greet(_Processor):
    """A greeting, with a tool that leaves a log, or a failure."""

    inputs = ("name", "fail", "refuse", "access_token")
    outputs = ("greeting",)

    def execute(self, data, outputs=None):
        print("greeting", data["name"])
        Path(os.environ["TOOL_LOGS"], "tool.log").write_text("the tool was here\n")
        subprocess.run(["sh", "-c", "head -c 1000000 /dev/zero > $TMPDIR/zeros"], check=True)
        if data.get("fail") == "process":
            raise RuntimeError(f"the process knows {SECRET}")
        return "text/plain", f"Hello {data['name']}!"


class MakeCatalogue(_Processor):
    """A STAC catalogue with one item, as files."""

    inputs = ("input_data", "output_path")
    outputs = ("stac",)

    def execute(self, data, outputs=None):
        import pystac

        catalogue = pystac.Catalog("test", "A catalogue", title="Test")
        folder = Path(tempfile.gettempdir(), data["output_path"])
        catalogue.normalize_and_save(str(folder), pystac.CatalogType.SELF_CONTAINED)
        return "application/json", folder / "catalog.json"
