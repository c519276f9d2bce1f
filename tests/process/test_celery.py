"""A real worker with children of its own, behind a real Redis."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.process.program import clean_environment, output_of
from trubrics_trace.testing import IngestionServer

REPOSITORY = Path(__file__).parents[2]
USERS = [f"user-{number}" for number in range(20)]

SENDER = """
    from tests.process.celery_app import answer
    from trubrics_trace import trubrics_scope

    sent = []
    for number in range(20):
        with trubrics_scope(user_id=f"user-{number}", tags=["queued"]):
            sent.append(answer.delay(f"question of user-{number}"))
    print([result.get(timeout=30) for result in sent].count("42"))
    """


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    """Run a command from the repository while the block runs, then end it politely."""
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a Redis of the test's own."""
    redis = shutil.which("redis-server")
    if redis is None:
        pytest.skip("no redis-server here")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [redis, "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    with running(command, clean_environment(tmp_path)):
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
        yield f"redis://127.0.0.1:{port}/0"


def test_every_task_has_its_user(
    broker: str, trubrics_server: IngestionServer, tmp_path: Path
) -> None:
    """What a worker's children ask is delivered once, under who sent the task."""
    known = {
        "BROKER": broker,
        "TRUBRICS_API_KEY": trubrics_server.api_key,
        "TRUBRICS_HOST": trubrics_server.url,
        "TRUBRICS_TRACE_FLUSH_INTERVAL": "0.1",
        "PYTHONPATH": str(REPOSITORY),
    }
    worker = [sys.executable, "-m", "celery", "--app", "tests.process.celery_app"]
    worker += ["worker", "--pool", "prefork", "--concurrency", "2"]
    with running(worker, clean_environment(tmp_path / "spool", **known)):
        assert "20" == output_of(SENDER, tmp_path / "spool", **known)
        until = time.monotonic() + 20
        while len(trubrics_server.events) < len(USERS) and time.monotonic() < until:
            time.sleep(0.01)

    asked = {event["prompt"]: event["user_id"] for event in trubrics_server.events}
    assert {f"question of {user}": user for user in USERS} == asked
    assert {1} == set(trubrics_server.record_ids.values())
