"""The note beside a segment: what it says holds, and what is torn says nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trubrics_trace.delivery._progress import (
    DELIVERED,
    ERASED,
    Progress,
    Run,
    read_progress,
    rejected,
)

HOW = st.one_of(st.sampled_from([DELIVERED, ERASED]), st.text().map(rejected))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a segment."""
    return tmp_path / "owner.000001.jsonl"


def lines_of(size: int, count: int) -> list[Run]:
    """Return so many neighbouring records of one size, each delivered."""
    return [Run(n * size, (n + 1) * size, 1, DELIVERED) for n in range(count)]


@given(start=st.integers(0, 10**12), size=st.integers(1, 10**9), how=HOW)
def test_round_trip(start: int, size: int, how: str) -> None:
    """A run is read as it was written, on one line, whatever the reason."""
    written = Run(start, start + size, 3, how).to_bytes()
    read = Run.from_bytes(written.removesuffix(b"\n"))
    assert 1 == written.count(b"\n")
    assert read is not None
    assert (start, start + size, 3, written) == (
        read.start,
        read.end,
        read.count,
        read.to_bytes(),
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1 2",
        b"a b c delivered",
        b"-1 4 1 delivered",
        b"4 4 1 delivered",
        b"4 2 1 delivered",
        b"0 4 0 delivered",
        b"0 4 1 deliv",
        b"0 4 1 rejected",
        b"\xff\0",
    ],
)
def test_strange_line(content: bytes) -> None:
    """A line that is torn or strange says nothing."""
    assert Run.from_bytes(content) is None


def test_reason_of_many_lines() -> None:
    """A reason is said on one line, whatever it was."""
    assert "rejected HTTP 422: user_id missing" == rejected("HTTP 422:\n user_id\tmissing")


def test_lone_surrogate() -> None:
    """A reason that no encoding holds is said as far as it can be."""
    assert b"0 4 1 rejected no ?\n" == Run(0, 4, 1, rejected("no \ud800")).to_bytes()


@given(order=st.permutations(range(8)), some=st.integers(0, 8))
def test_in_any_order(order: list[int], some: int) -> None:
    """Whatever the order, what was noted is settled, and nothing else."""
    runs, progress = lines_of(10, 8), Progress()
    for number in [*order[:some], *order[:some]]:  # the second time changes nothing
        progress.note(runs[number])
    settled = {number for number in range(8) if progress.has(number * 10)}
    ahead = next((n for n in range(8) if n not in settled), 8)
    assert set(order[:some]) == settled
    assert (some, some, 10 * ahead) == (
        progress.settled,
        progress.delivered,
        progress.offset,
    )
    assert some - ahead == progress.beyond


def test_how_it_was_settled() -> None:
    """What was delivered and what was rejected, by reason, is counted apart."""
    progress = Progress()
    for run in [
        Run(0, 10, 2, DELIVERED),
        Run(20, 30, 1, rejected("HTTP 422")),
        Run(30, 40, 1, rejected("corrupt")),
    ]:
        progress.note(run)
    assert (2, Counter({"HTTP 422": 1, "corrupt": 1})) == (
        progress.delivered,
        progress.rejected,
    )
    assert (4, 2) == (progress.settled, progress.beyond)


def test_no_note(path: Path) -> None:
    """Where there is no note nothing is settled."""
    progress, size = read_progress(path)
    assert (0, 0, 0) == (progress.offset, progress.settled, size)


def test_torn_note(path: Path) -> None:
    """A note's last line that was torn says nothing, and is not counted as its size."""
    whole = Run(0, 4, 1, DELIVERED).to_bytes()
    path.with_suffix(".ack").write_bytes(whole + b"4 8 1 deliv")
    progress, size = read_progress(path)
    assert (4, 1, len(whole)) == (progress.offset, progress.settled, size)


def test_garbage_in_a_note(path: Path) -> None:
    """Garbage between two lines of a note costs neither of them."""
    one, two = Run(0, 4, 1, DELIVERED), Run(4, 8, 1, rejected("no"))
    note = one.to_bytes() + b"\0\0\xff garbage\n\n" + two.to_bytes()
    path.with_suffix(".ack").write_bytes(note)
    progress, size = read_progress(path)
    assert (8, 2, len(note)) == (progress.offset, progress.settled, size)


def test_unreadable_note(path: Path) -> None:
    """A note that is there and cannot be read is no guess: it is said."""
    path.with_suffix(".ack").mkdir()
    with pytest.raises(IsADirectoryError):
        read_progress(path)
