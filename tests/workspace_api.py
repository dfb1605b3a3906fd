"""A small workspace API, as EOEPCA's, that a test starts, tells what to do and asks what it was asked."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ACCESS_KEY = "AKIAWORKSPACEOFADA"
SECRET_KEY = "secret key of ada's workspace"
STORAGE = {
    "bucketname": "ws-ada",
    "access": ACCESS_KEY,
    "secret": SECRET_KEY,
    "endpoint": "http://127.0.0.1:9",
    "region": "eu-1",
    "projectid": "project",
}


@dataclass
class Answer:
    """Status, content and headers of an answer."""

    status: int
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, document: Any) -> "Answer":
        return cls(status, json.dumps(document).encode(), {"Content-Type": "application/json"})


@dataclass(frozen=True)
class Call:
    """A request that was made."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class WorkspaceApi:
    """
    Workspaces by name, each with the token of its user and its storage credentials.

    Attributes:
        url: Of the API.
        calls: All requests.
        registered: What was registered, by workspace: each once for each idempotency key.
        next_answers: Given instead of its own, one after the other.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls: list[Call] = []
        self.registered: dict[str, dict[str, Any]] = {}
        self.next_answers: list[Answer] = []
        self.workspaces: dict[str, tuple[str, Any]] = {}

    def add(self, name: str, token: str, storage: Any = STORAGE) -> None:
        self.workspaces[name] = (token, storage)

    def answer(self, call: Call) -> Answer:
        self.calls.append(call)
        if self.next_answers:
            return self.next_answers.pop(0)
        match call.path.strip("/").split("/"):
            case ["workspaces", name]:
                register = False
            case ["workspaces", name, "register"]:
                register = True
            case _:
                return Answer.of(404, {"detail": "no such route"})
        if name not in self.workspaces:
            return Answer.of(404, {"detail": "no such workspace"})
        token, storage = self.workspaces[name]
        if call.headers.get("Authorization") != f"Bearer {token}":
            return Answer.of(401, {"detail": "wrong token"})
        if not register:
            status = "provisioning" if storage is None else "ready"
            return Answer.of(200, {"status": status, "storage": storage and {"credentials": storage}})
        known = self.registered.setdefault(name, {})
        if call.headers["Idempotency-Key"] in known:
            return Answer.of(409, {"detail": "registered already"})
        known[call.headers["Idempotency-Key"]] = call.body
        return Answer.of(202, {"message": "accepted"})


@contextmanager
def workspace_api() -> Iterator[WorkspaceApi]:
    """Serve one on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            answer = api.answer(Call(self.command, self.path, dict(self.headers), body))
            if answer.status == 0:
                # as if the connection was lost
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = respond  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api = WorkspaceApi(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
