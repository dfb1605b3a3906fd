"""A handler that sends a metric of its own, beside those of every monitored job."""

from collections.abc import MutableMapping
from typing import Any

from pygeoapi_prefect.handlers import MonitoredHandler


class RasterMonitor(MonitoredHandler):
    """Sends the size of each raster that a job makes, in bytes."""

    metric_names = MonitoredHandler.metric_names | {"raster.bytes"}

    def setOutput(self, outputName: str, values: MutableMapping[str, Any]) -> None:  # noqa: N802, N803 ZOO's names
        if isinstance(values.get("value"), bytes):
            self.send_metric("raster.bytes", len(values["value"]))
        super().setOutput(outputName, values)
