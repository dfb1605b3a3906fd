"""A client's own server, which is called back."""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4


@dataclass(frozen=True)
class Call:
    """A call as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """
    A client's server. The first part of the path says how it answers: ``200``, ``500-then-200``, ``never``…

    Attributes:
        calls: What arrived, in order.
        most_at_once: How many calls it was answering at the same time.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.headers: dict[str, str] = {}
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self.closing = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                call = Call(self.path, dict(self.headers), body)
                with receiver._lock:
                    receiver.calls.append(call)
                    receiver._at_once += 1
                    receiver.most_at_once = max(receiver.most_at_once, receiver._at_once)
                try:
                    receiver.answer(self, len(receiver.at(self.path)))
                finally:
                    with receiver._lock:
                        receiver._at_once -= 1

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def at(self, path: str) -> list[Call]:
        return [call for call in list(self.calls) if call.path == path]

    def answer(self, handler: BaseHTTPRequestHandler, number: int) -> None:
        behaviour = handler.path.split("/")[1]
        if behaviour == "never":
            self.closing.wait(30)
            return
        if behaviour == "endless":
            handler.send_response(200)
            handler.end_headers()
            while not self.closing.is_set():
                try:
                    handler.wfile.write(b"\xff<garbage>" * 10_000)
                except OSError:
                    return
        if behaviour == "nonsense":
            handler.wfile.write(b"\x00\x01 this is no HTTP\r\n\r\n")
            return
        if behaviour == "redirect":
            handler.send_response(307)
            handler.send_header("Location", f"{self.url}/200/redirected")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        statuses = [int(status) for status in behaviour.split("-then-")]
        handler.send_response(statuses[min(number, len(statuses)) - 1])
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def path(self, behaviour: str) -> str:
        """A new path with that behaviour, and with a secret in it."""
        return f"/{behaviour}/{uuid4().hex}?token=s3cr3t"

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
