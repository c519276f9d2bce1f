"""What goes wrong with the machine: file systems, forks, clocks."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.cli.parts import root_with
from tests.delivery.parts import die, line, spool_in
from tests.delivery.servers import answer, serve_raw
from trubrics_trace.cli import main
from trubrics_trace.cli._host import (
    faults_of_clock,
    faults_of_clock_beside,
    faults_of_forks,
    faults_of_place,
    faults_of_uwsgi,
)
from trubrics_trace.delivery._reader import Kept

MOUNTS = r"""
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:40 / /srv rw - nfs4 server:/srv rw,vers=4.2
23 22 8:2 / /srv/local rw - ext4 /dev/sdb1 rw
24 21 8:3 / /with\040space ro,nosuid - ext4 /dev/sdc1 rw
25 21 8:4 / /broken rw - ext4 /dev/sdd1 ro,errors=remount-ro
torn
""".replace("\\\\", "\\")


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("/var/spool", []),
        ("/srv", ["network file system (nfs4)"]),
        ("/srv/spool", ["network file system (nfs4)"]),
        ("/srvs", []),
        ("/srv/local/spool", []),
        ("/with space/spool", ["file system (ext4) is read-only"]),
        ("/broken/spool", ["file system (ext4) is read-only"]),
    ],
)
def test_file_system(place: str, expected: list[str]) -> None:
    """A network's file system is amiss, and a read-only one; the nearest mount counts."""
    faults = list(faults_of_place(Path(place), MOUNTS))
    assert len(expected) == len(faults)
    assert all(one in fault for one, fault in zip(expected, faults, strict=True))


def test_file_system_of_this_machine(tmp_path: Path) -> None:
    """A place that was just written to is not read-only."""
    assert not [one for one in faults_of_place(tmp_path) if "read-only" in one]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="where a system tells")
def test_a_fork_unseen(tmp_path: Path) -> None:
    """Two processes that hold one share are amiss; one that holds it is not."""
    spool = spool_in(tmp_path / "local")
    spool.put(line(1))
    assert [] == list(faults_of_forks(tmp_path))
    [owned] = spool.shares.all()
    other = spool_in(tmp_path / "acme")
    other.put(line(2))
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        stdin=subprocess.PIPE,
        pass_fds=[owned.lock_file],
    )
    try:
        [fault] = faults_of_forks(tmp_path)
    finally:
        child.communicate(b"\n")
        die(spool)
        die(other)
    assert str(child.pid) in fault
    assert "has forked without telling Python" in fault


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("[uwsgi]\nhttp = :80\nenable-threads = true\nprocesses = 4\nlazy-apps", []),
        ("[uwsgi]\nthreads = 2\nenv = A=1\nenv = B=%(x)", []),
        ("[uwsgi]\nhttp = :80", ["without threads"]),
        ("[uwsgi]\nenable_threads = 1\nworkers = 4", ["fork its workers"]),
        ("[uwsgi]\nprocesses = 2", ["without threads", "fork its workers"]),
        ("[alembic]\nprocesses = 2", []),
        ("no ini", []),
    ],
)
def test_uwsgi(said: str, expected: list[str], tmp_path: Path) -> None:
    """An ini file that leaves uWSGI without threads, or forks unseen, is amiss."""
    (tmp_path / "any.ini").write_text(said)
    faults = list(faults_of_uwsgi(tmp_path))
    assert len(expected) == len(faults)
    assert all(one in fault for one, fault in zip(expected, faults, strict=True))


def began(seconds: float, now: float) -> Kept:
    """Return a record that began so long after a moment."""
    date = datetime.fromtimestamp(now, timezone.utc) + timedelta(seconds=seconds)
    return Kept("local", b"", {"started_at": date.isoformat()})


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-9e6, None), (59, None), (90, "90 seconds"), (7300, "2 hours"), (3e5, "3 days")],
)
def test_a_record_of_the_future(seconds: float, expected: str | None) -> None:
    """A record that began later than now is amiss."""
    now = time.time()
    faults = list(faults_of_clock([began(seconds, now), Kept("local", b"", {})], now))
    assert (1 if expected else 0) == len(faults)
    assert not expected or f"began {expected} from now" in faults[0]


def test_no_record() -> None:
    """Of a clock with no record nothing is said."""
    assert [] == list(faults_of_clock([], 0.0))


@pytest.mark.parametrize(
    ("minutes", "expected"), [(0, []), (5, ["5 minutes behind"]), (-5, ["5 minutes ahead"])]
)
def test_clock_beside_a_server(minutes: int, expected: list[str]) -> None:
    """A clock that is far from the server's is amiss, whatever the server answers."""
    date = format_datetime(datetime.now(timezone.utc) + timedelta(minutes=minutes))
    with serve_raw(answer("404 Not Found", b"", f"Date: {date}")) as server:
        faults = list(faults_of_clock_beside(f"{server.url}/api"))
    assert [b"HEAD /api HTTP/1.1"] == [one.splitlines()[0] for one in server.requests]
    assert len(expected) == len(faults)
    assert all(one in fault for one, fault in zip(expected, faults, strict=True))


@pytest.mark.parametrize("said", [b"", b"no http\r\n\r\n", answer("200 OK", b"")])
def test_a_server_without_a_date(said: bytes) -> None:
    """A server that does not answer with a date is amiss."""
    with serve_raw(said) as server:
        [fault] = faults_of_clock_beside(server.url)
    assert "does not answer from here" in fault


def test_online(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server is asked only where that is wanted, and is never told the key."""
    root_with(tmp_path, line(1))
    with serve_raw(answer("200 OK", b"", "Date: Sat, 03 Jan 2026 00:00:00 GMT")) as server:
        monkeypatch.setenv("TRUBRICS_HOST", server.url)
        monkeypatch.setenv("TRUBRICS_API_KEY", "test-key")
        main(["doctor"])
        assert [] == server.requests
        assert 1 == main(["doctor", "--online"])
    assert "amiss: the clock is" in capsys.readouterr().out
    assert [False] == [b"test-key" in one for one in server.requests]
