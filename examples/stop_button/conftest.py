"""The chat on a port of its own, for as long as a test."""

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn

from examples.stop_button.app import app


@pytest.fixture
def url() -> Iterator[str]:
    """Serve the app by a real uvicorn: only that notices who leaves."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        serving.start()
        yield "http://{}:{}".format(*listener.getsockname())
        server.should_exit = True
        serving.join()
