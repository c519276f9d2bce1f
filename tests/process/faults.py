"""A loopback server as strict as may be, the faults on the way to it, and the law after."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from trubrics_trace.delivery._census import take_census
from trubrics_trace.testing import IngestionServer

Event = dict[str, Any]
Answer = tuple[int, bytes, Mapping[str, str]]
Verdict = Callable[[list[Event], int], "tuple[int, Any] | None"]
Break = Literal["unread", "within", "after"]


class FaultyServer(IngestionServer):
    """The ingestion API; it takes no NaN, no lone surrogate and no NUL.

    Attributes:
        arrivals: When each request had arrived, on the monotonic clock.
        seen: Each event of each request, whatever it was answered, with the key it bore.
        connections: How many connections were made.
        breaks: What becomes of the next requests: the connection is reset before they are
            read, or, once they are stored, within the answer or instead of it.
        verdict: What it refuses: given the events of a request and its size in bytes, a
            status and a detail; None refuses nothing.
        delay: Seconds that each answer takes.
        api_keys: Further keys that it takes.
    """

    def __init__(self, api_key: str = "test-key") -> None:
        super().__init__(api_key)
        self.arrivals: list[float] = []
        self.seen: list[tuple[str | None, Event]] = []
        self.connections = 0
        self.breaks: deque[Break] = deque()
        self.verdict: Verdict | None = None
        self.delay = 0.0
        self.api_keys: set[str] = set()

    @property
    def duplicates(self) -> int:
        """How many events it has stored more than once, each time counted."""
        return self.record_ids.total() - len(self.record_ids)

    def answer(self, path: str, key: str | None, body: bytes) -> Answer:
        """Return status, body and headers for one request."""
        self.arrivals.append(time.monotonic())
        try:
            events = json.loads(body, parse_constant=_refuse)
            said = json.dumps(events, ensure_ascii=False).encode()
        except ValueError:  # a lone surrogate's error is one too
            return self._told(422, "no JSON that everybody can read")
        self.seen.extend((key, event) for event in events)
        if b"\\u0000" in said:
            return self._told(422, "a NUL")
        refusal = self.verdict(events, len(body)) if self.verdict else None
        if refusal is not None:
            return self._told(*refusal)
        return super().answer(path, self.api_key if key in self.api_keys else key, body)

    def _told(self, status: int, detail: Any) -> Answer:
        self.requests[status] += 1
        return status, json.dumps({"detail": detail}).encode(), {}


@contextmanager
def serve_faulty(url: str = "http://127.0.0.1:0") -> Iterator[FaultyServer]:
    """Serve the ingestion API at a loopback URL, to be given faults while it is served."""
    server = FaultyServer()

    class Request(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept alive
        wbufsize = -1  # an answer is one packet

        def setup(self) -> None:
            super().setup()
            server.connections += 1

        def do_POST(self) -> None:
            broken = server.breaks.popleft() if server.breaks else None
            if broken == "unread":
                self.reset()
                return
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, content, headers = server.answer(
                self.path, self.headers["x-api-key"], body
            )
            time.sleep(server.delay)
            if broken == "after":
                self.reset()
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if broken else content)
            if broken:
                self.wfile.flush()
                self.reset()

        def reset(self) -> None:
            """Let the connection end as a process that was killed would end it."""
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.connection.close()

        def log_message(self, *_: object) -> None:
            """Say nothing: a test has output of its own."""

    with _Server(("127.0.0.1", int(url.rsplit(":", 1)[1])), Request) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def settled_in(spool_dir: Path) -> int:
    """Return how many records a spool has ever stored; fails unless none of them waits.

    Fails also where the law does not hold, read from the files alone.
    """
    census = take_census(spool_dir)
    assert all(one.is_balanced for one in census), census
    assert 0 == sum(one.pending for one in census), census
    return sum(one.stored for one in census)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away."""


def _refuse(constant: str) -> None:
    raise ValueError(constant)
