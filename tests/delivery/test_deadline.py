"""An answer that drips is left at the deadline, wherever it stands."""

from __future__ import annotations

import itertools
import logging
import queue
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import requests
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from tests.delivery.parts import Clock
from tests.delivery.servers import answer
from trubrics_trace import configure, flush, track_event
from trubrics_trace.delivery._deadline import Deadline, pools_within
from trubrics_trace.delivery._http import Connection, NoAnswerError
from trubrics_trace.testing import IngestionServer

ENOUGH_SECONDS = 30.0

HEAD = answer("200 OK", b"", length=100_000)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n"


class TickingClock(Clock):
    """A clock on which seconds pass each time that somebody looks."""

    def __init__(self, tick: float = 1.0) -> None:
        super().__init__()
        self.tick = tick

    def __call__(self) -> float:
        """Let seconds pass, and return the time."""
        self.now += self.tick
        return super().__call__()


@contextmanager
def dripping(at_once: bytes, drops: Iterable[int]) -> Iterator[str]:
    """Serve one answer, its end a byte at a time; return its URL."""

    def drip(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        rhythm = threading.Event()  # never set: it is waited for between two drops
        with accepted, suppress(OSError):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            accepted.recv(65_536)
            accepted.sendall(at_once)
            for drop in drops:
                rhythm.wait(0.002)
                accepted.sendall(bytes([drop]))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread.join()


@pytest.mark.parametrize(
    "at_once",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-Slow: ",
        HEAD,
        CHUNKED,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    ],
    ids=["status", "head", "head after another", "body", "chunk", "body to the end"],
)
def test_answer_that_drips(at_once: bytes) -> None:
    """A server that drips its answer, head or body, is left when the time is over."""
    connection = Connection(Deadline(TickingClock()))
    with dripping(at_once, itertools.repeat(ord("x"))) as url:
        with pytest.raises(NoAnswerError):
            connection.request("POST", url, body=[])
        connection.close()


def test_answer_in_time() -> None:
    """An answer that drips, and is whole before the deadline, is an answer."""
    connection = Connection(Deadline(Clock()))
    with dripping(b"", answer("200 OK", b"{}")) as url:
        assert connection.request("POST", url, body=[]).is_success
        connection.close()


def test_time_that_is_left() -> None:
    """Of a request's time less is left as it passes; when it is over, an error says so."""
    clock = Clock()
    deadline = Deadline(clock)
    deadline.begin(ENOUGH_SECONDS)
    clock.now += 20.0
    assert 10.0 == deadline.seconds_left()
    clock.now += 10.0
    with pytest.raises(TimeoutError, match="takes too long"):
        deadline.seconds_left()
    deadline.begin(ENOUGH_SECONDS)
    assert ENOUGH_SECONDS == deadline.seconds_left()


def test_deadline_before_a_request() -> None:
    """Where no request has begun there is no time for one."""
    with pytest.raises(TimeoutError):
        Deadline(Clock()).seconds_left()


def test_pools_stay_what_they_were() -> None:
    """A pool within a deadline is one of its kind, as is its connection: a proxy's, say."""

    class OwnConnection(HTTPConnection):
        """As one that goes its own way to the server."""

    class OwnPool(HTTPConnectionPool):
        ConnectionCls = OwnConnection

    before: dict[str, type[HTTPConnectionPool]] = {
        "http": OwnPool,
        "https": HTTPSConnectionPool,
    }
    pools = pools_within(Deadline(), before)
    assert before.keys() == pools.keys()
    for scheme, pool in pools.items():
        was: Any = before[scheme].ConnectionCls
        now: Any = pool.ConnectionCls
        assert issubclass(pool, before[scheme])
        assert issubclass(now, was)
        assert now.response_class is not was.response_class


def test_answer_is_closed_with_its_reader() -> None:
    """Who closes an answer closes what it was read from, and nobody reads it any more."""
    [pool] = pools_within(Deadline(), {"http": HTTPConnectionPool}).values()
    connection: Any = pool.ConnectionCls
    ours, theirs = socket.socketpair()
    with ours, theirs:
        response = connection.response_class(ours)
        body = response.fp
        response.close()
        assert body.closed
        with pytest.raises(ValueError, match="closed"):
            body.read()


def test_pool_without_a_lock() -> None:
    """A pool whose lock another holds, as a child may inherit it, can be emptied."""
    connection = Connection()
    adapter = connection._session.get_adapter("http://127.0.0.1")
    pool = adapter.poolmanager.connection_from_url(  # type: ignore[attr-defined]
        "http://127.0.0.1"
    )
    with pool.pool.mutex:
        assert pool.pool.get(block=False) is None
        with pytest.raises(queue.Empty):
            pool.pool.get(block=False)
        pool.pool.put("a connection", block=False)
        with pytest.raises(queue.Full):
            pool.pool.put("another", block=False)
        assert "a connection" == pool.pool.get(block=False)
    connection.close()


def test_our_thread_logs_nothing(
    trubrics_server: IngestionServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What urllib3 says while our thread sends is not the app's, and is not logged."""
    caplog.set_level(logging.DEBUG)
    configure(api_key=trubrics_server.api_key, host=trubrics_server.url)
    track_event("clicked", user_id="alice")
    assert flush(ENOUGH_SECONDS)
    requests.get(trubrics_server.url, timeout=ENOUGH_SECONDS)
    said = [one for one in caplog.records if one.name.startswith("urllib3")]
    assert {threading.current_thread().name} == {one.threadName for one in said}
