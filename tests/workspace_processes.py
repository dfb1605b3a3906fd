"""A process that works in a workspace."""

import logging
import os

from processors import _Processor

LOGGER = logging.getLogger(__name__)


class TellCredentials(_Processor):
    """Tells whatever it knows to whoever listens; its result says which workspace it has found."""

    inputs = ("fails",)
    outputs = ("stac_catalog", "found")

    def execute(self, data, outputs=None):
        secrets = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
        LOGGER.warning("working with %s", secrets[0])
        print("printed", *secrets)
        if data.get("fails"):
            raise RuntimeError(f"it does not work with {secrets[1]}")
        bucket = os.environ.get("WORKSPACE_BUCKET")
        return "application/json", {"stac_catalog": f"s3://{bucket}/catalog.json", "found": str(bucket)}
