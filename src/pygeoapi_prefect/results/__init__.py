"""
What processes return: stored once where the job ran, answered as often as clients ask.

================  ==========================================================================
module            holds
================  ==========================================================================
``store``         :class:`ResultStore`: stored values in a local folder or behind an fsspec URL
``returns``       manifests; what a plain ``(media type, value)`` means
``blocks``        Prefect's storage blocks as stores
``outputs``       every manifest as one mapping of outputs
``documents``     an output as a member of a results document
``multipart``     several raw outputs in one response
``linked_files``  files beside an output, and its links to them
``links``         where outputs by reference are to be had
``http_headers``  headers around values whose media types and ids others chose
``responses``     manifest and request → what the client gets
================  ==========================================================================

A *manifest* is the JSON document that the job's row keeps; only this package reads or writes one.
"""

from pygeoapi_prefect.results.links import OutputLinks
from pygeoapi_prefect.results.responses import Response, respond
from pygeoapi_prefect.results.returns import copy_values, media_type_of, outputs_manifest, store_return, store_value
from pygeoapi_prefect.results.store import ResultStore, StoredFile, StoredValue

__all__ = [
    "OutputLinks",
    "Response",
    "ResultStore",
    "StoredFile",
    "StoredValue",
    "copy_values",
    "media_type_of",
    "outputs_manifest",
    "respond",
    "store_return",
    "store_value",
]
