"""A real uvicorn in a thread of its own, for as long as a block runs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import uvicorn


class Server(NamedTuple):
    """What a uvicorn runs on: an event loop, and what reads HTTP for it."""

    loop: Any
    http: Any

    @property
    def copies_contexts(self) -> bool:
        """Whether reading that was paused resumes in the context of who resumed it.

        asyncio's own loop does (python/cpython#140947); uvloop keeps the connection's.
        """
        return bool(self.loop == "asyncio")


SERVERS = [
    Server("asyncio", "h11"),
    Server("asyncio", "httptools"),
    Server("uvloop", "httptools"),
]


@contextmanager
def serve_uvicorn(app: Any, server: Server, **options: Any) -> Iterator[tuple[str, int]]:
    """Serve an ASGI app on a free port of 127.0.0.1; yields the address."""
    for module in server:
        pytest.importorskip(module)  # neither uvloop nor httptools is for Windows
    # Named as TCP, or asyncio would leave Nagle's algorithm on: 40 ms an answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    running = uvicorn.Server(
        uvicorn.Config(
            app,
            http=server.http,
            lifespan="off",
            log_level="warning",
            loop=server.loop,
            timeout_graceful_shutdown=5,
            **options,
        )
    )
    thread = threading.Thread(
        target=running.run, kwargs={"sockets": [listener]}, daemon=True
    )
    thread.start()
    try:
        until = time.monotonic() + 30
        while not running.started:
            assert thread.is_alive(), "uvicorn has ended before it began"
            assert time.monotonic() < until, "waited 30 s for uvicorn"
            time.sleep(0.001)
        yield listener.getsockname()
    finally:
        running.should_exit = True
        thread.join(30)
        listener.close()
