"""What one process answers for: its own files, those of the dead, and no more."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery.parts import MIB, die, line, spool_in
from tests.process.program import output_of
from trubrics_trace.delivery._census import take_census
from trubrics_trace.delivery._directory import make_private
from trubrics_trace.delivery._limits import Limits
from trubrics_trace.delivery._progress import DELIVERED
from trubrics_trace.delivery._segment import Entry
from trubrics_trace.delivery._shares import MOST_SHARES, Shares, expire, take_over

SIZE = len(line(0))
LATER = 10_000.0


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory that is ours alone."""
    place = tmp_path / "root" / "destination"
    assert make_private(place)
    return place


class Watched(Shares):
    """Shares whose drops are counted."""

    def __init__(self, directory: Path | None, limits: Limits) -> None:
        self.drops: Counter[str] = Counter()
        super().__init__(directory, limits, self._count)

    def _count(self, reason: str, count: int) -> None:
        self.drops[reason] += count


@pytest.fixture
def shares(directory: Path) -> Iterator[Watched]:
    """Return shares that hold nothing yet."""
    made = Watched(directory, Limits(64 * MIB))
    yield made
    made.close()


def fill(shares: Shares, count: int) -> None:
    """Append so many lines of one size."""
    for number in range(count):
        shares.append(line(number))


def lines(entries: Iterator[Entry]) -> list[bytes]:
    """Return each entry's line."""
    return [entry.line for entry in entries]


def leave(directory: Path, count: int = 1) -> Path:
    """Let a process die with so many records; the path of its segment."""
    dead = spool_in(directory)
    for number in range(count):
        dead.put(line(number))
    [segment] = dead.shares.segments()
    die(dead)
    return segment.path


def age(path: Path) -> None:
    """Let a file have been written long ago."""
    then = time.time() - LATER
    os.utime(path, (then, then))


def leave_unreadable(directory: Path, name: str) -> None:
    """Leave a segment with a torn tail that nobody can cut off."""
    file = os.memfd_create(name, os.MFD_ALLOW_SEALING)
    os.write(file, line(0) + b'{"half')
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    (directory / f"{name}.000001.jsonl").symlink_to(f"/proc/self/fd/{file}")


has_seals = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="no file here refuses to be cut"
)


def test_no_directory() -> None:
    """Where there is no directory each line is refused, and nothing can be adopted."""
    shares = Watched(None, Limits(MIB))
    with pytest.raises(OSError, match="no private directory"):
        shares.append(b"one\n")
    assert [] == take_over(None, ())
    shares.sync()
    shares.close()


def test_sync(shares: Watched) -> None:
    """Our newest lines may be kept for the loss of power, where there are any."""
    fill(shares, 1)
    shares.sync()
    shares.sync()
    [own] = shares.all()
    own.segments.clear()
    shares.sync()


def test_adopted_come_first(directory: Path, shares: Watched) -> None:
    """What was adopted is older than what is our own, and comes before it."""
    leave(directory)
    shares.append(line("own"))
    [(owned, waiting)] = take_over(directory, shares.held_names())
    shares.adopt(owned)
    assert (1, [line(0), line("own")]) == (waiting, lines(shares.unsettled()))


def test_one_that_cannot_be_read(directory: Path, shares: Watched) -> None:
    """A segment that cannot be read any more does not hide those behind it."""
    leave(directory)
    shares.append(line("own"))
    [(owned, _)] = take_over(directory, shares.held_names())
    shares.adopt(owned)
    owned.segments[0].close()
    assert [line("own")] == lines(shares.unsettled())


def test_own_share_is_deleted(directory: Path, shares: Watched) -> None:
    """Where our files were deleted the next line opens others; the old are still read."""
    fill(shares, 2)
    shutil.rmtree(directory)
    shares.set_gone_aside()
    assert [line(0), line(1)] == lines(shares.gone())
    shares.append(line("after"))
    assert [line(0), line(1), line("after")] == lines(shares.unsettled())
    assert SIZE + len("after") - 1 == sum(
        path.stat().st_size for path in directory.glob("*.jsonl")
    )


def test_own_share_without_segments_is_deleted(directory: Path, shares: Watched) -> None:
    """Where nothing but our lock was deleted the next line begins another share."""
    fill(shares, 1)
    shares.limits = Limits(64 * MIB, max_age=1.0)
    shares.expire(time.time() + LATER)
    shutil.rmtree(directory)
    shares.append(line(1))
    assert [line(1)] == lines(shares.unsettled())
    assert 1 == len(list(directory.glob("*.lock")))


def test_gone_is_not_set_aside_for_nothing(shares: Watched) -> None:
    """A share that is there stays ours, and so does none."""
    shares.set_gone_aside()
    fill(shares, 1)
    shares.set_gone_aside()
    fill(shares, 1)
    assert 1 == len(shares.all())


def test_gone_that_is_settled(directory: Path, shares: Watched) -> None:
    """Of what was deleted under us nothing settled comes back, and its share ends."""
    fill(shares, 2)
    shutil.rmtree(directory)
    shares.set_gone_aside()
    [segment] = shares.segments()
    segment.settle(segment.unsettled(), DELIVERED)
    assert [] == lines(shares.gone())
    shares.sweep()
    assert [] == shares.all()


def test_settled_segments_are_deleted(directory: Path, shares: Watched) -> None:
    """A settled segment is deleted, but for the one that is written to."""
    shares.limits = Limits(16 * SIZE)
    fill(shares, 9)
    first, second, third = shares.segments()
    for segment in (first, second, third):
        segment.settle(segment.unsettled(), DELIVERED)
    shares.sweep()
    assert [third.path] == list(directory.glob("*.jsonl"))
    shares.close()
    assert [directory / "settled.log"] == list(directory.iterdir())


def test_cap_drops_the_oldest_of_all(directory: Path, shares: Watched) -> None:
    """Room is made of what was adopted, then of what the dead left, then of our own."""
    shares.limits = Limits(4 * SIZE)
    for _ in range(2):
        leave(directory)
    [(owned, _), (other, _)] = take_over(directory, ())
    shares.adopt(owned)
    other.close()
    fill(shares, 2)
    assert Counter() == shares.drops
    fill(shares, 1)
    assert [other.name] == [path.name[: len(other.name)] for path in orphaned(directory)]
    fill(shares, 1)
    assert ({"spool_full": 1}, []) == (shares.drops, orphaned(directory))
    fill(shares, 1)
    assert {"spool_full": 2} == shares.drops
    [census] = take_census(directory.parent)
    assert ({"spool_full": 3}, 4, 7) == (census.dropped, census.pending, census.stored)


def orphaned(directory: Path) -> list[Path]:
    """Return each segment that nobody holds."""
    found: list[Path] = []
    for owned, _ in take_over(directory, ()):
        found += [segment.path for segment in owned.segments]
        owned.close()
    return found


def test_cap_spares_what_frees_nothing(directory: Path, shares: Watched) -> None:
    """What was deleted under us takes no room, so none is made of it."""
    fill(shares, 2)
    shutil.rmtree(directory)
    shares.set_gone_aside()
    shares.limits = Limits(4 * SIZE)
    fill(shares, 6)
    assert {"spool_full": 2} == shares.drops
    assert [line(0), line(1)] == lines(shares.unsettled())[:2]


def test_cap_stops_when_there_is_room(directory: Path, shares: Watched) -> None:
    """No more is let go of than has to be, of many that the dead left."""
    for _ in range(4):
        leave(directory)
    shares.limits = Limits(4 * SIZE)
    fill(shares, 1)
    assert 3 == len(orphaned(directory))
    [census] = take_census(directory.parent)
    assert (4, {"spool_full": 1}) == (census.pending, census.dropped)


@has_seals
def test_cap_passes_by_what_cannot_be_read(directory: Path, shares: Watched) -> None:
    """What cannot be read is not dropped to make room, and is in nobody's way."""
    leave_unreadable(directory, "0")
    leave(directory, 3)
    shares.limits = Limits(4 * SIZE)
    fill(shares, 1)
    assert ([], 1) == (orphaned(directory), len(list(shares.segments())))


def test_cap_counts_what_is_kept_by_the_living(directory: Path, shares: Watched) -> None:
    """What was delivered and kept makes room first, also while its owner lives."""
    shares.limits = Limits(8 * SIZE, keep_delivered=3600.0)
    for number in range(40):
        shares.append(line(number))
        for segment in list(shares.segments()):
            segment.settle(segment.unsettled(), DELIVERED)
        shares.sweep()
        size = sum(path.stat().st_size for path in directory.glob("*.jsonl"))
        assert size <= 8 * SIZE + 40
    assert Counter() == shares.drops
    [census] = take_census(directory.parent)
    assert (40, 40, True) == (census.stored, census.delivered, census.is_balanced)


def test_cap_spares_what_is_kept_if_it_can(directory: Path, shares: Watched) -> None:
    """No more of what was kept is deleted than room is wanted for."""
    shares.limits = Limits(8 * SIZE, keep_delivered=3600.0)
    fill(shares, 8)
    for segment in list(shares.segments())[:3]:
        segment.settle(segment.unsettled(), DELIVERED)
    shares.sweep()
    fill(shares, 1)
    assert (Counter(), 3) == (shares.drops, len(lines(shares.unsettled())))
    assert 2 == len(list(directory.glob("*.ack")))


def test_kept_for_as_long_as_asked(directory: Path, shares: Watched) -> None:
    """What was delivered is kept so long, also by a process that lives on."""
    shares.limits = Limits(8 * SIZE, keep_delivered=3600.0)
    fill(shares, 3)
    first, second = shares.segments()
    first.settle(first.unsettled(), DELIVERED)
    shares.sweep()
    now = time.time()
    expire(directory, shares.held_names(), shares.limits, now)
    assert first.path.exists()
    expire(directory, shares.held_names(), shares.limits, now + LATER)
    assert (False, True) == (first.path.exists(), second.path.exists())
    [census] = take_census(directory.parent)
    assert (3, 2, 1) == (census.stored, census.delivered, census.pending)


def test_own_expires(directory: Path, shares: Watched) -> None:
    """Segments to which nothing was written for too long are dropped, and counted."""
    shares.limits = Limits(8 * SIZE, max_age=100.0)
    fill(shares, 4)
    age(next(iter(shares.segments())).path)
    shares.expire(time.time())
    assert ({"expired": 2}, 2) == (shares.drops, len(lines(shares.unsettled())))
    [census] = take_census(directory.parent)
    assert (4, 2, {"expired": 2}) == (census.stored, census.pending, census.dropped)


def test_what_the_dead_left_expires(directory: Path) -> None:
    """What the dead left too long ago is let go of, and counted; the rest stays."""
    age(leave(directory, 3))
    new = leave(directory)
    expire(directory, (), Limits(MIB), time.time())
    assert 2 == len(orphaned(directory))
    expire(directory, (), Limits(MIB, max_age=100.0), time.time())
    assert [new] == orphaned(directory)
    [census] = take_census(directory.parent)
    assert ({"expired": 3}, 4, True) == (census.dropped, census.stored, census.is_balanced)


@has_seals
def test_unreadable_does_not_expire(directory: Path) -> None:
    """What cannot be read is not let go of, however old it is."""
    leave_unreadable(directory, "0")
    expire(directory, (), Limits(MIB, max_age=-LATER), time.time())
    assert (directory / "0.000001.jsonl").is_symlink()


def test_empty_lock_is_cleared_away(directory: Path) -> None:
    """A lock without segments, as a kill may leave it, is deleted when it is old."""
    (directory / "0.lock").touch()
    expire(directory, (), Limits(MIB, max_age=60.0), time.time() + 120.0)
    assert [] == list(directory.iterdir())


def test_never_more_at_once(directory: Path) -> None:
    """However many the dead are, a process takes so many at once, oldest first."""
    paths = [leave(directory) for _ in range(MOST_SHARES + 6)]
    taken = take_over(directory, ())
    assert paths[:MOST_SHARES] == [owned.segments[0].path for owned, _ in taken]
    rest = take_over(directory, {owned.name for owned, _ in taken}, 4)
    assert paths[MOST_SHARES:-2] == [owned.segments[0].path for owned, _ in rest]
    assert [] == take_over(directory, (), 0)
    for owned, _ in taken + rest:
        owned.close()


@has_seals
def test_unreadable_ones_are_in_nobody_s_way(directory: Path) -> None:
    """Those that cannot be recovered are no part of so many at once, and stay."""
    for number in range(3):
        leave_unreadable(directory, str(number))
    paths = [leave(directory) for _ in range(3)]
    taken = take_over(directory, (), 2)
    assert paths[:2] == [owned.segments[0].path for owned, _ in taken]
    for owned, _ in taken:
        owned.close()
    assert 3 == len([path for path in directory.glob("?.*.jsonl") if path.is_symlink()])


def test_full_disk_is_made_free(directory: Path, tmp_path: Path) -> None:
    """What is settled is deleted where the disk is full, too: that frees it."""
    program = """
        import os, resource
        from pathlib import Path
        from trubrics_trace.delivery._limits import Limits
        from trubrics_trace.delivery._shares import Shares

        directory = Path(os.environ["PLACE"])
        shares = Shares(directory, Limits(400), print)
        for _ in range(3):
            shares.append(b"x" * 99 + b"\\n")
        first, second, third = shares.segments()
        for segment in (first, second):
            segment.settle(segment.unsettled(), "delivered")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        shares.sweep()
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        print([path == third.path for path in directory.glob("*.jsonl")])
        """
    assert "[True]" == output_of(program, tmp_path, PLACE=str(directory))


def test_cap_looks_at_few(directory: Path, shares: Watched) -> None:
    """One record makes no more room than of sixteen that the dead left: the app waits."""
    for _ in range(20):
        leave(directory)
    shares.limits = Limits(4 * SIZE)
    fill(shares, 1)
    assert 4 == len(orphaned(directory))
    fill(shares, 1)
    assert 2 == len(orphaned(directory))  # of which there is room enough


def test_record_while_the_first_finds_its_place(directory: Path) -> None:
    """A signal's handler that records while a share is begun leaves one share, not two."""
    finds = 0

    def find() -> Path | None:
        nonlocal finds
        finds += 1
        if finds == 2:
            begun.append(line("between"))
        return directory if finds > 1 else None

    begun = Shares(find, Limits(MIB), lambda reason, count: None)
    begun.append(line("first"))
    assert [line("between"), line("first")] == lines(begun.unsettled())
    assert 1 == len(list(directory.glob("*.lock")))
    begun.close()
