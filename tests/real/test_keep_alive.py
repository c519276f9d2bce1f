"""Keep-alive connections of a real uvicorn: no request sees the user of the one before.

asyncio copies the context where it resumes reading a body, and the connection's next
request begins in that copy (python/cpython#140947); a pipelined request begins in the
context of the `send` before it. In the same rounds a variable that is only set and reset
is seen to leak: a scope could have.
"""

from __future__ import annotations

import inspect
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle, product
from typing import Any, NamedTuple

import pytest
import uvicorn

from tests.real.keep_alive_app import Site
from tests.real.uvicorn_server import SERVERS, Server, serve_uvicorn
from trubrics_trace import PromptRecord

pytestmark = pytest.mark.timeout(300)  # 200 rounds, also on a busy machine

ROUNDS = 200
SIZES_BYTES = [1_000, 70_000, 100_000, 1_000_000]
WRITE_BYTES = 8_192  # small, so that the server reads in many parts
PAUSED_BYTES = 96_000  # more than uvicorn keeps in memory: 64 KiB, and what is on its way
PLACES = ["endpoint", "decorated", "task", "thread"]

# After which answers a call that goes on is still the user's: there the scope is open, or
# a run is live that began in it, as LangChain tells of by itself from Python 3.11 on.
EVERY = {"nothing", "task", "background"}
GOES_ON = {
    "middleware": {"background"},
    "decorator": {"background"},
    "scope": set[str](),
    "own-middleware": {"background"},
    "dependency": {"background"},
    "detached": EVERY,
    "detached-run": EVERY if sys.version_info >= (3, 11) else set[str](),
}


class Connection:
    """A keep-alive connection of a client that may ask before it has been answered."""

    def __init__(self, site: Site, address: tuple[str, int]) -> None:
        self._site = site
        self._socket = socket.create_connection(address, timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")

    def post(self, path: str, user: str | None = None, size: int = 0) -> None:
        """Send a request whose body has that many bytes, in small writes."""
        named = "" if user is None else f"x-user-id: {user}\r\n"
        head = (
            f"POST {path} HTTP/1.1\r\nhost: here\r\n{named}content-length: {size}\r\n\r\n"
        )
        self._socket.sendall(head.encode())
        for sent in range(0, size, WRITE_BYTES):
            if sent > PAUSED_BYTES:
                self._site.sent.add(user)
            self._socket.sendall(b"x" * min(WRITE_BYTES, size - sent))
        self._site.sent.add(user)

    def answer(self) -> Any:
        """Return the next answer, read as JSON."""
        status = self._answers.readline()
        assert status.startswith(b"HTTP/1.1 200 "), status
        length = 0
        while line := self._answers.readline().strip().lower():
            name, _, value = line.partition(b":")
            length = int(value) if name == b"content-length" else length
        return json.loads(self._answers.read(length))

    def close(self) -> None:
        """Hang up."""
        self._answers.close()
        self._socket.close()


class Round(NamedTuple):
    """The first request of a connection, and how and where the next one asks."""

    user: str
    size: int
    after: str
    place: str
    is_pipelined: bool


def rounds() -> list[Round]:
    """Return the rounds: every size with every other kind, again and again."""
    kinds = cycle(product(SIZES_BYTES, sorted(EVERY), PLACES, [False, True]))
    return [Round(f"user-{number}", *next(kinds)) for number in range(ROUNDS)]


@pytest.fixture(params=SERVERS, ids="-".join)
def server(request: pytest.FixtureRequest) -> Server:
    """Return each of the servers in turn."""
    kind: Server = request.param
    return kind


@contextmanager
def serving(
    site: Site, server: Server, **options: Any
) -> Iterator[Callable[[], Connection]]:
    """Yield what opens a connection to the site; in the end, each has its work done."""
    with serve_uvicorn(site, server, **options) as address, ExitStack() as opened:

        def connect() -> Connection:
            connection = Connection(site, address)
            opened.callback(connection.close)
            return connection

        yield connect
        until = time.monotonic() + 60
        while len(site.ended) < len(site.begun):
            assert time.monotonic() < until, "waited 60 s for what goes on"
            time.sleep(0.001)


def asked(
    site: Site, connection: Connection, first: str, one: Round
) -> tuple[str | None, list[str | None]]:
    """Let a user ask, then nobody; return whom the control and the scope tell of."""
    connection.post(f"/{first}/{one.after}", one.user, one.size)
    if not one.is_pipelined:
        assert 42 == connection.answer()
    connection.post(f"/ask/{one.place}")
    if one.is_pipelined:
        assert 42 == connection.answer()
    told = connection.answer()
    return told["control"], told["scope"]


def users_of(prompts: list[PromptRecord]) -> Counter[str | None]:
    """Return how many calls each has made; fails where a prompt tells of another."""
    said = {(record.user_id, record.prompt) for record in prompts}
    assert {(user, f"I am {user or 'nobody'}") for user, _ in said} == said
    return Counter(record.user_id for record in prompts)


@pytest.mark.parametrize("way", GOES_ON)
def test_next_request_is_nobodys(
    server: Server, captured_prompts: list[PromptRecord], way: str
) -> None:
    """A connection's next request is nobody's, whatever still goes on of the one before."""
    site, leaked = Site(), Counter[str]()
    with serving(site, server) as connect:
        for one in rounds():
            connection = connect()
            control, scope = asked(site, connection, way, one)
            leaked["pipelined" if one.is_pipelined else "in turn"] += control is not None
            leaked["scope"] += scope != ([None] if one.place == "decorated" else [])
            connection.close()
            site.released.add(one.user)

    assert leaked["pipelined"] > 0
    assert server.copies_contexts == (leaked["in turn"] > 0)
    assert 0 == leaked["scope"]
    calls = Counter[str | None](one.user for one in rounds())
    calls.update(one.user for one in rounds() if one.after in GOES_ON[way])
    calls[None] = sum(one.place == "decorated" for one in rounds())
    assert calls == users_of(captured_prompts)


def test_middleware_after_requests_outside_it(
    server: Server, captured_prompts: list[PromptRecord]
) -> None:
    """What a request outside the middleware left behind is not seen inside it."""
    site, leaked = Site(), 0
    with serving(site, server) as connect:
        for one in rounds():
            connection = connect()
            connection.post("/own-middleware/background", one.user, one.size)
            assert 42 == connection.answer()
            for user in (None, "bob", None):
                connection.post(f"/doored-ask/{one.place}", user)
                told = connection.answer()
                leaked += told["control"] == one.user
                assert [user] == told["scope"], one
            connection.close()
            site.released.add(one.user)

    assert server.copies_contexts == (leaked > 0)
    calls = Counter[str | None]({None: 2 * ROUNDS, "bob": ROUNDS})
    calls.update(2 * [one.user for one in rounds()])
    assert calls == users_of(captured_prompts)


@pytest.mark.skipif(
    "reset_contextvars" not in inspect.signature(uvicorn.Config).parameters,
    reason="this uvicorn has no reset_contextvars",
)
@pytest.mark.parametrize(
    "way", ["own-middleware", "dependency", "detached", "detached-run"]
)
def test_reset_contextvars(
    server: Server, captured_prompts: list[PromptRecord], way: str
) -> None:
    """With uvicorn's `reset_contextvars` no request sees anything of the one before."""
    site = Site()
    with serving(site, server, reset_contextvars=True) as connect:
        for one in rounds():
            connection = connect()
            nothing = (None, [None] if one.place == "decorated" else [])
            assert nothing == asked(site, connection, way, one), one
            connection.close()
            site.released.add(one.user)

    assert {one.user for one in rounds()} | {None} == set(users_of(captured_prompts))
