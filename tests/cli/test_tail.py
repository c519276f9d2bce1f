"""`trubrics-trace tail`: the latest records, and those that come."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cli.parts import ids_in, root_with
from tests.delivery.parts import die, line, spool_in, wait_until
from tests.process.program import clean_environment
from trubrics_trace.cli import main


def at(second: int) -> str:
    """Return a moment of one minute."""
    return f"2026-01-02T03:04:{second:02d}+00:00"


def test_latest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The latest of all destinations are shown, in the order in which they ended."""
    root_with(tmp_path, *(line(n, started_at=at(2 * n)) for n in range(9)))
    root_with(
        tmp_path, *(line(n, started_at=at(2 * n - 9)) for n in range(5, 14)), label="acme"
    )
    assert 0 == main(["tail", "-n", "4", "--json"])
    assert ["7", "12", "8", "13"] == ids_in(capsys.readouterr().out)


def test_order_is_that_of_the_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A call that began first and ended last comes last."""
    long = line("long", started_at=at(1), latency_seconds=30.0)
    root_with(tmp_path, line("short", started_at=at(9)))
    root_with(tmp_path, long, label="acme")
    main(["tail", "--json"])
    assert ["short", "long"] == ids_in(capsys.readouterr().out)


def test_line_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """People see a line a record, in which nothing moves their cursor."""
    root_with(tmp_path, line(1, prompt="\x1b[2Jhello", status="stopped"))
    assert 0 == main(["tail"])
    [said] = capsys.readouterr().out.splitlines()
    assert said.startswith("03:04:05  alice        stopped   '?[2Jhello'")


def test_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of one user the latest are that user's, however long ago."""
    mine = [line(n, user_id='b"ob', started_at=at(n)) for n in range(3)]
    root_with(tmp_path, *mine, *(line(n, started_at=at(20 + n)) for n in range(30)))
    assert 0 == main(["tail", "-n", "2", "--user", 'b"ob', "--json"])
    assert ["1", "2"] == ids_in(capsys.readouterr().out)


def test_a_newer_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A record of a kind that is not known here is said to be one."""
    root_with(tmp_path, json.dumps({"kind": "vote", "record_id": "1"}).encode() + b"\n")
    assert 0 == main(["tail"])
    assert "a record of a newer version: 'vote'\n" == capsys.readouterr().out


@pytest.mark.parametrize("count", ["-1", "many"])
def test_no_count(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no count ends with the usage."""
    with pytest.raises(SystemExit) as ended:
        main(["tail", "-n", count])
    assert 2 == ended.value.code


# A suite that runs in the background is told to ignore Ctrl-C, and so are its children.
AS_AT_A_TERMINAL = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from trubrics_trace.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_follow(tmp_path: Path) -> None:
    """What is written later comes as it is written, until somebody presses Ctrl-C."""
    root = root_with(tmp_path, line("before"))
    seen: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", AS_AT_A_TERMINAL, "tail", "-f", "--json"],
        env=clean_environment(root),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as following:
        stdout, stderr = following.stdout, following.stderr
        assert stdout is not None
        assert stderr is not None
        reading = threading.Thread(target=lambda: seen.extend(iter(stdout.readline, "")))
        reading.start()
        try:
            wait_until(lambda: ids_in("".join(seen)) == ["before"])
            spool = spool_in(root / "acme")
            spool.put(line("first"))
            wait_until(lambda: ids_in("".join(seen))[1:] == ["first"])
            spool.put(line("second"))
            wait_until(lambda: ids_in("".join(seen))[2:] == ["second"])
            die(spool)
            following.send_signal(signal.SIGINT)
            assert 130 == following.wait(10)
        finally:
            following.kill()  # if it is still there
            reading.join()
        assert "" == stderr.read()
    assert ["before", "first", "second"] == ids_in("".join(seen))
