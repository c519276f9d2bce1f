"""What survives a process, and what its end, its forks and its limits leave behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.parts import die, line, spool_in, wait_until
from tests.delivery.servers import answer, serve_raw, unused_url
from tests.delivery.test_ingestion import bodies_of
from tests.process.program import clean_environment, output_of, run_program
from trubrics_trace._settings import Settings
from trubrics_trace.delivery._census import take_census
from trubrics_trace.testing import IngestionServer

KEY = "test-key"
GOOD = answer("200 OK", b"{}")

FIFTEEN_CALLS = """
from langchain_core.language_models import FakeListChatModel
from trubrics_trace import trubrics_scope
with trubrics_scope(user_id="alice"):
    for number in range(15):
        FakeListChatModel(responses=["42"]).invoke(f"question {number}")
"""

ONE_EVENT = """
from trubrics_trace import track_event
track_event("another", user_id="alice")
"""


def destination(url: str) -> dict[str, str]:
    """Return the environment of an account at this host."""
    return {"TRUBRICS_API_KEY": KEY, "TRUBRICS_HOST": url}


def pending_in(spool_dir: Path) -> int:
    """Return how many records wait in a spool."""
    return sum(census.pending for census in take_census(spool_dir))


def prompts_of(events: list[dict[str, Any]]) -> list[str]:
    """Return the prompts of these events, sorted."""
    return sorted(event["prompt"] for event in events)


QUESTIONS = sorted(f"question {number}" for number in range(15))


def test_script_that_just_ends(tmp_path: Path, trubrics_server: IngestionServer) -> None:
    """Of a script that ends without a word each call is delivered, once."""
    output_of(FIFTEEN_CALLS, tmp_path, **destination(trubrics_server.url))
    assert prompts_of(trubrics_server.events) == QUESTIONS
    assert 0 == pending_in(tmp_path)


def test_script_while_the_server_is_down(tmp_path: Path) -> None:
    """What could not be sent is sent by the next process with the same spool."""
    url = unused_url()
    output_of(FIFTEEN_CALLS, tmp_path, **destination(url))
    assert 15 == pending_in(tmp_path)
    with serve_raw(GOOD, url=url) as server:
        output_of(ONE_EVENT, tmp_path, **destination(url))
    posted = bodies_of(server.requests)
    assert prompts_of(posted["publish_llm_events"]) == QUESTIONS
    assert ["another"] == [event["event"] for event in posted["publish_events"]]
    assert 0 == pending_in(tmp_path)


def test_killed_right_after_a_call(tmp_path: Path) -> None:
    """Once a call has returned its record survives SIGKILL."""
    program = """
        import os, signal
        from langchain_core.language_models import FakeListChatModel
        from trubrics_trace import trubrics_scope
        with trubrics_scope(user_id="alice"):
            FakeListChatModel(responses=["42"]).invoke("the last question")
            os.kill(os.getpid(), signal.SIGKILL)
        """
    url = unused_url()
    ended = run_program(program, tmp_path, **destination(url))
    assert ended.returncode == -signal.SIGKILL
    with serve_raw(GOOD, url=url) as server:
        output_of(ONE_EVENT, tmp_path, **destination(url))
    posted = bodies_of(server.requests)
    assert ["the last question"] == prompts_of(posted["publish_llm_events"])


def test_exit_with_a_batch_in_flight(tmp_path: Path) -> None:
    """A server that never answers does not hold up the end, and its batch is kept."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        output_of(ONE_EVENT, tmp_path, **destination(url))
    assert 1 == pending_in(tmp_path)


def test_shutdown_racing_a_flush(tmp_path: Path, trubrics_server: IngestionServer) -> None:
    """Threads that flush while another shuts down lose nothing and double nothing."""
    program = """
        import threading
        from trubrics_trace import flush, shutdown, track_event
        def work():
            for number in range(50):
                track_event("clicked", user_id="alice")
                if number % 10 == 0:
                    flush(0.2)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            shutdown(1.0)
        track_event("last", user_id="alice")
        assert flush()
        """
    output_of(program, tmp_path, **destination(trubrics_server.url))
    assert 201 == len(trubrics_server.record_ids)
    assert 0 == pending_in(tmp_path)


@pytest.mark.parametrize("end", ["flush(); os._exit(0)", "sys.exit()", "shutdown()"])
def test_fork_after_use(tmp_path: Path, trubrics_server: IngestionServer, end: str) -> None:
    """After a fork what is the parent's and what is the child's is delivered, once."""
    program = f"""
        import os, sys, warnings
        from trubrics_trace import flush, shutdown, stats, track_event
        # 3.12 warns of any fork beside threads: here that is the test.
        warnings.filterwarnings("ignore", "(?s).*fork", DeprecationWarning)
        for number in range(15):
            track_event(f"parent {{number}}", user_id="alice")
        child = os.fork()
        if child == 0:
            assert stats().accepted == 0
            for number in range(15):
                track_event(f"child {{number}}", user_id="bob")
            {end}
            sys.exit()
        assert os.waitpid(child, 0)[1] == 0
        assert flush()
        print(stats().accepted, stats().delivered, stats().is_balanced)
        """
    # So that the parent's still wait at the fork. Or it meets the child, whose end then
    # waits for nothing, and what it leaves is the next process's.
    trubrics_server.answer_next(503)
    place = destination(trubrics_server.url)
    said = output_of(program, tmp_path, **place)
    output_of("from trubrics_trace import flush; assert flush()", tmp_path, **place)
    wanted = {f"{who} {number}" for who in ("parent", "child") for number in range(15)}
    assert {event["event"] for event in trubrics_server.events} == wanted
    assert {1} == set(trubrics_server.record_ids.values())
    assert "15 15 True" == said


def test_child_that_dies(tmp_path: Path, trubrics_server: IngestionServer) -> None:
    """What a forked child left behind is sent by the next process."""
    program = """
        import os
        from trubrics_trace import track_event
        if os.fork() == 0:
            track_event("of the child", user_id="bob")
            os._exit(0)
        os.wait()
        """
    url = unused_url()
    output_of(program, tmp_path, **destination(url))
    with serve_raw(GOOD, url=url) as server:
        output_of(ONE_EVENT, tmp_path, **destination(url))
    events = bodies_of(server.requests)["publish_events"]
    assert {"of the child", "another"} == {event["event"] for event in events}


def test_forks_under_busy_threads(tmp_path: Path, trubrics_server: IngestionServer) -> None:
    """No child hangs that is forked while other threads record, and none loses a record."""
    program = """
        import os, threading, time, warnings
        from trubrics_trace import DurableTrubrics, flush, shutdown, stats, track_event
        warnings.filterwarnings("ignore", "(?s).*fork", DeprecationWarning)
        client, is_over = DurableTrubrics(), threading.Event()
        def work():
            while not is_over.is_set():
                track_event("of the parent", user_id="alice")
                client.track("alice", "of the parent")
                time.sleep(0.001)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(60):
            child = os.fork()
            if child == 0:
                track_event(f"child {number}", user_id="bob")
                client.track("bob", f"client of child {number}")
                if "slow_disk" in stats().noticed:  # so it looks where nobody gets a turn:
                    shutdown(5)  # then what is in memory is to be brought there
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        is_over.set()
        for thread in threads:
            thread.join()
        assert flush(30)
        """
    output_of(program, tmp_path, **destination(trubrics_server.url))
    output_of(ONE_EVENT, tmp_path, **destination(trubrics_server.url))
    of_children = [
        event["event"] for event in trubrics_server.events if event["user_id"] == "bob"
    ]
    wanted = {f"{who}child {number}" for who in ("", "client of ") for number in range(60)}
    assert set(of_children) == wanted
    assert 0 == pending_in(tmp_path)


def test_many_adopt_at_once(tmp_path: Path, trubrics_server: IngestionServer) -> None:
    """What dead processes left is sent once, however many adopt at the same moment."""
    label = Settings(api_key=KEY, host=trubrics_server.url).destination.label
    tmp_path.chmod(0o700)
    for owner in range(40):
        dead = spool_in(tmp_path / label)
        for number in range(5):
            dead.put(line(f"{owner}.{number}"))
        die(dead)
    program = """
        import os, sys, time
        from trubrics_trace import flush, track_event
        print("ready", flush=True)
        sys.stdin.read()
        track_event("mine", user_id="alice")
        assert flush(30)
        """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)],
            env=clean_environment(tmp_path, **destination(trubrics_server.url)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
        assert 0 == process.wait(60)
    assert len(trubrics_server.record_ids) == 40 * 5 + 4
    assert {1} == set(trubrics_server.record_ids.values())
    assert 0 == pending_in(tmp_path)


def test_full_disk(tmp_path: Path, trubrics_server: IngestionServer) -> None:
    """Where the disk is full records wait in memory, counted, and all are delivered."""
    program = """
        import json, resource
        from trubrics_trace import flush, stats, track_event
        import trubrics_trace.delivery._ingestion
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        for number in range(100):
            track_event("clicked", user_id="alice", text="x" * 500)
        assert flush()
        now = stats()
        print(json.dumps([now.delivered, now.pending, now.is_balanced]))
        print(now.noticed["in_memory"] > 0)
        """
    trubrics_server.answer_next(503, times=2)
    ended = run_program(program, tmp_path, **destination(trubrics_server.url))
    assert 0 == ended.returncode, ended.stderr
    balance, some_in_memory = ended.stdout.splitlines()
    assert ([100, 0, True], "True") == (json.loads(balance), some_in_memory)
    assert 100 == len(trubrics_server.record_ids)
    assert 1 == ended.stderr.count("the disk refused")


def test_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    """What a full disk cut off is taken back: every line that is left is whole."""
    program = """
        import resource
        from trubrics_trace import track_event
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        for number in range(100):
            track_event("clicked", user_id="alice", text="x" * 500)
        """
    output_of(program, tmp_path)
    [path] = (tmp_path / "local").glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) > 10
    assert {"clicked"} == {json.loads(line)["event_name"] for line in lines}
    assert path.stat().st_size <= 20_000


def test_unwritable_place(tmp_path: Path, trubrics_server: IngestionServer) -> None:
    """Where no file can be written records wait in memory, and are delivered from there."""
    (tmp_path / "file").write_text("")
    spool_dir = tmp_path / "file" / "spool"
    ended = run_program(FIFTEEN_CALLS, spool_dir, **destination(trubrics_server.url))
    assert 0 == ended.returncode, ended.stderr
    assert prompts_of(trubrics_server.events) == QUESTIONS
    assert 1 == ended.stderr.count("the disk refused")


@pytest.mark.skipif(sys.platform != "linux", reason="no RLIMIT_AS that holds elsewhere")
def test_thread_that_cannot_start(tmp_path: Path, trubrics_server: IngestionServer) -> None:
    """Where no thread can start records stay on disk, said once, and the app goes on."""
    program = """
        import asyncio, resource, threading
        import trubrics_trace.delivery._ingestion
        from trubrics_trace import aflush, stats, track_event
        threading.stack_size(1 << 30)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)
        for number in range(3):
            track_event("clicked", user_id="alice")
        print(stats().pending, bool(asyncio.run(aflush())))
        """
    ended = run_program(program, tmp_path, **destination(trubrics_server.url))
    assert (0, "3 False\n") == (ended.returncode, ended.stdout), ended.stderr
    assert 1 == ended.stderr.count("no thread can start here")
    output_of(ONE_EVENT, tmp_path, **destination(trubrics_server.url))
    assert 4 == len(trubrics_server.record_ids)


def test_durable_client_alone(tmp_path: Path, trubrics_server: IngestionServer) -> None:
    """A script that tracks by hand, and ends without closing, loses nothing."""
    program = """
        from trubrics_trace import DurableTrubrics
        client = DurableTrubrics()
        for number in range(15):
            client.track("alice", f"event {number}")
        """
    output_of(program, tmp_path, **destination(trubrics_server.url))
    assert 15 == len(trubrics_server.record_ids)


def test_frozen_time(tmp_path: Path) -> None:
    """Under `freeze_time` dates are the frozen ones, and durations and deadlines real."""
    program = """
        from freezegun import freeze_time
        from langchain_core.language_models import FakeListChatModel
        from trubrics_trace import flush, track_event, trubrics_scope
        from trubrics_trace.testing import capture_prompts
        model = FakeListChatModel(responses=["42"], sleep=0.05)
        with freeze_time("2020-01-02 03:04:05"):
            with capture_prompts() as records, trubrics_scope(user_id="alice"):
                model.invoke("Hi")
            track_event("clicked", user_id="alice")
            report = flush(timeout=1)
        print(records[0].started_at, 0.05 <= records[0].latency_seconds < 10, bool(report))
        """
    said = output_of(program, tmp_path, **destination(unused_url()))
    assert "2020-01-02T03:04:05+00:00 True False" == said


def test_last_rung_of_the_ladder(tmp_path: Path) -> None:
    """Where the state directory will not do, the spool lies in the temporary one."""
    (tmp_path / "file").write_text("")
    program = """
        from trubrics_trace.delivery._directory import spool_root
        print(spool_root(None))
        """
    places = {"XDG_STATE_HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path)}
    said = output_of(program, tmp_path, **places)
    assert said == str(tmp_path / f"trubrics-trace-{os.getuid()}")


def test_two_programs_share_a_directory(tmp_path: Path) -> None:
    """Two programs with different accounts share a directory, and mix nothing."""
    url = unused_url()
    for key in ("first-key", "second-key"):
        environment = {"TRUBRICS_API_KEY": key, "TRUBRICS_HOST": url}
        output_of(ONE_EVENT, tmp_path, **environment)
    with serve_raw(GOOD, url=url) as server:
        environment = {"TRUBRICS_API_KEY": "second-key", "TRUBRICS_HOST": url}
        output_of(ONE_EVENT, tmp_path, **environment)
    assert 2 == len(bodies_of(server.requests)["publish_events"])
    assert not any(b"first-key" in request for request in server.requests)
    assert 1 == pending_in(tmp_path)


def test_record_is_seen_by_the_command_line(tmp_path: Path) -> None:
    """What a killed program left is sent by `trubrics-trace flush`."""
    url = unused_url()
    output_of(FIFTEEN_CALLS, tmp_path, **destination(url))
    with serve_raw(GOOD, url=url) as server:
        ended = subprocess.run(
            [sys.executable, "-m", "trubrics_trace", "flush"],
            env=clean_environment(tmp_path, **destination(url)),
            capture_output=True,
            timeout=60,
            check=False,
        )
        wait_until(lambda: server.requests)
    assert 0 == ended.returncode, ended.stderr
    assert prompts_of(bodies_of(server.requests)["publish_llm_events"]) == QUESTIONS
