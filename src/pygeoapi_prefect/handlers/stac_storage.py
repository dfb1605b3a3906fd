"""Object stores in the words of STAC's storage extension."""

import os
from typing import Any, Final
from urllib.parse import urlsplit

from pygeoapi_prefect.handlers.stac_options import StacSettings

STORAGE: Final = "https://stac-extensions.github.io/storage/v2.0.0/schema.json"

_AWS_PLATFORM: Final = "https://{bucket}.s3.{region}.amazonaws.com"


def scheme_of(url: str, settings: StacSettings, *, of_result_store: bool) -> tuple[str, dict[str, Any]] | None:
    """
    The storage scheme of a URL, with a name for it; None for what is in no object store, or in one that only the
    operator can describe.

    Args:
        url: Of an asset, or of the result store.
        settings: ``storage`` describes the result store.
        of_result_store: Whether it is.

    Source:
        STAC storage extension 2.0.0 with its best practices for S3.
    """
    if of_result_store and settings.storage is not None:
        return "result-store", dict(settings.storage)
    parts = urlsplit(url)
    if parts.scheme not in ("s3", "s3a") or not parts.netloc:
        return None
    name = "result-store" if of_result_store else f"s3-{parts.netloc}"
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        platform = f"{endpoint.rstrip('/')}/{{bucket}}"
        return name, {"type": "custom-s3", "platform": platform, "bucket": parts.netloc}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return name, {"type": "aws-s3", "platform": _AWS_PLATFORM, "bucket": parts.netloc, "region": region}
