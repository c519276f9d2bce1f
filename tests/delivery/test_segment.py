"""One file of records, and the note of how far it is settled."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.process.program import run_program
from trubrics_trace.delivery._segment import (
    Progress,
    Segment,
    count_unsettled,
    first_unsettled,
    is_settled,
    read_progress,
)

LINES = [b"one\n", b"two\n", b"three\n"]
COUNTS = st.integers(min_value=0, max_value=10**19)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a segment may be made."""
    return tmp_path / "owner.000001.jsonl"


def segment_with(path: Path, lines: list[bytes] = LINES) -> Segment:
    """Return a segment that holds these lines."""
    segment = Segment(path, create=True)
    for line in lines:
        segment.append(line)
    return segment


def waiting(segment: Segment) -> list[bytes]:
    """Return the lines that wait."""
    return [entry.line for entry in segment.unsettled()]


def test_lines_come_back_in_order(path: Path) -> None:
    """A segment gives back the lines that it was given, oldest first."""
    assert waiting(segment_with(path)) == LINES


def test_lines_longer_than_one_read(path: Path) -> None:
    """A line that is longer than one read of the file comes back whole."""
    lines = [b"a" * 700_000 + b"\n", b"b\n", b"c" * 300_000 + b"\n"]
    assert waiting(segment_with(path, lines)) == lines


def test_only_we_may_read_it(path: Path) -> None:
    """A segment and its note are readable by their owner alone."""
    segment = segment_with(path)
    segment.acknowledge()
    files = [path, path.with_suffix(".ack")]
    assert [0o600, 0o600] == [stat.S_IMODE(file.stat().st_mode) for file in files]


def test_settled_lines_do_not_wait(path: Path) -> None:
    """A line that was settled is not given out again, whatever the order."""
    segment = segment_with(path)
    _, two, _ = segment.unsettled()
    assert segment.settle(two, "delivered")
    assert [b"one\n", b"three\n"] == waiting(segment)


def test_settling_twice_counts_once(path: Path) -> None:
    """A line is settled once: what a cap has dropped may come back delivered."""
    segment = segment_with(path)
    one, two, _ = segment.unsettled()
    segment.settle(two, "dropped")
    segment.settle(one, "delivered")
    assert [
        False,
        False,
    ] == [segment.settle(one, "delivered"), segment.settle(two, "delivered")]
    assert segment.progress == Progress(
        offset=len(b"one\ntwo\n"), delivered=1, rejected=0, dropped=1
    )


def test_progress_survives(path: Path) -> None:
    """What was acknowledged is settled for whoever opens the segment next."""
    segment = segment_with(path)
    one, two, _ = segment.unsettled()
    segment.settle(one, "delivered")
    segment.settle(two, "rejected")
    segment.acknowledge()
    segment.close()
    assert [b"three\n"] == waiting(Segment(path))
    assert read_progress(path) == Progress(8, delivered=1, rejected=1)
    assert (1, b"three\n") == (count_unsettled(path), first_unsettled(path))


def test_what_is_settled_ahead_waits_again_after_a_crash(path: Path) -> None:
    """A line settled beyond the offset is given out again by the next: at least once."""
    segment = segment_with(path)
    _, two, _ = segment.unsettled()
    segment.settle(two, "delivered")
    segment.acknowledge()
    segment.close()
    assert waiting(Segment(path)) == LINES


def test_settled_whole(path: Path) -> None:
    """A segment is settled when each of its lines is."""
    segment = segment_with(path)
    for entry in segment.unsettled():
        assert not segment.is_settled
        segment.settle(entry, "delivered")
    segment.acknowledge()
    assert segment.is_settled
    assert is_settled(path)
    assert first_unsettled(path) is None


@given(offset=COUNTS, delivered=COUNTS, rejected=COUNTS, dropped=COUNTS)
def test_progress_round_trip(
    offset: int, delivered: int, rejected: int, dropped: int
) -> None:
    """Progress is written in a fixed length, and read as it was written."""
    progress = Progress(offset, delivered, rejected, dropped)
    assert Progress.from_bytes(progress.to_bytes()) == progress
    assert len(progress.to_bytes()) == len(Progress().to_bytes())


@pytest.mark.parametrize("content", [b"", b"1 2", b"a b c d", b"-1 0 0 0", b"\xff\0"])
def test_strange_progress(content: bytes) -> None:
    """A note that is torn or strange says that nothing is settled."""
    assert Progress.from_bytes(content) == Progress()


def test_unreadable_progress_is_no_guess(path: Path) -> None:
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
    assert segment.recover() == (3, len(b'{"half'))
    assert (3, 0) == segment.recover()
    assert waiting(segment) == LINES
    assert path.read_bytes() == b"".join(LINES)


def test_nothing_but_a_torn_tail(path: Path) -> None:
    """A segment that holds an unfinished line alone is empty, and so it is settled."""
    path.write_bytes(b'{"half')
    segment = Segment(path)
    assert (0, 6) == segment.recover()
    assert segment.is_settled


def test_closed_segment_takes_nothing(path: Path) -> None:
    """A closed segment refuses lines, and settles none: the next to open it does."""
    segment = segment_with(path)
    entry = next(segment.unsettled())
    segment.close()
    with pytest.raises(OSError, match="file descriptor"):
        segment.append(b"four\n")
    assert not segment.settle(entry, "delivered")


def test_closed_segment_writes_no_note(path: Path) -> None:
    """A closed segment leaves the note alone: it may be another process's by now."""
    segment = segment_with(path)
    segment.close()
    with pytest.raises(OSError, match="file descriptor"):
        segment.acknowledge()
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
    segment.acknowledge()
    segment.delete()
    segment.delete()
    assert [] == list(path.parent.iterdir())


def test_line_that_finds_half_a_place(path: Path, tmp_path: Path) -> None:
    """A line that a full disk takes the half of is taken back whole, and said."""
    program = """
        import resource, sys
        from pathlib import Path
        from trubrics_trace.delivery._segment import Segment
        segment = Segment(Path(sys.argv[1]), create=True)
        segment.append(b"one\\n")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6, hard))
        try:
            segment.append(b"two\\n")
        except OSError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        segment.append(b"three\\n")
        """
    ended = run_program(program, tmp_path, str(path))
    assert "wrote 2 of 4 bytes\n" == ended.stdout, ended.stderr
    assert b"one\nthree\n" == path.read_bytes()


def test_lines_that_somebody_cut_off(path: Path) -> None:
    """A segment that somebody made shorter gives what is left of it, and then ends."""
    segment = segment_with(path)
    os.truncate(path, len(b"one\ntw"))
    assert [b"one\n"] == waiting(segment)
