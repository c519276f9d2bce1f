"""A loopback server of the ingestion API that fails as it is told to.

It runs in a process of its own (`service.py`), so that what an app's process costs is
measured alone, takes its orders on a pipe, and ends with the process that started it.

    with serving() as server:
        server.answer(503, times=3)
        ...
        server.seen().duplicates

A poisoned event, a body that is too long and a wrong key are answered as they stand; any
other fault takes the next requests, the oldest fault first, until its `times` or `seconds`
are over, or until `be_well`.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

KEY = "test-key"
HTML = b"<html><body>Sign in to the wireless network</body></html>"
TRUNCATED_GZIP = gzip.compress(b'{"detail": "none"}' * 50)[:-20]

Moment = Literal["before", "within", "after", "stored"]


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One request as it came.

    Attributes:
        at: When its head had come, by `time.monotonic`, which processes share.
        connection: Which connection it came on, counted from 1.
        events: How many events it held; -1 for one that was not read, or is no batch.
        status: What it was answered; 0 for nothing.
        key: Its `x-api-key`.
    """

    at: float
    connection: int
    events: int
    status: int
    key: str


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What a server has seen up to a moment.

    Attributes:
        events: How often each event was stored, by what it is called (its `event`, or
            its `prompt`) and its `record_id`.
        first_at: When each was first stored, by what it is called.
        requests: Each request, in order of arrival.
        connections: How many connections were made.
        most_connections: How many of them were open at once.
    """

    events: Counter[tuple[str, str]]
    first_at: dict[str, float]
    requests: list[Request]
    connections: int
    most_connections: int

    @property
    def names(self) -> set[str]:
        """What was stored, by what it is called."""
        return set(self.first_at)

    @property
    def duplicates(self) -> int:
        """How many events were stored more than once, counted each time."""
        return self.events.total() - len(self.names)

    @property
    def renamed(self) -> int:
        """How many came again under another `record_id`: there should be none."""
        return len(self.events) - len(self.names)

    @property
    def empty_requests(self) -> int:
        """How many requests held no event."""
        return sum(one.events == 0 for one in self.requests)


class FaultServer:
    """A server in a process of its own, and the orders that it takes."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.service"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._speaking = threading.Lock()
        port = self._order("port")
        self.url = f"http://127.0.0.1:{port}"

    def down(self, seconds: float | None = None) -> None:
        """Refuse connections and close those that are open; the port is kept."""
        self._order("down", seconds=seconds)

    def up(self) -> None:
        """Take connections again."""
        self._order("up")

    def hang(self, *, times: int | None = None, seconds: float | None = None) -> None:
        """Read requests, store nothing, never answer."""
        self._fault("hang", times, seconds)

    def reset(
        self, moment: Moment, *, times: int | None = None, seconds: float | None = None
    ) -> None:
        """Reset connections: `before` reading, or `stored` and without an answer.

        `within` an answer and `after` it the events are stored too.
        """
        self._fault("reset", times, seconds, moment=moment)

    def delay(
        self, by: float, *, times: int | None = None, seconds: float | None = None
    ) -> None:
        """Store at once, and answer well `by` seconds later."""
        self._fault("delay", times, seconds, by=by)

    def answer(
        self,
        status: int,
        body: bytes = b'{"detail": "none"}',
        headers: Mapping[str, str] | None = None,
        *,
        times: int | None = None,
        seconds: float | None = None,
    ) -> None:
        """Store nothing, and answer this."""
        told = base64.b64encode(body).decode()
        self._fault(
            "answer", times, seconds, status=status, body=told, headers=dict(headers or {})
        )

    def poison(self, word: str, *, is_named: bool) -> None:
        """Answer 422 to a batch with an event whose name holds the word.

        `is_named`: the answer says which event it is, as FastAPI would.
        """
        self._order("poison", word=word, is_named=is_named)

    def limit(self, max_bytes: int | None) -> None:
        """Answer 413 to a longer body."""
        self._order("limit", max_bytes=max_bytes)

    def accept_key(self, key: str | None) -> None:
        """Answer 401 to any other key; None: take any."""
        self._order("key", key=key)

    def be_well(self) -> None:
        """Be up, and take back whatever was ordered."""
        self._order("be_well")

    def forget(self) -> None:
        """Forget what was seen."""
        self._order("forget")

    def stored(self) -> int:
        """Return how many different events were stored."""
        return int(self._order("stored"))

    def seen(self) -> Seen:
        """Return all that was seen."""
        told = self._order("seen")
        return Seen(
            events=Counter({(name, id_): times for name, id_, times in told["events"]}),
            first_at=told["first_at"],
            requests=[Request(*one) for one in told["requests"]],
            connections=told["connections"],
            most_connections=told["most_connections"],
        )

    def wait_for(self, events: int, timeout: float) -> float:
        """Wait until that many different events are stored; return the seconds waited."""
        started = time.monotonic()
        while self.stored() < events and time.monotonic() < started + timeout:
            time.sleep(0.02)
        return time.monotonic() - started

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _fault(
        self, kind: str, times: int | None, seconds: float | None, **said: Any
    ) -> None:
        self._order("fault", kind=kind, times=times, seconds=seconds, said=said)

    def _order(self, do: str, **said: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._speaking:
            self._process.stdin.write(json.dumps({"do": do, **said}).encode() + b"\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())


@contextmanager
def serving() -> Iterator[FaultServer]:
    """Serve on a port of 127.0.0.1 of its own during the block."""
    server = FaultServer()
    try:
        yield server
    finally:
        server.stop()
