"""Servers that fork after the package was used, and lose workers at any moment."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.delivery.parts import wait_until
from tests.process.faults import serve_faulty, settled_in
from tests.process.program import clean_environment, output_of
from tests.process.test_delivery import destination
from tests.process.test_kills import BATCH, PATIENCE_SECONDS, RUN_2
from trubrics_trace.testing import IngestionServer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")

KILLS = 3
ANSWERS_BETWEEN_KILLS = 40

APP = """
    import os
    from langchain_core.language_models import FakeListChatModel
    from trubrics_trace import track_event, trubrics_scope

    llm = FakeListChatModel(responses=["42"])
    track_event("of the master", user_id="master")

    def app(environ, start_response):
        with trubrics_scope(user_id="alice"):
            llm.invoke(environ["QUERY_STRING"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
    """


@contextmanager
def gunicorn(directory: Path, url: str) -> Iterator[int]:
    """Serve the app from preloaded workers; yield its port. It ends politely."""
    (directory / "app.py").write_text(textwrap.dedent(APP))
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        # A file, since it passes over what this version does not know.
        (directory / "settings.py").write_text(
            f"bind = 'fd://{listener.fileno()}'\n"
            "preload_app, workers, threads = True, 3, 2\n"
            "control_socket_disable = True\n"
        )
        with subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--config", "settings.py", "app:app"],
            cwd=directory,
            env=clean_environment(directory / "spool", **destination(url)),
            pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                yield listener.getsockname()[1]
                process.terminate()
                assert 0 == process.wait(PATIENCE_SECONDS)
            finally:
                process.kill()


def ask(port: int, question: str) -> str | None:
    """Return what a worker answers; None if it was killed before it could."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    with closing(connection), suppress(OSError, HTTPException):
        connection.request("GET", f"/?{question}")
        return connection.getresponse().read().decode()
    return None


@contextmanager
def load(port: int) -> Iterator[dict[str, int]]:
    """Ask from four threads during the block; yield who answered which question."""
    answered: dict[str, int] = {}
    numbers, is_over = itertools.count(), threading.Event()

    def work() -> None:
        while not is_over.is_set():
            question = f"question-{next(numbers)}"
            if pid := ask(port, question):
                answered[question] = int(pid)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def wait_for_more(answered: dict[str, int]) -> None:
    """Wait until some more questions are answered."""
    wanted = len(answered) + ANSWERS_BETWEEN_KILLS
    wait_until(lambda: len(answered) >= wanted, PATIENCE_SECONDS)


def test_workers_that_are_killed(tmp_path: Path) -> None:
    """Each request that was answered has its record, and the master's own arrives once."""
    with serve_faulty() as server:
        server.delay = 0.05
        # The master's own record then waits while its workers are forked.
        server.answer_next(503, headers={"Retry-After": "2"})
        with gunicorn(tmp_path, server.url) as port:
            wait_until(lambda: server.requests[503], PATIENCE_SECONDS)
            with load(port) as answered:
                killed: set[int] = set()
                for _ in range(KILLS):
                    wait_for_more(answered)
                    pids = [pid for pid in answered.values() if pid not in killed]
                    os.kill(pids[-1], signal.SIGKILL)
                    killed.add(pids[-1])
                wait_for_more(answered)
        output_of(RUN_2, tmp_path / "spool", **destination(server.url))
        prompts = {event.get("prompt") for event in server.events}
        assert set() == answered.keys() - prompts
        assert 1 == [event["user_id"] for event in server.events].count("master")
        assert server.duplicates <= KILLS * BATCH
        assert len(server.record_ids) == settled_in(tmp_path / "spool")


def test_forks_under_debug_logging(
    tmp_path: Path, trubrics_server: IngestionServer
) -> None:
    """No child hangs that is forked while others record and log, and none loses a record.

    Some flush, some end politely, and most just end.
    """
    program = """
        import faulthandler, logging, os, signal, sys, threading, time, warnings
        from trubrics_trace import flush, stats, track_event
        # 3.12 warns of any fork beside threads: here that is the test.
        warnings.filterwarnings("ignore", "(?s).*fork", DeprecationWarning)
        faulthandler.enable()  # a child that hangs tells where
        logging.basicConfig(level=logging.DEBUG)  # with a file CPython itself would hang
        is_over = threading.Event()
        def work():
            while not is_over.is_set():
                track_event("of the parent", user_id="alice")
                logging.debug("recorded")
                time.sleep(0.005)
        threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        def wait_for(child):
            until = time.monotonic() + 30
            while time.monotonic() < until:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    return status
                time.sleep(0.001)
            os.kill(child, signal.SIGABRT)
            os.waitpid(child, 0)
            sys.exit("a child hangs")
        for number in range(100):
            child = os.fork()
            if child == 0:
                track_event(f"child {number}", user_id="bob")
                logging.debug("recorded")
                if number % 10 == 0:
                    sys.exit()
                if number % 2 == 0:
                    flush()
                os._exit(0)
            assert wait_for(child) == 0
        is_over.set()
        for thread in threads:
            thread.join()
        assert flush(30)
        print(stats().accepted)
        """
    said = output_of(program, tmp_path, **destination(trubrics_server.url))
    output_of(RUN_2, tmp_path, **destination(trubrics_server.url))
    names = [event["event"] for event in trubrics_server.events]
    assert int(said) == names.count("of the parent")
    wanted = {"of the parent", "run 2", *(f"child {number}" for number in range(100))}
    assert wanted == set(names)
    assert int(said) + 100 + 1 == len(trubrics_server.record_ids) == settled_in(tmp_path)
