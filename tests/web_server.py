"""Web servers for tests that answer whatever a test wants, however wrong."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Answering:
    """
    A server that answers each request with bytes of the test's choice.

    Attributes:
        requests: Request lines and headers, as they came.
        is_left: Set when a client left before it had the whole answer.
        url: Of something on it.
    """

    def __init__(self, answer: Callable[[Callable[[bytes], None]], None]) -> None:
        outer = self
        self.requests: list[str] = []
        self.is_left = threading.Event()

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += self.rfile.readline()
                outer.requests.append(head.decode())
                # the client may leave in the middle
                with suppress(OSError):
                    answer(self.request.sendall)
                    return
                outer.is_left.set()

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/data"


@contextmanager
def answering(answer: bytes | Callable[[Callable[[bytes], None]], None]) -> Iterator[Answering]:
    whole = answer
    answers = Answering((lambda send: send(whole)) if isinstance(whole, bytes) else whole)
    thread = threading.Thread(target=answers.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield answers
    finally:
        answers.server.shutdown()
        answers.server.server_close()
        thread.join()


def response(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
