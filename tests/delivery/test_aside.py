"""What was set aside stands there, with its reason, until somebody takes it."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from pathlib import Path

import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.parts import MIB, line
from tests.process.program import output_of
from trubrics_trace.delivery._aside import Aside, read_aside, set_aside, take_aside

DEEP = b"[" * 100_000 + b"\n"


def set_all_aside(directory: Path, *lines: bytes) -> Path:
    """Set lines aside, and return the file in which they stand."""
    for content in lines:
        assert set_aside(directory, content, "HTTP 422", MIB)
    return directory / "rejected.jsonl"


def lines_in(directory: Path) -> list[bytes]:
    """Return what is set aside."""
    return [aside.line for aside in read_aside(directory)]


def test_set_aside(tmp_path: Path) -> None:
    """A line is set aside with its reason and the moment, in a file of ours alone."""
    with freeze_time("2026-01-02T03:04:05Z"):
        path = set_all_aside(tmp_path, line("one"))
    [aside] = read_aside(tmp_path)
    assert ("HTTP 422", "2026-01-02T03:04:05+00:00", line("one")) == (
        aside.reason,
        aside.at,
        aside.line,
    )
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


@given(content=st.binary(), reason=st.text())
def test_round_trip(content: bytes, reason: str) -> None:
    """Any bytes come back whole, also those that are no text, and so does any reason."""
    reason = reason.encode("utf-8", "replace").decode()
    aside = Aside(reason, "2026-01-02T03:04:05+00:00", content)
    assert aside == Aside.from_bytes(aside.to_bytes())
    assert 1 == aside.to_bytes().count(b"\n")


@pytest.mark.parametrize(
    "content",
    [b"", b'{"reason"', b"5", b"[1]", b'"record"', b"{}", b'{"record": 5}', b"\xff"],
)
def test_strange_line(content: bytes) -> None:
    """A line of the file that was torn, or is no line of ours, says nothing."""
    assert Aside.from_bytes(content) is None


@pytest.mark.parametrize(
    "content", [b"no JSON\n", b"[]\n", b"{}\n", b'{"record_id": 5}\n', DEEP]
)
def test_line_that_is_no_record(content: bytes) -> None:
    """A line that is no record is told as none, however deep it is."""
    assert Aside("corrupt", "", content).record is None


def test_line_that_is_a_record() -> None:
    """A line that is a record is told as one."""
    record = Aside("HTTP 422", "", line("one")).record
    assert record is not None
    assert "one" == record["record_id"]


def test_no_place(tmp_path: Path) -> None:
    """Where there is no directory nothing is set aside, and nothing is there to read."""
    assert not set_aside(None, b"one\n", "no", MIB)
    assert not set_aside(tmp_path / "gone", b"one\n", "no", MIB)
    assert [] == read_aside(tmp_path / "gone")
    take_aside(tmp_path / "gone", lambda aside: True)


def test_file_is_bounded(tmp_path: Path) -> None:
    """Beyond its bound the file takes nothing more, and keeps what it has."""
    size = set_all_aside(tmp_path, b"one\n").stat().st_size
    assert set_aside(tmp_path, b"two\n", "HTTP 422", 2 * size)
    assert not set_aside(tmp_path, b"six\n", "HTTP 422", 3 * size - 1)
    assert [b"one\n", b"two\n"] == lines_in(tmp_path)


def test_taken(tmp_path: Path) -> None:
    """What is taken is set aside no more; the rest stays, in order."""
    path = set_all_aside(tmp_path, b"one\n", b"\xff\n", b"three\n")
    take_aside(tmp_path, lambda aside: aside.line == b"one\n")
    assert [b"\xff\n", b"three\n"] == lines_in(tmp_path)
    assert (0o600, [path]) == (stat.S_IMODE(path.stat().st_mode), [*tmp_path.iterdir()])


def test_all_taken(tmp_path: Path) -> None:
    """Where all is taken no file is left."""
    set_all_aside(tmp_path, b"one\n", b"two\n")
    take_aside(tmp_path, lambda aside: True)
    assert [] == list(tmp_path.iterdir())


def test_fault_of_whoever_takes(tmp_path: Path) -> None:
    """Where the taking fails all is kept."""
    set_all_aside(tmp_path, b"one\n", b"two\n")

    def fail(aside: Aside) -> bool:
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        take_aside(tmp_path, fail)
    assert [b"one\n", b"two\n"] == lines_in(tmp_path)


def test_unreadable(tmp_path: Path) -> None:
    """A file that cannot be read is said."""
    (tmp_path / "rejected.jsonl").mkdir()
    with pytest.raises(IsADirectoryError):
        read_aside(tmp_path)
    assert not set_aside(tmp_path, b"one\n", "no", MIB)


def test_locked_for_too_long(tmp_path: Path) -> None:
    """Nobody waits for a lock for ever, and nothing is changed without it."""
    path = set_all_aside(tmp_path, b"one\n")
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="locked by another"):
            take_aside(tmp_path, lambda aside: True, patience=0.05)
    assert [b"one\n"] == lines_in(tmp_path)


def test_replaced_while_waited_for(tmp_path: Path) -> None:
    """A line that waits for a rewriting is set aside in the file that comes of it."""
    path = set_all_aside(tmp_path, b"one\n", b"two\n")
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = threading.Thread(target=set_all_aside, args=(tmp_path, b"three\n"))
        waiting.start()
        new = tmp_path / "new"
        new.write_bytes(path.read_bytes().splitlines(keepends=True)[1])
        os.replace(new, path)  # noqa: PTH105 - as a rewriting does it
    waiting.join()
    assert [b"two\n", b"three\n"] == lines_in(tmp_path)


def test_full_disk(tmp_path: Path) -> None:
    """A full disk sets nothing aside, leaves nothing torn, and takes nothing away."""
    program = """
        import os, resource
        from pathlib import Path
        from trubrics_trace.delivery._aside import read_aside, set_aside, take_aside

        place = Path(os.environ["PLACE"])
        for content in (b"one\\n", b"two\\n"):
            assert set_aside(place, content, "HTTP 422", 10_000)
        size = (place / "rejected.jsonl").stat().st_size
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, limits[1]))
        assert not set_aside(place, b"three\\n", "HTTP 422", 10_000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5, limits[1]))
        try:
            take_aside(place, lambda aside: aside.line == b"one\\n")
        except OSError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert set_aside(place, b"four\\n", "HTTP 422", 10_000)
        print([aside.line for aside in read_aside(place)])
        """
    said = output_of(program, tmp_path, PLACE=str(tmp_path)).splitlines()
    assert "wrote 5 of " in said[0]
    assert str([b"one\n", b"two\n", b"four\n"]) == said[1]


def test_torn_line_swallows_nothing(tmp_path: Path) -> None:
    """What follows a line whose writer was killed stands on a line of its own."""
    path = set_all_aside(tmp_path, b"one\n", b"two\n")
    path.write_bytes(path.read_bytes()[:-5])
    assert set_aside(tmp_path, b"three\n", "no", MIB)
    assert [b"one\n", b"three\n"] == lines_in(tmp_path)
    assert set_aside(tmp_path, b"four\n", "no", MIB)
    assert 4 == path.read_bytes().count(b"\n")


def test_no_patience(tmp_path: Path) -> None:
    """Who has no patience sets nothing aside while another rewrites the file."""
    path = set_all_aside(tmp_path, b"one\n")
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert not set_aside(tmp_path, b"two\n", "no", MIB, patience=0.0)
    assert set_aside(tmp_path, b"two\n", "no", MIB, patience=0.0)
    assert [b"one\n", b"two\n"] == lines_in(tmp_path)
