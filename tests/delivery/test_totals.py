"""What became of records whose files are gone is told by one short log."""

from __future__ import annotations

import fcntl
import stat
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.process.program import output_of
from trubrics_trace.delivery._totals import Totals, compact, read_totals, remember

COUNTS = st.integers(0, 10**9)
REASONS = st.dictionaries(st.text(), COUNTS).map(Counter)
LONG = 256 * 1024  # from here on the log is made short


def gone(name: object) -> Totals:
    """Return what became of a segment of four records."""
    return Totals(
        4, 2, Counter({"HTTP 422": 1}), Counter({"spool_full": 1}), {f"{name}.jsonl"}
    )


def long_log(directory: Path) -> int:
    """Fill the log until it is to be made short; how many segments it tells of."""
    count = LONG // len(gone(10_000).to_bytes()) + 1
    content = b"".join(gone(number + 10_000).to_bytes() for number in range(count))
    (directory / "settled.log").write_bytes(content)
    return count


def is_balanced(totals: Totals) -> bool:
    """Whether nothing of what was stored has vanished."""
    settled = totals.delivered + totals.rejected.total() + totals.dropped.total()
    return totals.stored == settled


@given(
    stored=COUNTS,
    delivered=COUNTS,
    rejected=REASONS,
    dropped=REASONS,
    segments=st.sets(st.text()),
)
def test_round_trip(
    stored: int,
    delivered: int,
    rejected: Counter[str],
    dropped: Counter[str],
    segments: set[str],
) -> None:
    """Totals are read as they were written, on one line."""
    totals = Totals(stored, delivered, rejected, dropped, segments)
    assert totals == Totals.from_bytes(totals.to_bytes())
    assert 1 == totals.to_bytes().count(b"\n")


@pytest.mark.parametrize(
    "content", [b"", b'{"stored": 4', b"[]", b"{}", b"5", b'{"stored": "x"}', b"\xff"]
)
def test_strange_line(content: bytes) -> None:
    """A line that is torn or strange says nothing."""
    assert Totals() == Totals.from_bytes(content)


def test_no_log(tmp_path: Path) -> None:
    """Where there is no log nothing has gone, and nothing is to be made short."""
    compact(tmp_path)
    assert (Totals(), []) == (read_totals(tmp_path), list(tmp_path.iterdir()))


def test_unreadable_log(tmp_path: Path) -> None:
    """A log that is there and cannot be read is said."""
    (tmp_path / "settled.log").mkdir()
    with pytest.raises(IsADirectoryError):
        read_totals(tmp_path)


def test_remembered(tmp_path: Path) -> None:
    """What is remembered is summed up, in a file of ours alone."""
    remember(tmp_path, gone("a"))
    remember(tmp_path, gone("b"))
    totals = read_totals(tmp_path)
    assert (8, 4, 2, 2) == (
        totals.stored,
        totals.delivered,
        totals.rejected["HTTP 422"],
        totals.dropped["spool_full"],
    )
    assert 0o600 == stat.S_IMODE((tmp_path / "settled.log").stat().st_mode)


def test_remembered_twice(tmp_path: Path) -> None:
    """A segment that is let go of twice, for a crash came between, counts once."""
    remember(tmp_path, gone("a"))
    remember(tmp_path, gone("a"))
    assert gone("a") == read_totals(tmp_path)


def test_torn_line_of_the_log(tmp_path: Path) -> None:
    """A torn line costs what it told of, and the sums of the rest are right."""
    remember(tmp_path, gone("a"))
    with (tmp_path / "settled.log").open("ab") as log:
        log.write(b'{"stored": 4, "deliv\n')
    remember(tmp_path, gone("b"))
    assert (8, True) == (read_totals(tmp_path).stored, is_balanced(read_totals(tmp_path)))


def test_short_log_stays(tmp_path: Path) -> None:
    """A short log is left as it is."""
    remember(tmp_path, gone("a"))
    remember(tmp_path, gone("b"))
    compact(tmp_path)
    assert 2 == (tmp_path / "settled.log").read_bytes().count(b"\n")


def test_compacted(tmp_path: Path) -> None:
    """A long log becomes one line of the same sums, in a file of ours alone."""
    count = long_log(tmp_path)
    before = read_totals(tmp_path)
    compact(tmp_path)
    after = read_totals(tmp_path)
    path = tmp_path / "settled.log"
    assert 4 * count == before.stored == after.stored
    assert (before.delivered, before.rejected, before.dropped) == (
        after.delivered,
        after.rejected,
        after.dropped,
    )
    assert (1, 0o600) == (path.read_bytes().count(b"\n"), stat.S_IMODE(path.stat().st_mode))
    assert [path] == list(tmp_path.iterdir())


def test_names_of_what_is_still_there(tmp_path: Path) -> None:
    """A compacted log names those segments that are still there, so none counts twice."""
    long_log(tmp_path)
    (tmp_path / "10001.jsonl").touch()
    compact(tmp_path)
    before = read_totals(tmp_path)
    remember(tmp_path, gone(10_001))
    assert {"10001.jsonl"} == before.segments
    assert before == read_totals(tmp_path)


def test_compacted_by_another(tmp_path: Path) -> None:
    """While another compacts the log, it is left to that one; lines are still appended."""
    count = long_log(tmp_path)
    with (tmp_path / "settled.log").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        compact(tmp_path)
        remember(tmp_path, gone("a"))
    assert 4 * (count + 1) == read_totals(tmp_path).stored


def test_compacting_beside_others(tmp_path: Path) -> None:
    """Whoever remembers while others compact: what the log tells stays balanced."""

    def remember_some(first: int) -> None:
        for number in range(first, first + 20):
            remember(tmp_path, gone(number))

    def compact_often() -> None:
        for _ in range(5):
            long_log(tmp_path)
            compact(tmp_path)
            assert is_balanced(read_totals(tmp_path))

    threads = [threading.Thread(target=remember_some, args=(100 * n,)) for n in range(3)]
    threads.append(threading.Thread(target=compact_often))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    totals = read_totals(tmp_path)
    assert totals.stored > 0
    assert is_balanced(totals)


def test_full_disk(tmp_path: Path) -> None:
    """A full disk takes no line, tears none, and leaves a long log as it was."""
    program = """
        import os, resource
        from pathlib import Path
        from trubrics_trace.delivery._totals import Totals, compact, read_totals, remember

        place = Path(os.environ["PLACE"])
        log = place / "settled.log"
        line = Totals(1, 1, segments={"a"}).to_bytes()
        log.write_bytes(line + b" " * (256 * 1024) + b"\\n")
        before = log.read_bytes()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        for full, do in [
            (len(before) + 5, lambda: remember(place, Totals(1, 1, segments={"b"}))),
            (5, lambda: compact(place)),
        ]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (full, limits[1]))
            try:
                do()
            except OSError as error:
                print(str(error).split(" of ")[0], log.read_bytes() == before)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        compact(place)
        print(read_totals(place).stored, log.stat().st_size < 1_000)
        """
    said = output_of(program, tmp_path, PLACE=str(tmp_path))
    assert ["wrote 5 True", "wrote 5 True", "1 True"] == said.splitlines()
