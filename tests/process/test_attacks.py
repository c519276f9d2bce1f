"""An app that calls us where nobody expects it goes on, and loses nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.delivery.parts import die, line, spool_in
from tests.delivery.servers import serve_raw, unused_url
from tests.delivery.test_ingestion import bodies_of
from tests.process.program import clean_environment, output_of, run_program
from tests.process.test_delivery import GOOD, destination, pending_in
from trubrics_trace._configuration import settings_from


def names_in(spool_dir: Path) -> set[str]:
    """Return the name of each event that stands in a spool."""
    return {
        json.loads(said)["event_name"]
        for path in spool_dir.glob("*/*.*.jsonl")
        for said in path.read_bytes().splitlines()
    }


@pytest.mark.parametrize("what", ["flush", "shutdown"])
def test_handler_in_the_first_record(tmp_path: Path, what: str) -> None:
    """A signal's handler may flush or end delivery anywhere in the middle of a record."""
    program = """
        import faulthandler, os, signal, sys
        import trubrics_trace
        from trubrics_trace import shutdown, track_event

        def come_between(frame, event, argument):
            global calls
            if event in ("call", "c_call"):
                calls += 1
                if calls == at:
                    signal.raise_signal(signal.SIGTERM)

        faulthandler.dump_traceback_later(50, exit=True)
        settle = getattr(trubrics_trace, os.environ["WHAT"])
        signal.signal(signal.SIGTERM, lambda *_: settle(0))
        at = calls = made = 0
        while calls >= at:
            at, calls = at + 3 + at // 8, 0  # few, where a slow machine makes many calls
            sys.setprofile(come_between)
            track_event(f"event {made}", user_id="alice")
            sys.setprofile(None)
            made += 1
            shutdown(0)
        print(made)
        """
    where = destination(unused_url())
    made = int(output_of(program, tmp_path, WHAT=what, **where))
    assert made > 20
    assert {f"event {number}" for number in range(made)} == names_in(tmp_path)


def test_logging_handler_that_records(tmp_path: Path) -> None:
    """A handler of the app's log may record while another thread makes the first record."""
    program = """
        import faulthandler, logging, sys, threading
        from trubrics_trace import stats, track_event

        def is_logging(thread):
            frame = sys._current_frames().get(thread.ident)
            while frame is not None and frame.f_code.co_name != "handle":
                frame = frame.f_back
            return frame is not None

        class Recording(logging.Handler):
            def emit(self, record):
                if record.name == "app":
                    first.start()
                    while first.is_alive() and not is_logging(first):
                        pass
                    track_event("logged", user_id="alice")

        faulthandler.dump_traceback_later(50, exit=True)
        first = threading.Thread(target=track_event, args=("first",))
        logging.getLogger().addHandler(Recording())
        logging.getLogger("app").warning("it begins")
        first.join()
        print(stats().accepted)
        """
    assert "2" == output_of(program, tmp_path)


def test_memory_while_a_request_hangs(tmp_path: Path) -> None:
    """What a full disk left in memory is on disk at exit, though a server never answers."""
    program = """
        import resource, signal
        from trubrics_trace import stats, track_event
        from trubrics_trace.delivery._delivery import deliveries

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
        for number in range(3):
            track_event(f"lent {number}", user_id="alice")
        while not any(one.spool.is_leased for one in deliveries.all()):
            pass
        for number in range(3):
            track_event(f"free {number}", user_id="alice")
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        print(stats().pending)
        """
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert "6" == output_of(program, tmp_path, **destination(url))
    assert {f"{what} {n}" for what in ("lent", "free") for n in range(3)} == names_in(
        tmp_path
    )


def test_many_dead_owners(tmp_path: Path) -> None:
    """What hundreds of dead processes left is sent by one command, without an interval."""
    with serve_raw(GOOD) as server:
        where = {**destination(server.url), "TRUBRICS_TRACE_FLUSH_INTERVAL": "3600"}
        settings = settings_from(
            {"api_key": where["TRUBRICS_API_KEY"], "host": server.url}, {}
        )
        for number in range(300):
            spool = spool_in(tmp_path / settings.destination.label)
            spool.put(line(number))
            die(spool)
        ended = subprocess.run(
            [sys.executable, "-m", "trubrics_trace", "flush", "--timeout", "50", "--json"],
            env=clean_environment(tmp_path, **where),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert 0 == ended.returncode, ended.stderr
    sent = [event for one in bodies_of(server.requests).values() for event in one]
    assert (300, 0) == (len(sent), pending_in(tmp_path))


def test_tidy_that_cannot(tmp_path: Path) -> None:
    """Where what was let go of cannot be noted, nothing is said on the app's stderr."""
    program = """
        import threading
        from trubrics_trace import stats, track_event
        track_event("kept", user_id="alice")
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                thread.join()
        print(stats().pending)
        """
    (tmp_path / "spool" / "local" / "settled.log").mkdir(mode=0o700, parents=True)
    for made in (tmp_path / "spool", tmp_path / "spool" / "local"):
        made.chmod(0o700)
    ended = run_program(program, tmp_path / "spool")
    assert (0, "1\n") == (ended.returncode, ended.stdout), ended.stderr
    assert "Traceback" not in ended.stderr
