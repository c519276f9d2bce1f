"""Servers that answer as no good server does: loopback, and bytes as they are given."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase


class RawServer:
    """Answers each request with the next of its answers, and the last one for ever.

    Attributes:
        url: Where it is.
        requests: Each request's head and body, as it came.
        connections: How many connections were made.
    """

    def __init__(self, answers: list[bytes]) -> None:
        self.url = ""
        self.requests: list[bytes] = []
        self.connections = 0
        self._answers = answers

    def next_answer(self) -> bytes:
        """Return what the next request is answered."""
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def answer(status: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """Return an HTTP/1.1 answer; `length` is what it says, if not the truth."""
    said = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {said}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@contextmanager
def serve_raw(
    *answers: bytes,
    url: str = "http://127.0.0.1:0",
    before_each: Callable[[], object] = bool,
) -> Iterator[RawServer]:
    """Serve these answers at a loopback URL; an empty one is a connection that closes."""
    server = RawServer(list(answers))

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            server.connections += 1
            while request := _read_request(self.rfile):
                server.requests.append(request)
                before_each()
                said = server.next_answer()
                self.wfile.write(said)
                if not said or b"Connection: close" in said:
                    return

    port = int(url.rsplit(":", 1)[1])
    with _TcpServer(("127.0.0.1", port), Handler) as tcp:
        server.url = f"http://127.0.0.1:{tcp.server_address[1]}"
        thread = threading.Thread(target=tcp.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            tcp.shutdown()
            thread.join()


def unused_url() -> str:
    """Return a loopback URL at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128


def _read_request(stream: BufferedIOBase) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return b""
        head += line
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.lower().splitlines()
            if line.startswith(b"content-length:")
        ),
        0,
    )
    return head + stream.read(length)
