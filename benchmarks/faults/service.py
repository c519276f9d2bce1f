"""The process behind `server.py`: answers as it is ordered to, and notes what it saw.

Orders come as JSON lines on standard input, an answer to each goes to standard output; the
process ends with its input.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .connection import Connection
from .server import Request

_MAX_BATCH = 100
_REQUIRED = {
    "/publish_events": ("user_id", "event", "timestamp"),
    "/publish_llm_events": ("user_id", "prompt", "generation"),
}


@dataclasses.dataclass(slots=True)
class Fault:
    """What goes wrong, how often at most, and until when."""

    kind: str
    times: int | None
    until: float | None
    said: Mapping[str, Any]

    @property
    def is_over(self) -> bool:
        """Whether it has happened often or long enough."""
        return self.times == 0 or (self.until is not None and time.monotonic() > self.until)


class Service:
    """The process's one server: what it will do, and what it has seen."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.poison: str | None = None
        self.is_poison_named = False
        self.max_bytes: int | None = None
        self.key: str | None = None
        self.open: set[Connection] = set()
        self._listening: asyncio.Server | None = None
        # Bound and never listening: it keeps the port while the server is down.
        self._keeper = _bound(0)
        self.port = int(self._keeper.getsockname()[1])
        self._orders: Mapping[str, Callable[..., Awaitable[Any]]] = {
            "be_well": self._be_well,
            "down": self._down,
            "fault": self._fault,
            "forget": self._forget,
            "key": self._key,
            "limit": self._limit,
            "poison": self._poison,
            "port": self._port,
            "seen": self._seen,
            "stored": self._stored,
            "up": self.up,
        }
        self.forget()

    def forget(self) -> None:
        """Have seen nothing yet."""
        self.events: Counter[tuple[str, str]] = Counter()
        self.first_at: dict[str, float] = {}
        self.requests: list[Request] = []
        self.connections = 0
        self.most_connections = 0

    async def up(self) -> None:
        """Listen, at the same port as ever."""
        if self._listening is None:
            self._listening = await asyncio.get_running_loop().create_server(
                lambda: Connection(self), sock=_bound(self.port), backlog=512
            )

    def down(self) -> None:
        """Listen no more, and reset whoever is connected."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for connection in list(self.open):
            connection.reset()

    def next_fault(self) -> Fault | None:
        """Return what this request meets; it is counted."""
        self.faults = [fault for fault in self.faults if not fault.is_over]
        if not self.faults:
            return None
        fault = self.faults[0]
        if fault.times is not None:
            fault.times -= 1
        return fault

    def take(
        self, path: str, key: str, size: int, events: list[dict[str, Any]] | None
    ) -> tuple[int, Any]:
        """Store a batch where it may be; return status and answer."""
        if self.key is not None and key != self.key:
            return 401, {"detail": "Invalid API key"}
        if self.max_bytes is not None and size > self.max_bytes:
            return 413, {"detail": "Request Entity Too Large"}
        required = next((_REQUIRED[end] for end in _REQUIRED if path.endswith(end)), None)
        if required is None:
            return 404, {"detail": "Not Found"}
        # What the real one says to an empty batch is not known: here it is counted.
        if events is None or len(events) > _MAX_BATCH:
            return 422, {"detail": f"A batch is an array of at most {_MAX_BATCH} events"}
        names = [str(event.get(required[1])) for event in events]
        problems = self._problems(events, names, required)
        if problems:
            is_told = self.is_poison_named or not self.poison
            return 422, {"detail": problems if is_told else "An event is not valid"}
        self._store(events, names)
        return 200, {"status": "success"}

    def _problems(
        self, events: list[dict[str, Any]], names: list[str], required: tuple[str, ...]
    ) -> list[dict[str, Any]]:
        return [
            {"loc": ["body", index, field], "msg": "a string is required"}
            for index, event in enumerate(events)
            for field in required
            if not isinstance(event.get(field), str)
        ] + [
            {"loc": ["body", index, required[1]], "msg": "it is poisoned"}
            for index, name in enumerate(names)
            if self.poison and self.poison in name
        ]

    def _store(self, events: list[dict[str, Any]], names: list[str]) -> None:
        ids = [
            str((event.get("properties") or {}).get("record_id", "none"))
            for event in events
        ]
        self.events.update(zip(names, ids, strict=True))
        now = time.monotonic()
        for name in names:
            self.first_at.setdefault(name, now)

    async def obey(self, do: str, **said: Any) -> Any:
        """Do as ordered, and return what is told in answer."""
        return await self._orders[do](**said)

    async def _port(self) -> int:
        return self.port

    async def _stored(self) -> int:
        return len(self.first_at)

    async def _seen(self) -> dict[str, Any]:
        return {
            "events": [[*event, times] for event, times in self.events.items()],
            "first_at": self.first_at,
            "requests": [dataclasses.astuple(one) for one in self.requests],
            "connections": self.connections,
            "most_connections": self.most_connections,
        }

    async def _forget(self) -> None:
        self.forget()

    async def _be_well(self) -> None:
        self.faults, self.poison, self.max_bytes, self.key = [], None, None, None
        await self.up()

    async def _down(self, seconds: float | None) -> None:
        self.down()
        if seconds is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(seconds, lambda: loop.create_task(self.up()))

    async def _fault(
        self, kind: str, times: int | None, seconds: float | None, said: Mapping[str, Any]
    ) -> None:
        until = None if seconds is None else time.monotonic() + seconds
        self.faults.append(Fault(kind, times, until, said))

    async def _poison(self, word: str, *, is_named: bool) -> None:
        self.poison, self.is_poison_named = word, is_named

    async def _limit(self, max_bytes: int | None) -> None:
        self.max_bytes = max_bytes

    async def _key(self, key: str | None) -> None:
        self.key = key


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


async def _serve() -> None:
    """Serve and obey until the pipe ends."""
    service = Service()
    await service.up()
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    while line := await orders.readline():
        answer = await service.obey(**json.loads(line))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    service.down()


if __name__ == "__main__":
    asyncio.run(_serve())
