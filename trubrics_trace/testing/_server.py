"""A loopback server that speaks the ingestion API as strictly as it may.

It refuses what the real one refuses (`docs/wire.md`), counts what it was given by
`record_id`, and can be told to answer worse than any real one should.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_ENDPOINTS = {
    "/publish_llm_events": ("user_id", "prompt", "generation"),
    "/publish_events": ("user_id", "event", "timestamp"),
}
_MAX_BATCH = 100


class IngestionServer:
    """What the server was sent, and what it will answer. Safe under threads.

    Attributes:
        url: The host to give to `configure`.
        api_key: The only key that is not answered 401.
        events: Each accepted event, in the wire's own words, in order of arrival.
        record_ids: How often each `record_id` was accepted; twice is a duplicate.
        requests: How many requests came, by status answered.

    Example:
        >>> from trubrics_trace import configure, shutdown, track_event
        >>> from trubrics_trace.testing import IngestionServer, serve_ingestion
        >>> def users_at(server: IngestionServer) -> list[str]:
        ...     return [event["user_id"] for event in server.events]
        >>> with serve_ingestion() as server:
        ...     _ = configure(api_key=server.api_key, host=server.url)
        ...     track_event("Signed up", user_id="alice")
        ...     _ = shutdown()
        ...     users_at(server)
        ['alice']
    """

    def __init__(self, api_key: str) -> None:
        self.api_key = api_key
        self.url = ""
        self.events: list[dict[str, Any]] = []
        self.record_ids: Counter[str] = Counter()
        self.requests: Counter[int] = Counter()
        self._answers: deque[tuple[int, bytes, Mapping[str, str]]] = deque()
        self._lock = threading.Lock()

    def answer_next(
        self,
        status: int,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        times: int = 1,
    ) -> None:
        """Answer the next requests like this, and store nothing of what they hold.

        Args:
            body: Bytes as they are; anything else as JSON.
        """
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        with self._lock:
            self._answers.extend([(status, content, dict(headers or {}))] * times)

    def answer(
        self, path: str, key: str | None, body: bytes
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Return status, body and headers for one request."""
        with self._lock:
            if self._answers:
                status, content, headers = self._answers.popleft()
            else:
                status, said = self._store(path, key, body)
                content, headers = json.dumps(said).encode(), {}
            self.requests[status] += 1
            return status, content, headers

    def _store(self, path: str, key: str | None, body: bytes) -> tuple[int, Any]:
        required = next(
            (names for end, names in _ENDPOINTS.items() if path.endswith(end)), None
        )
        if required is None:
            return 404, {"detail": "Not Found"}
        if key != self.api_key:
            return 401, {"detail": "Invalid API key"}
        try:
            events = json.loads(body)
        except ValueError:
            return 422, {"detail": "The body is no JSON"}
        if not isinstance(events, list) or not 1 <= len(events) <= _MAX_BATCH:
            return 422, {"detail": f"A batch holds 1 to {_MAX_BATCH} events"}
        problems = [
            {"loc": ["body", index, name], "msg": "a string is required"}
            for index, event in enumerate(events)
            for name in required
            if not _is_text(event.get(name) if isinstance(event, dict) else None)
        ]
        problems += [
            {"loc": ["body", index, "properties"], "msg": "an object is required"}
            for index, event in enumerate(events)
            if isinstance(event, dict)
            and not isinstance(event.get("properties"), (dict, type(None)))
        ]
        if problems:
            return 422, {"detail": problems}
        self.events.extend(events)
        self.record_ids.update(
            (event.get("properties") or {}).get("record_id", "none") for event in events
        )
        return 200, {"status": "success"}

    def __repr__(self) -> str:
        return f"<IngestionServer at {self.url}, {len(self.events)} events>"


@contextmanager
def serve_ingestion(api_key: str = "test-key") -> Iterator[IngestionServer]:
    """Serve the ingestion API on a free port of 127.0.0.1 during the block.

    Example:
        >>> from trubrics_trace.testing import serve_ingestion
        >>> with serve_ingestion() as server:
        ...     server.url.startswith("http://127.0.0.1:"), server.events
        (True, [])
    """
    server = IngestionServer(api_key)
    with _HttpServer(server) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(
            target=http.serve_forever, args=(0.01,), name="ingestion", daemon=True
        )
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, ingestion: IngestionServer) -> None:
        self.ingestion = ingestion
        super().__init__(("127.0.0.1", 0), _Request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away."""


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept alive
    wbufsize = -1  # an answer is one packet: two would wait for each other
    server: _HttpServer

    def do_POST(self) -> None:
        """Answer as the ingestion API does, and keep the connection."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, content, headers = self.server.ingestion.answer(
            self.path, self.headers.get("x-api-key"), body
        )
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing: a test has output of its own."""


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
