"""Connections whose answers are read within a deadline, however they drip.

The timeouts of requests bound each read, not all of them together: a server that sends a
byte of a header every few seconds would hold the thread for ever. Here every read of an
answer waits only as long as the whole request may still take. This is the door of urllib3,
on which requests stands.
"""

from __future__ import annotations

import http.client
import io
import logging
import queue
import socket
from collections.abc import Callable, Mapping
from typing import Any

from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import ConnectTimeoutError

from .. import _clock
from ._transport import THREAD_NAME


class Deadline:
    """The moment by which the request that is under way must be over."""

    def __init__(self, clock: Callable[[], float] = _clock.monotonic) -> None:
        self._clock = clock
        self._until = 0.0

    def begin(self, seconds: float) -> None:
        """Let another request begin, which may take so long."""
        self._until = self._clock() + seconds

    def seconds_left(self) -> float:
        """Return how long the request may still take.

        Raises:
            TimeoutError: It has taken too long.
        """
        left = self._until - self._clock()
        if left <= 0:
            message = "the answer takes too long"
            raise TimeoutError(message)
        return left


class _Unlocked(queue.LifoQueue[Any]):
    """A pool's connections: no lock that a child could inherit held.

    urllib3 empties its pools when the interpreter ends, also in a forked child; where the
    parent's sender held this lock at the fork, that child would wait for ever.
    """

    def get(self, *_: object, **__: object) -> Any:
        """Take a connection out, at once or not at all."""
        if not self.queue:
            raise queue.Empty
        return self.queue.pop()

    def put(self, item: Any, *_: object, **__: object) -> None:
        """Put a connection back, at once or not at all."""
        if len(self.queue) >= self.maxsize:
            raise queue.Full
        self.queue.append(item)


def pools_within(
    deadline: Deadline, pools: Mapping[str, type[HTTPConnectionPool]]
) -> dict[str, type[HTTPConnectionPool]]:
    """Return pools like these, by scheme, whose connections know the deadline."""
    logging.getLogger("urllib3.connectionpool").addFilter(_is_not_ours)

    class Response(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            self.fp = io.BufferedReader(_Reader(self.fp, sock, deadline))

    def within(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
        connection: type[Any] = pool.ConnectionCls

        def send(self: Any, data: Any) -> None:
            if self.sock is None:
                self.connect()
            # Else a large body would have to be on its way within the connect timeout.
            self.sock.settimeout(deadline.seconds_left())
            connection.send(self, data)

        ours = {"response_class": Response, "send": send}
        patient = type(connection.__name__, (connection,), ours)
        own = {"ConnectionCls": patient, "QueueCls": _Unlocked}
        return type(pool.__name__, (pool,), own)

    # Also those of a SOCKS proxy, which are its way there.
    return {scheme: within(pool) for scheme, pool in pools.items()}


def was_heard(error: BaseException) -> bool:
    """Whether a server may have heard the request that failed so."""
    causes = [error, *error.args, *(getattr(one, "reason", None) for one in error.args)]
    return not any(isinstance(one, ConnectTimeoutError) for one in causes)


def _is_not_ours(said: logging.LogRecord) -> bool:
    """Whether the app may have asked for this: not in a thread of ours.

    Besides, a child that is forked while a thread writes to a stream that Python buffers
    inherits that stream's lock, and hangs when it logs in turn.
    """
    return not (said.threadName or "").startswith(THREAD_NAME)


class _Reader(io.RawIOBase):
    """An answer's bytes, each waited for as long as there is time."""

    def __init__(self, answer: Any, sock: socket.socket, deadline: Deadline) -> None:
        self._answer = answer
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        """Tell `io` that it can be read; what can be written to it is not asked."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what there is, waiting no longer than the deadline lets."""
        self._sock.settimeout(self._deadline.seconds_left())
        read: int = self._answer.raw.readinto(buffer)
        return read

    def close(self) -> None:
        """Close the answer with its reader: the connection may be used again."""
        self._answer.close()
        super().close()
