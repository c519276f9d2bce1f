"""Real servers on loopback, each in a thread of its own, for as long as a test runs."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import pytest
import uvicorn

Serve = Callable[[Any], str]

# What uvicorn runs on by itself, and what it runs on in production.
LOOPS = [("asyncio", "h11"), ("uvloop", "httptools")]


@pytest.fixture(params=LOOPS, ids="-".join)
def serve_asgi(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """Serve ASGI apps with uvicorn; each call gives the address of one more."""
    loop, http = request.param
    with ExitStack() as servers:
        yield lambda app: servers.enter_context(_uvicorn(app, loop, http))


@pytest.fixture
def serve_wsgi() -> Iterator[Serve]:
    """Serve WSGI apps with wsgiref, a thread a connection."""
    with ExitStack() as servers:
        yield lambda app: servers.enter_context(_wsgiref(app))


@contextmanager
def _uvicorn(app: Any, loop: Any, http: Any) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=http,
        lifespan="off",
        log_level="warning",
        loop=loop,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, daemon=True
    )
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.001)
        yield "http://{}:{}".format(*listener.getsockname())
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


@contextmanager
def _wsgiref(app: Any) -> Iterator[str]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.set_app(app)
    thread = threading.Thread(target=server.serve_forever, args=(0.001,))
    thread.start()
    try:
        yield "http://{}:{}".format(*server.server_address)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingMixIn, WSGIServer):
    pass


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Log a request where nobody sees it unless asked."""
        logging.getLogger(__name__).debug(format, *args)
