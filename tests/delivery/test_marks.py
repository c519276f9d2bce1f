"""What waited at one moment is followed, wherever it moves."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from trubrics_trace.delivery._marks import Marks
from trubrics_trace.delivery._memory import Memory
from trubrics_trace.delivery._progress import DELIVERED
from trubrics_trace.delivery._segment import Segment


@pytest.fixture
def segment(tmp_path: Path) -> Segment:
    """Return a segment in which one line waits."""
    made = Segment(tmp_path / "owner.000001.jsonl", create=True)
    made.append(b"one\n")
    return made


def deliver(segment: Segment, count: int) -> None:
    """Settle so many lines of a segment, the oldest first."""
    segment.settle(list(segment.unsettled())[:count], DELIVERED)


def test_nothing_waits() -> None:
    """Where nothing waits a mark is past at once, and stays so."""
    memory = Memory()
    mark = Marks().make([], memory)
    memory.put(b"later\n")
    assert mark.is_past([], memory)


def test_segment(segment: Segment) -> None:
    """A mark is past when what a segment held then is settled, whatever came later."""
    mark = Marks().make([segment], Memory())
    segment.append(b"later\n")
    assert not mark.is_past([segment], Memory())
    deliver(segment, 1)
    assert mark.is_past([segment], Memory())


def test_segment_that_is_gone(segment: Segment) -> None:
    """What stands in a segment that was let go of waits no more."""
    assert Marks().make([segment], Memory()).is_past([], Memory())


def test_memory() -> None:
    """A mark is past when what memory held then is taken, whatever came later."""
    memory = Memory()
    memory.put(b"one\n")
    mark = Marks().make([], memory)
    memory.put(b"later\n")
    assert not mark.is_past([], memory)
    memory.take(1)
    assert mark.is_past([], memory)


def test_moved_to_a_segment(segment: Segment) -> None:
    """A mark follows what moves from memory to a segment."""
    memory, marks = Memory(), Marks()
    memory.put(b"two\n")
    mark = marks.make([segment], memory)
    memory.take(1)
    segment.append(b"two\n")
    marks.cover(segment)
    deliver(segment, 1)
    assert not mark.is_past([segment], memory)
    deliver(segment, 1)
    assert mark.is_past([segment], memory)


def test_mark_that_nobody_asks(segment: Segment) -> None:
    """A mark that nobody asks about any more is followed no more."""
    marks = Marks()
    mark = marks.make([segment], Memory())
    del mark
    gc.collect()
    assert 0 == len(marks._marks)
