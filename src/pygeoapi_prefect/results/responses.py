"""Manifest and request → what the client gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any

from pygeoapi_prefect.exceptions import ResultNotAvailableError
from pygeoapi_prefect.results.documents import in_document
from pygeoapi_prefect.results.http_headers import content_type, disposition, protection, safe_media_type
from pygeoapi_prefect.results.linked_files import LinkedFiles
from pygeoapi_prefect.results.links import OutputLinks, link_header
from pygeoapi_prefect.results.multipart import Part, multipart_related
from pygeoapi_prefect.results.outputs import WHOLE, Output, is_whole, required, selected, stored_outputs
from pygeoapi_prefect.results.store import ResultStore, StoredFile, StoredValue
from pygeoapi_prefect.schemas import ResponseForm, TransmissionMode
from pygeoapi_prefect.schemas.media_types import JSON_MEDIA_TYPE

LARGE_BYTES = 8 * 1024 * 1024
"""Files above this size are handed on unread, for a front that can send them in pieces."""


@dataclass(frozen=True, slots=True)
class Response:
    """
    A response with results.

    Attributes:
        media_type: ``Content-Type``.
        content: Bytes, text, a large file, or for ``application/json`` anything that JSON can hold.
        status: HTTP status.
        headers: Further ones.
    """

    media_type: str
    content: Any
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)

    def loaded(self) -> Any:
        """*content*, read into memory where it is a file. Raises as :func:`respond`."""
        return self.content.read() if isinstance(self.content, StoredFile) else self.content


def respond(
    store: ResultStore,
    manifest: Mapping[str, Any] | None,
    request: Mapping[str, Any],
    *,
    as_returned: bool,
    links: OutputLinks | None = None,
    prefers_json: bool = False,
    outputs: Sequence[str] | None = None,
) -> Response:
    """
    Make the response of an execute request from the stored result. The same arguments make the same response.

    Args:
        store: Where the values are.
        manifest: From the job's row.
        request: The execute request; ``outputs`` selects, ``response`` says in which form.
        as_returned: Answer what the process returned, as pygeoapi's own managers do.
        links: For outputs by reference; None: they are answered by value.
        prefers_json: Several raw outputs are a document, where they are a multipart else.
        outputs: Ids of those that a request for results wants, of those that the execute request selected, or of files
            beside them; by value, and one alone raw. None or empty: all.

    Raises:
        UnknownOutputError: *outputs* names one that there is not.
        ResultNotAvailableError: There is no result, or its file is gone.
        ResultStoreError: The store cannot be read.

    Source:
        OGC 18-062r2, requirements ``sync-raw-value-one`` … ``sync-document``; ``outputs``: draft of 2.0.
    """
    if manifest is None:
        raise ResultNotAvailableError()
    files = LinkedFiles.of(manifest)
    if as_returned and "return" in manifest and not files.beside:
        stored = StoredValue.from_json(manifest["return"])
        media_type = safe_media_type(stored.media_type)
        return Response(media_type, store.read(stored), headers=protection(media_type))
    chosen = stored_outputs(store, manifest)
    wants_document = request.get("response") == ResponseForm.DOCUMENT
    if is_whole(manifest) and not files.beside:
        return _whole(store, required(chosen, outputs or [])[WHOLE] if outputs else chosen[WHOLE], wants_document)
    wanted = request.get("outputs")
    chosen = selected(chosen, wanted)
    if outputs:
        beside = LinkedFiles({name: one for name, one in files.beside.items() if name in chosen})
        chosen = required({**beside.stored(), **chosen}, outputs)
    read = [Output.read(store, name, stored) for name, stored in chosen.items()]
    if links is not None:
        read = [files.resolved(output, partial(links.file_address, store)) for output in read]
    linked = _linked(read, wanted, links) if links is not None and not outputs else {}
    if wants_document and not (outputs and len(read) == 1):
        return _document(read, linked, wanted)
    if linked and len(linked) == len(read):
        header = ", ".join(link_header(link, name) for name, link in linked.items())
        return Response(JSON_MEDIA_TYPE, b"", HTTPStatus.NO_CONTENT, {"Link": header})
    if len(read) == 1:
        return _raw(read[0])
    if prefers_json or as_returned:
        return _document(read, linked, wanted)
    return _multipart(read, linked)


def _linked(read: Sequence[Output], wanted: Any, links: OutputLinks) -> dict[str, dict[str, str]]:
    """Links of the outputs that the execute request wants by reference, by their ids."""
    return {
        output.output_id: links.link(output)
        for output in read
        if _wish(wanted, output.output_id).get("transmissionMode") == TransmissionMode.REFERENCE
    }


def _wish(wanted: Any, output_id: str) -> Mapping[str, Any]:
    """What the execute request says of one output: a list of ids says nothing but that."""
    wish = wanted.get(output_id) if isinstance(wanted, Mapping) else None
    return wish if isinstance(wish, Mapping) else {}


def _whole(store: ResultStore, stored: StoredValue, wants_document: bool) -> Response:
    """A return that cannot be told apart is never looked into."""
    if stored.form == "json":
        media_type = safe_media_type(stored.media_type)
        return Response(media_type, store.read(stored), headers=protection(media_type))
    output = Output.read(store, WHOLE, stored)
    return _document([output], {}, None) if wants_document else _raw(output)


def _raw(output: Output) -> Response:
    content = output.content
    headers = protection(output.media_type)
    if not _is_text(output) and isinstance(content, bytes | StoredFile):
        headers["Content-Disposition"] = disposition(output.output_id, output.media_type)
    if isinstance(content, StoredFile) and content.value.size <= LARGE_BYTES:
        content = content.read()
    return Response(content_type(output.media_type, is_text=_is_text(output)), content, headers=headers)


def _is_text(output: Output) -> bool:
    content = output.content
    return content.value.form == "text" if isinstance(content, StoredFile) else isinstance(content, str)


def _document(read: Sequence[Output], linked: Mapping[str, dict[str, str]], wanted: Any) -> Response:
    def member(output: Output) -> Any:
        if output.output_id in linked:
            return linked[output.output_id]
        format_ = _wish(wanted, output.output_id).get("format")
        return in_document(output, format_.get("encoding") if isinstance(format_, Mapping) else None)

    document = {output.output_id: member(output) for output in read}
    return Response(JSON_MEDIA_TYPE, document, headers=protection(JSON_MEDIA_TYPE))


def _multipart(read: Sequence[Output], linked: Mapping[str, dict[str, str]]) -> Response:
    def part(output: Output) -> Part:
        if output.output_id in linked:
            return Part(output.output_id, output.media_type, location=linked[output.output_id]["href"])
        return Part(output.output_id, content_type(output.media_type, is_text=_is_text(output)), output.data())

    media_type, body = multipart_related([part(output) for output in read])
    return Response(media_type, body, headers=protection(media_type))
