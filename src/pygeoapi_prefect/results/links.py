"""Where outputs by reference are to be had."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from pygeoapi_prefect.results.http_headers import quoted, safe_media_type, uri
from pygeoapi_prefect.results.outputs import Output
from pygeoapi_prefect.results.store import ResultStore, StoredFile, StoredValue
from pygeoapi_prefect.schemas.codes import RESULTS_REL


@dataclass(frozen=True, slots=True)
class OutputLinks:
    """
    Links to the outputs of one job.

    Attributes:
        base_url: Of this server.
        job_id: The job.
        lifetime: Seconds that links of the object store are good for; None: there are only links of this server.
        sign: Gives the parameters of the query that make this server's link to an output good without a token; None:
            such links need one.
    """

    base_url: str
    job_id: str
    lifetime: float | None = None
    sign: Callable[[str], Mapping[str, str]] | None = None

    def link(self, output: Output) -> dict[str, str]:
        """
        A link that answers the output raw: the process's own where it returned one, else the object store's where
        the output is a file in one that signs URLs, else this server's.

        Source:
            OGC 18-062r2, ``link.yaml``.
        """
        if output.is_link and output.as_made is not None:
            return dict(output.as_made)
        href = self._href(output.output_id, output.media_type, output.content)
        return {"href": href, "type": output.media_type, "title": output.output_id}

    def file_address(self, store: ResultStore, file_id: str, stored: StoredValue) -> str:
        """
        Where a file beside an output is to be had.

        JSON is this server's to answer: it may be a document with links of its own.
        """
        media_type = safe_media_type(stored.media_type)
        return self._href(file_id, media_type, None if stored.form == "json" else StoredFile(store, stored))

    def _href(self, output_id: str, media_type: str, content: Any) -> str:
        # stores count in whole seconds
        if self.lifetime is not None and self.lifetime >= 1 and isinstance(content, StoredFile):
            signed = content.sign(self.lifetime, media_type)
            if signed is not None:
                return signed
        # the parameter of the draft of 2.0; pygeoapi has no route below /results
        query = {"outputs": output_id, **({} if self.sign is None else self.sign(output_id))}
        return f"{self.base_url.rstrip('/')}/jobs/{self.job_id}/results?{urlencode(query, safe='', quote_via=quote)}"


def link_header(link: dict[str, str], output_id: str) -> str:
    """
    A link as a value of the header ``Link``; its title is the output's id.

    The standard names no relation for it; that of a job to its results is the nearest that is registered.

    Source:
        RFC 8288; OGC 18-062r2, requirement ``sync-raw-ref``.
    """
    media_type = f"; type={quoted(link['type'])}" if link.get("type") else ""
    return f'<{uri(link["href"])}>; rel="{RESULTS_REL}"{media_type}; title={quoted(output_id)}'
