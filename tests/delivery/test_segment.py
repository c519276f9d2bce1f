"""One file of records, and the note of how far it is settled."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.process.program import output_of
from trubrics_trace.delivery import _files
from trubrics_trace.delivery._progress import DELIVERED, rejected
from trubrics_trace.delivery._segment import (
    Entry,
    Segment,
    began_at,
    count_lines,
    is_settled,
)

LINES = [b"one\n", b"two\n", b"three\n"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a segment may be made."""
    return tmp_path / "owner.000001.jsonl"


def segment_with(path: Path, lines: Iterable[bytes] = LINES) -> Segment:
    """Return a segment that holds these lines."""
    segment = Segment(path, create=True)
    for line in lines:
        segment.append(line)
    return segment


def reopened(segment: Segment) -> Segment:
    """Return the segment as whoever comes after a crash opens it."""
    segment.close()
    again = Segment(segment.path)
    again.recover()
    return again


def waiting(segment: Segment) -> list[bytes]:
    """Return the lines that wait."""
    return [entry.line for entry in segment.unsettled()]


def test_lines_come_back_in_order(path: Path) -> None:
    """A segment gives back the lines that it was given, oldest first."""
    segment = segment_with(path)
    assert waiting(segment) == LINES
    assert (14, 3, 3) == (segment.size, segment.stored, segment.waiting)


def test_lines_longer_than_one_read(path: Path) -> None:
    """A line that is longer than one read of the file comes back whole."""
    lines = [b"a" * 700_000 + b"\n", b"b\n", b"c" * 300_000 + b"\n"]
    segment = reopened(segment_with(path, lines))
    assert waiting(segment) == lines
    assert 3 == segment.waiting


def test_only_we_may_read_it(path: Path) -> None:
    """A segment and its note are readable by their owner alone."""
    segment = segment_with(path)
    segment.settle(segment.unsettled(), DELIVERED)
    files = [path, path.with_suffix(".ack")]
    assert [0o600, 0o600] == [stat.S_IMODE(file.stat().st_mode) for file in files]


def test_made_once(path: Path) -> None:
    """A segment that is there already is no new one: its lines are another's."""
    segment_with(path)
    with pytest.raises(FileExistsError):
        Segment(path, create=True)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1], [2, 1], []])
def test_settled_in_any_order(path: Path, order: list[int]) -> None:
    """What was settled waits no more, whatever the order, also after a crash."""
    segment = segment_with(path)
    entries = list(segment.unsettled())
    assert len(order) == segment.settle([entries[n] for n in order], DELIVERED)
    left = [LINES[number] for number in range(3) if number not in order]
    for has_crashed in (False, True):
        now = reopened(segment) if has_crashed else segment
        assert (left, len(left)) == (waiting(now), now.waiting)
        assert (len(order), not left) == (now.progress.delivered, now.is_settled)


def test_settled_together(path: Path) -> None:
    """Neighbours that are settled together are one line of the note."""
    segment = segment_with(path)
    segment.settle(segment.unsettled(), DELIVERED)
    assert b"0 14 3 delivered\n" == path.with_suffix(".ack").read_bytes()


def test_settling_twice_counts_once(path: Path) -> None:
    """A line is settled once: what a cap has dropped may come back delivered."""
    segment = segment_with(path)
    one, two, three = segment.unsettled()
    assert 2 == segment.settle([one, two], DELIVERED)
    assert 1 == segment.settle([one, two, three], rejected("no"))
    assert 0 == segment.settle([two], DELIVERED)
    assert (2, {"no": 1}) == (segment.progress.delivered, segment.progress.rejected)


def test_note_after_a_torn_one(path: Path) -> None:
    """A note that was torn is cut off before the next, which is read as it was written."""
    segment = segment_with(path)
    one, two, _ = segment.unsettled()
    segment.settle([one], DELIVERED)
    with path.with_suffix(".ack").open("ab") as note:
        note.write(b"4 8 1 deliv")
    again = reopened(segment)
    again.settle([two], rejected("no"))
    assert [b"three\n"] == waiting(reopened(again))
    assert b"0 4 1 delivered\n4 8 1 rejected no\n" == path.with_suffix(".ack").read_bytes()


def test_forgotten(path: Path) -> None:
    """An entry that stands elsewhere now waits no more, and no note is kept of it."""
    segment = segment_with(path)
    segment.forget(next(segment.unsettled()))
    assert ([b"two\n", b"three\n"], 2) == (waiting(segment), segment.waiting)
    assert not path.with_suffix(".ack").exists()


def test_unreadable_note_is_no_guess(path: Path) -> None:
    """A note that is there and cannot be read stops the opening: nothing is sent twice."""
    segment_with(path).close()
    path.with_suffix(".ack").mkdir()
    with pytest.raises(IsADirectoryError):
        Segment(path)


def test_torn_tail_is_cut_off(path: Path) -> None:
    """A last line that its killed writer left unfinished is cut off; the rest waits."""
    segment_with(path).close()
    with path.open("ab") as file:
        file.write(b'{"half')
    segment = Segment(path)
    assert (b'{"half', b"") == (segment.recover(), segment.recover())
    assert (LINES, 3, 14) == (waiting(segment), segment.stored, segment.size)
    assert path.read_bytes() == b"".join(LINES)


@pytest.mark.parametrize("content", [b"", b'{"half'])
def test_no_whole_line(path: Path, content: bytes) -> None:
    """A segment without a whole line is empty, and so it is settled."""
    path.write_bytes(content)
    segment = Segment(path)
    assert content == segment.recover()
    assert (True, 0) == (segment.is_settled, segment.waiting)


def test_settled_by_its_path(path: Path) -> None:
    """Whether a segment is settled is told without opening it for long."""
    segment = segment_with(path)
    for entry in segment.unsettled():
        assert not is_settled(path)
        segment.settle([entry], DELIVERED)
    assert is_settled(path)


def test_closed_segment_takes_nothing(path: Path) -> None:
    """A closed segment refuses lines and settles none: the next to open it does."""
    segment = segment_with(path)
    entry = next(segment.unsettled())
    assert segment.is_open
    segment.close()
    assert not segment.is_open
    with pytest.raises(OSError, match="file descriptor"):
        segment.append(b"four\n")
    segment.sync()
    assert 0 == segment.settle([entry], DELIVERED)
    assert not path.with_suffix(".ack").exists()


def test_close_twice(path: Path) -> None:
    """A second close leaves alone what has the file's number by then."""
    segment = segment_with(path)
    segment.close()
    other = os.open(path, os.O_RDONLY)
    segment.close()
    assert os.fstat(other).st_size == len(b"".join(LINES))
    os.close(other)


def test_delete(path: Path) -> None:
    """A deleted segment leaves neither its file nor its note, also a second time."""
    segment = segment_with(path)
    segment.settle(segment.unsettled(), DELIVERED)
    segment.delete()
    segment.delete()
    assert [] == list(path.parent.iterdir())


def test_deleted_under_us(path: Path) -> None:
    """A segment whose name was deleted says so, and is still read, written and settled."""
    segment = segment_with(path)
    assert not segment.is_gone
    path.unlink()
    path.parent.rmdir()
    segment.append(b"four\n")
    assert (True, [*LINES, b"four\n"]) == (segment.is_gone, waiting(segment))
    assert 4 == segment.settle(segment.unsettled(), DELIVERED)
    assert segment.is_settled


def test_written_at(path: Path) -> None:
    """A segment tells when it was last written to."""
    segment = segment_with(path)
    os.utime(path, (1_000_000.0, 1_000_000.0))
    assert 1_000_000.0 == segment.written_at


def test_sync(path: Path) -> None:
    """What was written may be kept also for the loss of power, as often as is asked."""
    segment = segment_with(path)
    segment.sync()
    segment.sync()
    assert LINES == waiting(segment)


def test_line_that_finds_half_a_place(path: Path, tmp_path: Path) -> None:
    """A line that a full disk takes the half of is taken back whole, and said."""
    program = """
        import os, resource
        from pathlib import Path
        from trubrics_trace.delivery._segment import Segment

        segment = Segment(Path(os.environ["SEGMENT"]), create=True)
        segment.append(b"one\\n")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6, limits[1]))
        try:
            segment.append(b"two\\n")
        except OSError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        segment.append(b"three\\n")
        print(segment.size, segment.stored)
        """
    said = output_of(program, tmp_path, SEGMENT=str(path))
    assert "wrote 2 of 4 bytes\n10 2" == said
    assert b"one\nthree\n" == path.read_bytes()


def test_note_that_finds_no_place(path: Path, tmp_path: Path) -> None:
    """A note that a full disk refuses is kept with the next; what it says holds at once."""
    program = """
        import os, resource
        from pathlib import Path
        from trubrics_trace.delivery._progress import read_progress
        from trubrics_trace.delivery._segment import Segment

        path = Path(os.environ["SEGMENT"])
        segment = Segment(path, create=True)
        for line in (b"one\\n", b"two\\n", b"three\\n"):
            segment.append(line)
        one, two, three = segment.unsettled()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
        print(segment.settle([one], "delivered"), segment.settle([three], "delivered"))
        print(segment.waiting, read_progress(path)[0].settled)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        print(segment.settle([two], "delivered"), read_progress(path)[0].settled)
        """
    said = output_of(program, tmp_path, SEGMENT=str(path))
    assert ["1 1", "1 0", "1 3"] == said.splitlines()


def test_lines_that_somebody_cut_off(path: Path) -> None:
    """A segment that somebody made shorter gives what is left of it, and then ends."""
    segment = segment_with(path)
    os.truncate(path, len(b"one\ntw"))
    assert [b"one\n"] == waiting(segment)
    with path.open("rb") as file:
        assert (1, 4) == count_lines(file.fileno(), 0, segment.size)


@pytest.mark.parametrize(
    ("line", "began"),
    [
        (b'{"started_at": "2026-01-02T03:04:05+00:00"}\n', "2026-01-02T03:04:05+00:00"),
        (b"{}\n", None),
        (b"[]\n", None),
        (b"5\n", None),
        (b"no JSON\n", None),
        (b"\xff\n", None),
        (b"[" * 100_000 + b"\n", None),
    ],
)
def test_when_a_record_began(line: bytes, began: str | None) -> None:
    """A line tells when its record began, and a strange one tells nothing."""
    assert began == began_at(line)


def test_entry_of_another_segment(path: Path) -> None:
    """An entry is of one segment, and says where in it its line begins."""
    segment = segment_with(path)
    assert [Entry(segment, 0, b"one\n"), Entry(segment, 4, b"two\n")] == list(
        segment.unsettled()
    )[:2]


@pytest.mark.parametrize("when", ["before", "after"])
def test_line_of_a_signal_s_handler(
    path: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that comes in the middle of another, around its write, is counted, too."""
    segment, append_whole = segment_with(path), _files.append_whole

    def interrupted(file: int, content: bytes, size: int) -> None:
        monkeypatch.setattr(_files, "append_whole", append_whole)
        if when == "before":
            segment.append(b"between\n")
        append_whole(file, content, size)
        if when == "after":
            segment.append(b"between\n")

    monkeypatch.setattr(_files, "append_whole", interrupted)
    segment.append(b"last\n")
    assert {*LINES, b"between\n", b"last\n"} == {*waiting(segment)}
    assert (len(LINES) + 2, path.stat().st_size) == (segment.stored, segment.size)
    segment.append(b"more\n")
    assert (len(LINES) + 3, path.stat().st_size) == (segment.stored, segment.size)
    segment.close()


def test_append_that_is_stopped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that was written, and not noted, is counted with the next one."""
    segment, append_whole = segment_with(path), _files.append_whole

    def stopped(file: int, content: bytes, size: int) -> None:
        append_whole(file, content, size)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_files, "append_whole", stopped)
        segment.append(b"unnoted\n")
    segment.append(b"last\n")
    assert [*LINES, b"unnoted\n", b"last\n"] == waiting(segment)
    assert (len(LINES) + 2, path.stat().st_size) == (segment.stored, segment.size)
    segment.close()
