"""Once a call has returned its record survives the process, whoever ends it, and when."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from tests.delivery.parts import wait_until
from tests.delivery.servers import unused_url
from tests.process.faults import FaultyServer, serve_faulty, settled_in
from tests.process.program import clean_environment, output_of
from tests.process.test_delivery import destination
from trubrics_trace import configure, flush, shutdown, stats, track_event
from trubrics_trace.testing import IngestionServer

BATCH = 100
KILLS = 4
DELAY_SECONDS = 0.2
PATIENCE_SECONDS = 45.0

# Each number is printed once its call has returned: from there on it is a promise. Where
# a busy machine's disk was too slow to wait for, nothing is promised any more, and said so.
RECORDER = """
    import signal, sys
    from trubrics_trace import stats, track_event
    for number in range(3000):
        track_event(f"{sys.argv[1]}.{number}", user_id="alice")
        is_kept = "slow_disk" not in stats().noticed
        print(f"{sys.argv[1]}.{number}" if is_kept else "", flush=True)
    signal.pause()
    """

RUN_2 = """
    from trubrics_trace import flush, stats, track_event
    track_event("run 2", user_id="alice")
    assert flush(40)
    assert stats().is_balanced
    """


@contextmanager
def program(
    source: str, spool_dir: Path, url: str, *arguments: str
) -> Iterator[subprocess.Popen[str]]:
    """Run a program in the background; where it still lives in the end, it is killed."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(source), *arguments],
        env=clean_environment(spool_dir, **destination(url)),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def printed_until_killed(
    spool_dir: Path, url: str, name: str, how: signal.Signals, lines: int
) -> list[str]:
    """Kill a program once it has printed so many lines; return all that it printed."""
    with program(RECORDER, spool_dir, url, name) as process:
        assert process.stdout is not None
        printed = [process.stdout.readline().strip() for _ in range(lines)]
        process.send_signal(how)
        printed += process.stdout.read().splitlines()
        assert -how == process.wait(PATIENCE_SECONDS)
    assert f"{name}.0" == printed[0]
    return [number for number in printed if number]


def assert_all_arrived(server: FaultyServer, spool_dir: Path, promised: set[str]) -> None:
    """Each of these has arrived, a batch a kill at most twice, and the law holds."""
    arrived = {event["event"] for event in server.events}
    assert set() == promised - arrived
    assert len(arrived) == len(server.record_ids) == settled_in(spool_dir)
    assert server.duplicates <= KILLS * BATCH


@pytest.mark.parametrize("state", ["up", "slow", "down"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_killed_while_it_records(tmp_path: Path, how: signal.Signals, state: str) -> None:
    """What a killed program had recorded arrives, though the next ones are killed too."""
    chance, url, promised = random.Random(f"{how} {state}"), unused_url(), set()

    def kill_them() -> None:
        for kill in range(3):
            lines = chance.randint(1, 1_500)
            promised.update(printed_until_killed(tmp_path, url, str(kill), how, lines))

    if state == "down":
        kill_them()
    with serve_faulty(url) as server:
        if state != "down":
            server.delay = DELAY_SECONDS if state == "slow" else 0.0
            kill_them()
            server.delay = 0.0
        output_of(RUN_2, tmp_path, **destination(url))
        assert_all_arrived(server, tmp_path, {*promised, "run 2"})


def test_handler_of_the_app(tmp_path: Path) -> None:
    """A handler of the app's may come between at any moment, record, and end the app."""
    recorder = """
        import signal, sys
        from trubrics_trace import track_event
        def end(*_):
            track_event(f"{sys.argv[1]}.last", user_id="alice")
            print(f"{sys.argv[1]}.last", flush=True)
            sys.exit(3)
        signal.signal(signal.SIGTERM, end)
        for number in range(100_000):
            track_event(f"{sys.argv[1]}.{number}", user_id="alice")
            if number % 100 == 0:
                sys.stdout.write(f"{sys.argv[1]}.{number}\\n")
                sys.stdout.flush()
        """
    chance, promised = random.Random("handler"), set[str]()
    with serve_faulty() as server:
        for kill in range(3):
            with program(recorder, tmp_path, server.url, str(kill)) as process:
                assert process.stdout is not None
                for _ in range(chance.randint(1, 20)):
                    promised.add(process.stdout.readline().strip())
                process.terminate()
                promised.update(process.stdout.read().split())
                assert 3 == process.wait(PATIENCE_SECONDS)
            assert f"{kill}.last" in promised
        output_of(RUN_2, tmp_path, **destination(server.url))
        assert_all_arrived(server, tmp_path, {*promised, "run 2"})
        assert 0 == server.duplicates


@pytest.mark.parametrize("moment", ["c_call", "c_return"])
def test_interrupted_around_the_write(tmp_path: Path, moment: str) -> None:
    """Where Ctrl-C comes just before or after a line is written, all others arrive."""

    def interrupt(frame: FrameType, event: str, function: object) -> None:
        if event == moment and function is os.write:
            sys.setprofile(None)
            raise KeyboardInterrupt

    with serve_faulty() as server:
        configure(api_key=server.api_key, host=server.url)
        track_event("before", user_id="alice")
        assert flush(PATIENCE_SECONDS)
        sys.setprofile(interrupt)
        with pytest.raises(KeyboardInterrupt):
            track_event("interrupted", user_id="alice")
        track_event("after", user_id="alice")
        assert flush(5)
        arrived = {event["event"] for event in server.events}
        assert {"before", "after"} == arrived - {"interrupted"}
        assert (0, True) == (stats().pending, stats().is_balanced)
        shutdown()
        assert len(server.record_ids) == settled_in(tmp_path / "spool")


def test_no_handler_is_replaced(tmp_path: Path, trubrics_server: IngestionServer) -> None:
    """Who uses the package finds every signal's handler as it was."""
    source = """
        import signal
        handlers = {one: signal.getsignal(one) for one in signal.valid_signals()}
        from trubrics_trace import flush, shutdown, track_event
        track_event("clicked", user_id="alice")
        assert flush(40) and shutdown()
        assert handlers == {one: signal.getsignal(one) for one in signal.valid_signals()}
        """
    output_of(source, tmp_path, **destination(trubrics_server.url))


def wait_for_requests(server: FaultyServer, count: int) -> None:
    """Wait until so many more requests have arrived."""
    wanted = len(server.arrivals) + count
    wait_until(lambda: len(server.arrivals) >= wanted, PATIENCE_SECONDS)


def test_killed_while_it_adopts(tmp_path: Path) -> None:
    """Who is killed while it takes over from the dead leaves all of it to the next."""
    dead = """
        import os
        from trubrics_trace import track_event
        for owner in range(20):
            if os.fork() == 0:
                for number in range(200):
                    track_event(f"{owner}.{number}", user_id="alice")
                os._exit(0)
            assert os.wait()[1] == 0
        """
    adopter = """
        import signal, sys
        from trubrics_trace import track_event
        track_event(f"adopter {sys.argv[1]}", user_id="alice")
        print("recorded", flush=True)
        signal.pause()
        """
    url = unused_url()
    output_of(dead, tmp_path, **destination(url))
    with serve_faulty(url) as server:
        server.delay = 0.05
        for kill, requests in enumerate([0, 0, 1, 2]):  # at 0 it may not have begun to send
            with program(adopter, tmp_path, url, str(kill)) as process:
                assert process.stdout is not None
                assert "recorded\n" == process.stdout.readline()
                wait_for_requests(server, requests)
                process.kill()
                assert -signal.SIGKILL == process.wait(PATIENCE_SECONDS)
        server.delay = 0.0
        output_of(RUN_2, tmp_path, **destination(url))
        left = {f"{owner}.{number}" for owner in range(20) for number in range(200)}
        adopters = {f"adopter {kill}" for kill in range(KILLS)}
        assert_all_arrived(server, tmp_path, {*left, *adopters, "run 2"})
