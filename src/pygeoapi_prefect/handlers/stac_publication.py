"""STAC published to an API that has the Transaction extension."""

import os
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, unquote

import stamina

from pygeoapi_prefect.exceptions import PygeoapiPrefectError
from pygeoapi_prefect.handlers.stac_options import PublicationSettings
from pygeoapi_prefect.handlers.stac_tree import documents_in, members_of
from pygeoapi_prefect.results.linked_files import relinked

if TYPE_CHECKING:
    import httpx

_OF_A_FOLDER: Final = frozenset({"self", "root", "parent", "child", "item", "items", "collection", "canonical"})
"""Relations that an API makes itself."""

_BULK_ITEMS: Final = 100
_NOT_IN_BULK: Final = frozenset({400, 404, 405, 409, 413, 415, 422, 501})
"""Statuses after which Items are sent one by one: not every API takes several, and one of them may be there already."""


class StacPublicationError(PygeoapiPrefectError):
    """A STAC API refuses what is published, or is away."""

    default_client_message = "The results could not be published to the STAC API."


class _ApiAwayError(Exception):
    """The API is away, or has too much to do."""


class StacPublisher:
    """
    Publishes documents; used as a context manager.

    What the API has already is replaced, so that to publish twice is to publish once.

    Args:
        settings: Where to, and how patiently.
        token: Bearer token; None: none.
    """

    def __init__(self, settings: PublicationSettings, token: str | None) -> None:
        # a web process, which may import the handler, does without
        import httpx

        if settings.as_user and token is None:
            raise StacPublicationError(
                "stac.publish.as_user needs the access token of who submitted the job, and there is none. Set "
                "needs_access_token beside the handler's options, and have users authenticate."
            )
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._settings = settings
        self._client = httpx.Client(headers=headers, timeout=settings.timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def publish(self, documents: Iterable[Mapping[str, Any]], collection: Mapping[str, Any]) -> None:
        """
        Publish Collections and Items; Catalogs are passed over, for APIs have none.

        Args:
            documents: With links that everybody can follow.
            collection: Made where the API lacks it, for Items that belong to none, unless ``publish.collection`` names
                theirs.

        Raises:
            StacPublicationError: The API refuses one, or is away.
        """
        kinds: dict[str, list[dict[str, Any]]] = {"Collection": [], "Feature": [], "Catalog": []}
        for document in documents:
            kinds[document["type"]].append(_without_folder(document))
        for one in kinds["Collection"]:
            self._create_or_replace("collections", one)
        alone = [item for item in kinds["Feature"] if "collection" not in item]
        if alone and self._settings.collection is None:
            # one that is there may be the work of many jobs
            made = _without_folder(collection)
            self._request("POST", _url(self._settings, "collections"), made, HTTPStatus.CONFLICT)
        by_collection: dict[str, list[dict[str, Any]]] = {}
        for item in kinds["Feature"]:
            collection_id = item.setdefault("collection", self._settings.collection or collection["id"])
            url = _url(self._settings, "collections", collection_id)
            item["links"].append({"rel": "collection", "href": url, "type": "application/json"})
            by_collection.setdefault(collection_id, []).append(item)
        for collection_id, items in by_collection.items():
            for start in range(0, len(items), _BULK_ITEMS):
                self._publish_items(collection_id, items[start : start + _BULK_ITEMS])

    def _publish_items(self, collection_id: str, items: Sequence[Mapping[str, Any]]) -> None:
        path = f"collections/{quote(collection_id, safe='')}/items"
        if len(items) > 1:
            together = {"type": "FeatureCollection", "features": list(items), "links": []}
            status = self._request("POST", f"{_base(self._settings)}/{path}", together, *_NOT_IN_BULK)
            if status not in _NOT_IN_BULK:
                return
        for item in items:
            self._create_or_replace(path, item)

    def _create_or_replace(self, path: str, document: Mapping[str, Any]) -> None:
        url = f"{_base(self._settings)}/{path}"
        if self._request("POST", url, document, HTTPStatus.CONFLICT) == HTTPStatus.CONFLICT:
            self._request("PUT", f"{url}/{quote(document['id'], safe='')}", document)

    def _request(self, method: str, url: str, document: Mapping[str, Any], *expected: int) -> int:
        """The status, which is one of success or *expected*. Raises as :meth:`publish`."""
        import httpx

        try:
            for attempt in stamina.retry_context(
                on=(_ApiAwayError, httpx.TransportError),
                attempts=self._settings.attempts,
                timeout=None,
                wait_initial=0.2,
            ):
                with attempt:
                    response = self._client.request(method, url, json=document)
                    is_away = response.status_code >= 500 or response.status_code == HTTPStatus.TOO_MANY_REQUESTS
                    if is_away and response.status_code not in expected:
                        raise _ApiAwayError(f"{response.status_code}: {_said(response)}")
        except (_ApiAwayError, httpx.TransportError) as error:
            raise StacPublicationError(f"The STAC API at {url} is away: {type(error).__name__}: {error}") from error
        if not response.is_success and response.status_code not in expected:
            raise StacPublicationError(
                f"The STAC API at {url} refuses {document.get('id', 'Items')}: "
                f"{response.status_code}: {_said(response)}. Check stac.publish."
            )
        return int(response.status_code)


def token_of(settings: PublicationSettings, lenv: Mapping[str, Any]) -> str | None:
    """The bearer token for the API; None: none is configured, or it is not there."""
    if settings.as_user:
        token: str | None = lenv.get("access_token")
        return token
    return os.environ.get(settings.token_env) if settings.token_env is not None else settings.token


def absolute_documents(document: Path, href_of: Callable[[str], str]) -> list[dict[str, Any]]:
    """
    All documents of a tree, each Item for itself, with links that everybody can follow.

    Args:
        document: The root, at the top of the tree.
        href_of: Where everybody finds the file of a path in the tree.
    """
    made = []
    for path, one in documents_in(document.parent):
        folder = path.parent.relative_to(document.parent).as_posix()

        def absolute(href: str, folder: str = folder) -> str:
            return href_of(posixpath.normpath(posixpath.join(folder, unquote(href))))

        made += [relinked(member, absolute) for member in members_of(one)]
    return made


def canonical_link(
    settings: PublicationSettings, document: Mapping[str, Any], collection_id: str
) -> dict[str, str] | None:
    """Where a document is published; None for one that is not. *collection_id*: of Items without their own."""
    if document["type"] == "Feature":
        owner = str(document.get("collection") or settings.collection or collection_id)
        href = _url(settings, "collections", owner, "items", document["id"])
        return {"rel": "canonical", "href": href, "type": "application/geo+json"}
    if document["type"] == "Collection":
        return {
            "rel": "canonical",
            "href": _url(settings, "collections", document["id"]),
            "type": "application/json",
        }
    return None


def _base(settings: PublicationSettings) -> str:
    return settings.url.rstrip("/")


def _url(settings: PublicationSettings, *steps: str) -> str:
    return "/".join([_base(settings), *(quote(step, safe="") for step in steps)])


def _without_folder(document: Mapping[str, Any]) -> dict[str, Any]:
    links = [link for link in document.get("links", []) if link.get("rel") not in _OF_A_FOLDER]
    return {**document, "links": links}


def _said(response: "httpx.Response") -> str:
    return response.text[:500]
