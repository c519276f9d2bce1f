"""A spool is read from its files, a line at a time, whoever writes to it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.parts import die, line, spool_in
from trubrics_trace.delivery import _files
from trubrics_trace.delivery._reader import Kept, Reader, lines_back, lines_on


def ids(each: list[Kept]) -> list[str]:
    """Return each record's id."""
    return [kept.values["record_id"] for kept in each]


def everything(kept: Kept) -> bool:
    """Wish for all."""
    return True


def test_news_follow_the_snapshot(tmp_path: Path) -> None:
    """What comes after the snapshot is news, once; what was there is not."""
    spool = spool_in(tmp_path / "local")
    spool.put(line(1))
    reader = Reader(tmp_path)
    spool.put(line(2))
    other = spool_in(tmp_path / "acme")
    other.put(line(3))
    assert ["1"] == ids(list(reader.all()))
    assert ["1"] == ids(reader.latest(9, everything))
    assert ["2", "3"] == ids(list(reader.news()))
    assert [] == ids(list(reader.news()))
    spool.put(line(4))
    assert ["4"] == ids(list(reader.news()))
    die(spool)
    die(other)


def test_a_line_that_is_being_written(tmp_path: Path) -> None:
    """A line whose end is not there yet is news once it is."""
    (tmp_path / "local").mkdir()
    segment = tmp_path / "local" / "1.000001.jsonl"
    whole = line(1)
    segment.write_bytes(line(0) + whole[:9])
    reader = Reader(tmp_path)
    assert (["0"], []) == (ids(list(reader.all())), ids(list(reader.news())))
    with segment.open("ab") as file:
        file.write(whole[9:])
    assert ["1"] == ids(list(reader.news()))


def test_deleted_meanwhile(tmp_path: Path) -> None:
    """What is delivered and deleted after the snapshot is passed over."""
    spool = spool_in(tmp_path / "local")
    spool.put(line(1))
    reader = Reader(tmp_path)
    die(spool)
    for path in (tmp_path / "local").iterdir():
        path.unlink()
    assert ([], []) == (list(reader.all()), reader.latest(9, everything))
    assert [] == list(reader.news())


def test_one_destination(tmp_path: Path) -> None:
    """Of one destination nothing else is read."""
    for label in ("acme", "local"):
        spool = spool_in(tmp_path / label)
        spool.put(line(label))
        die(spool)
    assert ["acme"] == ids(list(Reader(tmp_path, "acme").all()))


def oldest_of_two(here: Path) -> Path:
    """Return the older of two files, each with a record of that number."""
    for number in (1, 2):
        spool = spool_in(here)
        spool.put(line(number))
        die(spool)
    return min(here.glob("*.*.jsonl"))


def test_old_files_are_not_opened(tmp_path: Path) -> None:
    """A file that was last written to before the moment is not looked into."""
    oldest = oldest_of_two(tmp_path / "local")
    os.utime(oldest, (50.0, 50.0))
    assert ["2"] == ids(list(Reader(tmp_path).all(since=100.0)))


def test_files_that_cannot_hold_the_latest(tmp_path: Path) -> None:
    """Of a file that was last written to before the latest ended nothing is read."""
    oldest = oldest_of_two(tmp_path / "local")
    oldest.write_bytes(line("of the future", started_at="2999-01-01T00:00:00+00:00"))
    os.utime(oldest, (50.0, 50.0))
    assert ["2"] == ids(Reader(tmp_path).latest(1, everything))
    assert 2 == len(Reader(tmp_path).latest(2, everything))


def test_none_is_asked_for(tmp_path: Path) -> None:
    """Of none that are asked for, none is returned."""
    spool = spool_in(tmp_path / "local")
    spool.put(line(1))
    assert [] == Reader(tmp_path).latest(0, everything)
    die(spool)


def test_behind_what_is_corrupt(tmp_path: Path) -> None:
    """A record is read that stands behind what is corrupt; what is none is passed over."""
    spool = spool_in(tmp_path / "local")
    for one in (b'{"kind": "pro' + line(1), b"[1]\n", b'{"record_id": 7}\n'):
        spool.put(one)
    assert ["1"] == ids(list(Reader(tmp_path).all()))
    die(spool)


@pytest.mark.parametrize("started_at", ["soon", None, 7])
def test_no_date(started_at: object) -> None:
    """A record without a date began nobody knows when, and ended before all others."""
    kept = Kept("local", b"", {"started_at": started_at, "latency_seconds": "long"})
    assert (None, 0.0) == (kept.began, kept.ended)


@given(st.lists(st.integers(0, 40)), st.integers(0, 40), st.integers(1, 64))
def test_lines_are_read_back(lengths: list[int], torn: int, chunk_bytes: int) -> None:
    """Whole lines come last one first, however they lie in what is read at once."""
    lines = [b"x" * length + b"\n" for length in lengths]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "segment")
        path.write_bytes(b"".join(lines) + b"y" * torn)
        with _files.opened(path, os.O_RDONLY) as file:
            end = path.stat().st_size
            assert lines[::-1] == list(lines_back(file, end, (), chunk_bytes))


@given(
    texts=st.lists(st.text("ab", max_size=9), max_size=12),
    needle=st.text("ab", min_size=1, max_size=3),
    torn=st.integers(0, 5),
    chunk_bytes=st.integers(1, 9),
)
def test_lines_that_hold_what_is_wanted(
    texts: list[str], needle: str, torn: int, chunk_bytes: int
) -> None:
    """However much is read at once, no line that holds it is passed over, either way."""
    lines = [f"{text}\n".encode() for text in texts]
    wanted, needles = needle.encode(), (needle.encode(),)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "segment")
        path.write_bytes(b"".join(lines) + b"a" * torn)
        with _files.opened(path, os.O_RDONLY) as file:
            end = path.stat().st_size
            assert lines == list(lines_on(file, end, chunk_bytes=chunk_bytes))
            on = list(lines_on(file, end, needles, chunk_bytes))
            back = list(lines_back(file, end, needles, chunk_bytes))
    assert [line for line in lines if wanted in line] == [
        line for line in on if wanted in line
    ]
    assert [line for line in lines[::-1] if wanted in line] == [
        line for line in back if wanted in line
    ]


def test_what_is_not_wanted_is_not_split(tmp_path: Path) -> None:
    """What is read at once and does not hold what is wanted is passed over as a whole."""
    path = tmp_path / "segment"
    path.write_bytes(b"a\n" * 50 + b"b\n" + b"a\n" * 50)
    with _files.opened(path, os.O_RDONLY) as file:
        for read in (lines_on, lines_back):
            assert 5 == len(list(read(file, path.stat().st_size, (b"b",), 10)))
