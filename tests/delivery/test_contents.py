"""What a spool holds is in one place, whatever is moved meanwhile."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.delivery.parts import MIB, die, line
from tests.delivery.test_spool import filled
from trubrics_trace.delivery._contents import Contents
from trubrics_trace.delivery._limits import Limits
from trubrics_trace.delivery._progress import DELIVERED
from trubrics_trace.delivery._segment import Entry
from trubrics_trace.delivery._spool import Spool


def contents_in(directory: Path | None, count: int) -> tuple[Contents, Counter[str]]:
    """Return contents with so many lines in memory, and what is dropped of them."""
    drops = Counter[str]()

    def on_drop(reason: str, count: int) -> None:
        drops[reason] += count

    contents = Contents(directory, Limits(MIB), on_drop)
    for number in range(count):
        contents.keep_in_memory(line(number))
    return contents, drops


def lines(entries: list[Entry]) -> list[bytes]:
    """Return each entry's line."""
    return [entry.line for entry in entries]


def test_lent_stays_where_it_is(tmp_path: Path) -> None:
    """What is lent of memory stays there until it is taken back; the rest is moved."""
    contents, drops = contents_in(tmp_path / "here", 3)
    lent = contents.lend(2, MIB)
    assert 1 == contents.bring_back(lambda: False)
    assert (True, 1) == (contents.is_in_memory, contents.settle(lent[:1], DELIVERED))
    contents.take_back()
    assert 1 == contents.bring_back(lambda: False)
    assert (False, 2) == (contents.is_in_memory, contents.waiting)
    assert [line(2), line(1)] == lines(list(contents.oldest(9, MIB)))
    contents.close()
    assert Counter() == drops


def test_no_more_is_moved_when_it_is_late(tmp_path: Path) -> None:
    """One line is moved however late it is, and no second one."""
    contents, _ = contents_in(tmp_path / "here", 3)
    assert 1 == contents.bring_back(lambda: True)
    assert (True, 3) == (contents.is_in_memory, contents.waiting)
    contents.close()


def test_nowhere_to_move_to() -> None:
    """Where there is no disk nothing is moved, and nothing is lost."""
    contents, drops = contents_in(None, 3)
    assert 0 == contents.bring_back(lambda: False)
    contents.close()
    assert (3, Counter()) == (contents.waiting, drops)


def test_left_is_counted_until_it_is_found(tmp_path: Path) -> None:
    """What a close leaves on disk waits here all the same."""
    contents, _ = contents_in(tmp_path / "here", 2)
    contents.bring_back(lambda: False)
    mark = contents.mark()
    contents.close()
    assert (2, True, 0) == (contents.waiting, contents.has_left, contents.bytes_on_disk)
    assert not contents.is_past(mark)


def test_deleted_while_it_is_lent(tmp_path: Path) -> None:
    """What is lent of a file that was deleted is settled there, not brought elsewhere."""
    spool = filled(Spool(tmp_path / "here", Limits(MIB)), 2)
    with spool.lease(1, 2**30) as entries:
        for path in (tmp_path / "here").iterdir():
            path.unlink()
        spool.tend()
        spool.settle_delivered(entries or [])
    spool.tend()
    now = spool.stats()
    assert (1, 1) == (now.delivered, now.pending)
    assert [line(1)] == [path.read_bytes() for path in (tmp_path / "here").glob("*.jsonl")]
    die(spool)
