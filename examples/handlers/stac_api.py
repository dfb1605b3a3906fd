"""
A STAC API with the Transaction extension: a real stac-fastapi application that keeps all in memory.

It needs the packages stac-fastapi.api and stac-fastapi.extensions.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import Request, Response
from serving_example import free_port
from stac_fastapi.api.app import StacApi
from stac_fastapi.extensions.transaction import BaseTransactionsClient, TransactionExtension
from stac_fastapi.types.config import ApiSettings
from stac_fastapi.types.core import BaseCoreClient
from stac_fastapi.types.errors import ConflictError, NotFoundError


class Catalogue:
    """
    What an API keeps, and how it answers.

    Attributes:
        collections: By id.
        items: By id, by collection.
        requests: Method and path of each request, in their order.
        token: The bearer token that writing needs; None: none.
        failing: Statuses of the next answers, whatever is asked.
    """

    def __init__(self) -> None:
        self.collections: dict[str, dict[str, Any]] = {}
        self.items: dict[str, dict[str, dict[str, Any]]] = {}
        self.requests: list[tuple[str, str]] = []
        self.token: str | None = None
        self.failing: list[int] = []

    def collection(self, collection_id: str) -> dict[str, Any]:
        if collection_id not in self.collections:
            raise NotFoundError(f"There is no collection {collection_id}")
        return self.collections[collection_id]


def document_of(model: Any) -> dict[str, Any]:
    """What was sent, as JSON."""
    document: dict[str, Any] = model.model_dump(mode="json", exclude_unset=True)
    return document


class Reader(BaseCoreClient):
    """The reading side."""

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__()
        self.catalogue = catalogue

    def all_collections(self, **kwargs: Any) -> Any:
        return {"collections": list(self.catalogue.collections.values()), "links": []}

    def get_collection(self, collection_id: str, **kwargs: Any) -> Any:
        return self.catalogue.collection(collection_id)

    def item_collection(self, collection_id: str, *arguments: Any, **kwargs: Any) -> Any:
        self.catalogue.collection(collection_id)
        return {
            "type": "FeatureCollection",
            "features": list(self.catalogue.items[collection_id].values()),
            "links": [],
        }

    def get_item(self, item_id: str, collection_id: str, **kwargs: Any) -> Any:
        self.catalogue.collection(collection_id)
        if item_id not in self.catalogue.items[collection_id]:
            raise NotFoundError(f"There is no item {item_id}")
        return self.catalogue.items[collection_id][item_id]

    def get_search(self, *arguments: Any, **kwargs: Any) -> Any:
        return self.post_search(None)

    def post_search(self, search_request: Any, **kwargs: Any) -> Any:
        found = [item for items in self.catalogue.items.values() for item in items.values()]
        return {"type": "FeatureCollection", "features": found, "links": []}


class Writer(BaseTransactionsClient):
    """The writing side, as the Transaction extension has it."""

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__()
        self.catalogue = catalogue

    def create_collection(self, collection: Any, **kwargs: Any) -> Any:
        document = document_of(collection)
        if document["id"] in self.catalogue.collections:
            raise ConflictError(f"There is a collection {document['id']}")
        self.catalogue.items[document["id"]] = {}
        self.catalogue.collections[document["id"]] = document
        return document

    def update_collection(self, collection_id: str, collection: Any, **kwargs: Any) -> Any:
        self.catalogue.collection(collection_id)
        self.catalogue.collections[collection_id] = document_of(collection)
        return self.catalogue.collections[collection_id]

    def create_item(self, collection_id: str, item: Any, **kwargs: Any) -> Any:
        self.catalogue.collection(collection_id)
        document = document_of(item)
        new = document["features"] if document["type"] == "FeatureCollection" else [document]
        kept = self.catalogue.items[collection_id]
        if known := [one["id"] for one in new if one["id"] in kept]:
            raise ConflictError(f"There are items {', '.join(known)}")
        kept |= {one["id"]: one for one in new}
        return None if document["type"] == "FeatureCollection" else document

    def update_item(self, collection_id: str, item_id: str, item: Any, **kwargs: Any) -> Any:
        kept = self.catalogue.items[collection_id]
        if item_id not in kept:
            raise NotFoundError(f"There is no item {item_id}")
        kept[item_id] = document_of(item)
        return kept[item_id]

    def patch_item(self, *arguments: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def delete_item(self, item_id: str, collection_id: str, **kwargs: Any) -> Any:
        return self.catalogue.items[collection_id].pop(item_id)

    def patch_collection(self, *arguments: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def delete_collection(self, collection_id: str, **kwargs: Any) -> Any:
        self.catalogue.items.pop(collection_id)
        return self.catalogue.collections.pop(collection_id)


def application(catalogue: Catalogue) -> Any:
    """The ASGI application."""
    settings = ApiSettings(
        stac_fastapi_title="Example", stac_fastapi_description="In memory", stac_fastapi_landing_id="example"
    )
    extensions = [TransactionExtension(client=Writer(catalogue), settings=settings)]
    app = StacApi(settings=settings, client=Reader(catalogue), extensions=extensions).app

    @app.middleware("http")
    async def guarded(request: Request, call_next: Any) -> Response:
        catalogue.requests.append((request.method, request.url.path))
        if catalogue.failing:
            return Response("busy", catalogue.failing.pop(0))
        is_allowed = catalogue.token is None or request.headers.get("Authorization") == f"Bearer {catalogue.token}"
        if request.method != "GET" and not is_allowed:
            return Response("who are you?", 401)
        answer: Response = await call_next(request)
        return answer

    return app


@contextmanager
def serving_api() -> Iterator[tuple[str, Catalogue]]:
    """Serve an empty catalogue on 127.0.0.1: its URL, and the catalogue."""
    catalogue, port = Catalogue(), free_port()
    server = uvicorn.Server(uvicorn.Config(application(catalogue), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            thread.join(0.02)
        yield f"http://127.0.0.1:{port}", catalogue
    finally:
        server.should_exit = True
        thread.join(10)
