"""Records on disk before they are sent: whatever happens, each is in one place."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PosixPath
from typing import Any, ClassVar

import pytest

from tests.delivery.parts import MIB, Clock, die, line, spool_in, wait_until
from tests.process.program import output_of
from trubrics_trace import configure, stats
from trubrics_trace.delivery._aside import read_aside
from trubrics_trace.delivery._census import take_census
from trubrics_trace.delivery._directory import existing_root, make_private, spool_root
from trubrics_trace.delivery._limits import Limits
from trubrics_trace.delivery._segment import Entry
from trubrics_trace.delivery._spool import Spool
from trubrics_trace.errors import TelemetryError

EVERYTHING = (1_000_000, 2**40)
TORN = b'{"kind":"prompt","rec'
SIZE = len(line(0))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a place for a spool that is not made yet."""
    place = tmp_path / "spool" / "destination"
    assert make_private(place.parent)
    return place


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """Return a place below a regular file: as root, too, nobody can write there."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "destination"


class Hopping(Clock):
    """A clock that hops on after two looks, as if what came then had taken so long.

    The first look of a put is for its patience with the lock.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hop = 0.0
        self._looks = 0

    def __call__(self) -> float:
        """Return the time, and hop on."""
        now = super().__call__()
        self._looks = self._looks + 1 if self.hop else 0
        if self._looks == 2:
            self.now, self.hop = now + self.hop, 0.0
        return now


class Watched(PosixPath):
    """A directory in which something happens when it is next looked through."""

    at_next_look: ClassVar[list[Callable[[], object]]] = []

    def glob(self, pattern: str, **more: Any) -> Any:
        """Let it happen, and look."""
        while self.at_next_look:
            self.at_next_look.pop()()
        return super().glob(pattern, **more)


def ids(entries: list[Entry] | None) -> list[str]:
    """Return each entry's id."""
    assert entries is not None
    return [json.loads(entry.line)["record_id"] for entry in entries]


def leased(spool: Spool, count: int = 10**6, size: int = 2**40) -> list[str]:
    """Return the id of each record that waits, oldest first."""
    with spool.lease(count, size) as entries:
        return ids(entries)


def deliver(spool: Spool, count: int = 10**6) -> list[str]:
    """Deliver so many of the oldest, and return their ids."""
    with spool.lease(count, 2**40) as entries:
        assert entries is not None
        spool.settle_delivered(entries)
        return ids(entries)


def reject(spool: Spool, reason: str) -> None:
    """Reject the oldest record."""
    with spool.lease(1, 2**40) as entries:
        assert entries
        spool.settle_rejected(entries[0], reason)


def filled(spool: Spool, count: int) -> Spool:
    """Return the spool with so many records."""
    for number in range(count):
        spool.put(line(number))
    return spool


def noticed(reason: str) -> int:
    """Return how often a reason was counted."""
    return stats().noticed.get(reason, 0)


@contextlib.contextmanager
def locked(spool: Spool) -> Iterator[None]:
    """Let another thread hold the spool's lock, as a slow disk makes it."""
    is_over, is_held = threading.Event(), threading.Event()

    def hold() -> None:
        with spool._lock:
            is_held.set()
            is_over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait()
    yield
    is_over.set()
    thread.join()


def test_lease_is_bounded(directory: Path) -> None:
    """A lease is bounded in count and in bytes, and holds at least one record."""
    spool = filled(spool_in(directory), 5)
    assert ["0", "1", "2"] == leased(spool, 3)
    assert ["0", "1"] == leased(spool, 5, 2 * SIZE)
    assert ["0"] == leased(spool, 5, 1)


def test_one_lease_at_once(directory: Path) -> None:
    """What is lent to one is nobody else's, until it is given back."""
    spool = filled(spool_in(directory), 3)
    with spool.lease(2, 2**40) as entries:
        assert ["0", "1"] == ids(entries)
        assert (True, 3, 1) == (spool.is_leased, spool.pending, spool.waiting)
        with spool.lease(1, 2**40) as other:
            assert other is None
        assert spool.is_leased
        spool.settle_delivered(entries or [])
        assert (1, 1) == (spool.pending, spool.waiting)
    assert (False, ["2"]) == (spool.is_leased, leased(spool))


def test_lease_of_nothing(directory: Path) -> None:
    """Where nothing waits the lease holds nothing, and is one all the same."""
    spool = spool_in(directory)
    with spool.lease(1, 1) as entries:
        assert ([], True) == (entries, spool.is_leased)


def test_settled_once(directory: Path) -> None:
    """What is settled is counted once, whoever says it again, and in whatever order."""
    spool = filled(spool_in(directory), 3)
    with spool.lease(3, 2**40) as entries:
        assert entries
        spool.settle_delivered(entries[::-2])
        spool.settle_delivered(entries)
        spool.settle_rejected(entries[1], "HTTP 422")
    now = spool.stats()
    assert (3, 0, {}) == (now.delivered, now.pending, now.rejected)


def test_settled_out_of_turn_survives_a_crash(directory: Path) -> None:
    """A record that was settled before its elders is not sent again after a crash."""
    spool = filled(spool_in(directory), 4)
    with spool.lease(4, 2**40) as entries:
        assert entries
        spool.settle_delivered([entries[3], entries[1]])
        die(spool)
    other = spool_in(directory)
    assert (2, ["0", "2"]) == (other.adopt(), leased(other))


def test_files_are_ours_alone(directory: Path) -> None:
    """The spool's directory is 0700, and each file in it 0600."""
    spool = filled(spool_in(directory), 3)
    deliver(spool, 1)
    reject(spool, "HTTP 422")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert 0o700 == stat.S_IMODE(directory.stat().st_mode)
    assert {0o600} == modes


def test_shared_directory_gets_a_private_one_inside(tmp_path: Path) -> None:
    """A directory that others may read keeps its mode; the spool lies inside it."""
    place = tmp_path / "wide"
    place.mkdir(mode=0o755)
    root = spool_root(str(place))
    assert place / "trubrics-trace" == root == existing_root(str(place))
    assert 0o700 == stat.S_IMODE(root.stat().st_mode)
    assert 0o755 == stat.S_IMODE(place.stat().st_mode)


def test_link_is_refused(tmp_path: Path) -> None:
    """A link is no place for a spool: it may point anywhere."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert spool_root(str(tmp_path / "link")) is None


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="needs root")
def test_foreign_directory_is_refused(tmp_path: Path) -> None:
    """A directory that belongs to somebody else is no place for a spool."""
    place = tmp_path / "foreign"
    place.mkdir(mode=0o700)
    os.chown(place, 12345, 12345)
    assert spool_root(str(place)) is None


def test_no_name_for_a_directory(tmp_path: Path) -> None:
    """A name that no file can have is no place for a spool."""
    assert spool_root(str(tmp_path / "a\0b")) is None


def test_relative_place_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative place is meant from where the app was, also after it has moved."""
    monkeypatch.chdir(tmp_path)
    root = spool_root("spool")
    assert root == tmp_path / "spool"


def test_state_directory_of_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a setting the spool lies in the platform's state directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert spool_root(None) == tmp_path / "state" / "trubrics-trace"


def test_unwritable_place_means_memory(nowhere: Path) -> None:
    """Where no file can be written, records wait in memory, counted, in order."""
    spool = filled(spool_in(nowhere), 3)
    assert ["0", "1", "2"] == leased(spool)
    assert 3 == noticed("in_memory")
    assert (3, 0) == (spool.stats().pending, spool.stats().bytes_on_disk)


def test_refusal_is_said_once(nowhere: Path, caplog: pytest.LogCaptureFixture) -> None:
    """That the disk refuses is said once, with the remedy, however many records come."""
    filled(spool_in(nowhere), 3)
    said = [message for message in caplog.messages if "disk refused" in message]
    assert 1 == len(said)
    assert "TRUBRICS_TRACE_SPOOL_DIR" in said[0]


def test_refusal_when_strict(nowhere: Path) -> None:
    """In strict mode a disk that refuses is raised, and the record is still kept."""
    configure(strict=True)
    spool = spool_in(nowhere)
    with pytest.raises(TelemetryError, match="spool_refused"):
        spool.put(line(0))
    assert ["0"] == leased(spool)


def test_memory_is_settled_like_disk() -> None:
    """A record in memory is settled once, like one on disk."""
    spool = filled(spool_in(None), 3)
    with spool.lease(2, 2**30) as entries:
        assert entries
        spool.settle_delivered(entries)
        spool.settle_delivered(entries)
    now = spool.stats()
    assert (["2"], 2, 1) == (leased(spool), now.delivered, now.pending)


def test_memory_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Beyond ten thousand records in memory the oldest is dropped, counted, and said."""
    spool = filled(spool_in(None), 10_002)
    now = spool.stats()
    assert (10_002, 10_000, {"memory_full": 2}) == (now.accepted, now.pending, now.dropped)
    assert "2" == leased(spool)[0]
    assert 1 == len([said for said in caplog.messages if "(memory_full)" in said])


def test_dropped_from_memory_on_its_way() -> None:
    """A record that memory let go of while it was on its way is not counted again."""
    spool = filled(spool_in(None), 10_000)
    with spool.lease(1, 2**30) as entries:
        assert entries
        spool.put(line("more"))
        spool.settle_delivered(entries)
    now = spool.stats()
    assert (0, 10_000, {"memory_full": 1}) == (now.delivered, now.pending, now.dropped)


def test_back_to_the_disk(nowhere: Path) -> None:
    """When the disk takes records again, what is in memory goes there first."""
    clock = Clock()
    spool = filled(Spool(nowhere, Limits(MIB), clock=clock), 2)
    nowhere.parent.unlink()
    spool.tend()
    assert (2, ["0", "1"]) == (spool.stats().accepted, leased(spool))
    die(spool)
    other = spool_in(nowhere)
    assert (2, ["0", "1"]) == (other.adopt(), leased(other))


def test_back_to_the_disk_with_the_next_record(nowhere: Path) -> None:
    """A second later the next record brings along what is in memory, in order."""
    clock = Clock()
    spool = filled(Spool(nowhere, Limits(MIB), clock=clock), 2)
    nowhere.parent.unlink()
    clock.now += 1.0
    spool.put(line(2))
    assert ["0", "1", "2"] == leased(spool)
    assert 3 * SIZE == spool.stats().bytes_on_disk


def test_back_to_the_disk_step_by_step(nowhere: Path) -> None:
    """One call carries no more than two hundred records back: the app waits for it."""
    spool = filled(spool_in(nowhere), 450)
    nowhere.parent.unlink()
    for on_disk in (200, 400, 450, 450):
        spool.tend()
        assert on_disk == sum(
            path.read_bytes().count(b"\n") for path in nowhere.glob("*.jsonl")
        )
    assert 450 == spool.stats().pending


def test_nothing_moves_while_it_is_lent(nowhere: Path) -> None:
    """What is lent from memory is settled there; all else goes to the disk meanwhile."""
    spool = filled(spool_in(nowhere), 2)
    nowhere.parent.unlink()
    with spool.lease(1, 2**30) as entries:
        spool.tend()
        assert SIZE == spool.stats().bytes_on_disk
        spool.settle_delivered(entries or [])
    spool.tend()
    assert (["1"], SIZE) == (leased(spool), spool.stats().bytes_on_disk)


def test_slow_disk(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that takes over 50 ms for a write is left alone for a minute; that is said."""
    clock = Hopping()
    spool = filled(Spool(directory, Limits(MIB), clock=clock), 1)
    clock.hop = 0.06
    spool.put(line(1))
    assert 1 == len([said for said in caplog.messages if "took 0.06 s" in said])
    clock.now += 30.0
    spool.put(line(2))
    assert (1, 2 * SIZE) == (noticed("slow_disk"), spool.stats().bytes_on_disk)
    clock.now += 60.0
    spool.put(line(3))
    assert ["0", "1", "2", "3"] == leased(spool)
    assert 4 * SIZE == spool.stats().bytes_on_disk


def test_slow_disk_that_was_a_hitch(directory: Path) -> None:
    """The sender's thread brings records to the disk; if that is quick, the minute ends."""
    clock = Hopping()
    spool = Spool(directory, Limits(MIB), clock=clock)
    clock.hop = 0.06
    spool.put(line(0))
    clock.hop = 0.0
    spool.put(line(1))
    assert (True, SIZE) == (spool.wants_tending, spool.stats().bytes_on_disk)
    spool.tend()
    spool.put(line(2))
    assert (False, 3 * SIZE) == (spool.wants_tending, spool.stats().bytes_on_disk)
    assert 1 == noticed("slow_disk")


def test_slow_disk_before_full_memory(directory: Path) -> None:
    """A slow disk is better than none: where memory is full it is used all the same."""
    clock = Hopping()
    spool = Spool(directory, Limits(64 * MIB), clock=clock)
    clock.hop = 0.06
    filled(spool, 10_003)
    now = spool.stats()
    assert (10_003, {}) == (now.pending, now.dropped)
    assert 3 == sum(path.read_bytes().count(b"\n") for path in directory.glob("*.jsonl"))


def test_slow_disk_at_the_end(directory: Path) -> None:
    """A close brings what is in memory to the disk, be it slow: memory ends with us."""
    clock = Hopping()
    spool = Spool(directory, Limits(MIB), clock=clock)
    clock.hop = 0.06
    filled(spool, 3)
    spool.close()
    other = spool_in(directory)
    assert (3, ["0", "1", "2"]) == (other.adopt(), leased(other))


def test_disk_that_holds_the_lock(directory: Path) -> None:
    """While another thread waits for the disk a record goes to memory, and later there."""
    spool = filled(spool_in(directory), 1)
    with locked(spool):
        spool.put(line("late"))
        assert (1, 2, 2) == (noticed("slow_disk"), spool.pending, spool.waiting)
        assert spool.wants_tending
    now = spool.stats()
    assert (2, 2, True) == (now.accepted, now.pending, now.bytes_on_disk > SIZE)
    assert ["0", "late"] == leased(spool)


@pytest.mark.parametrize(
    "then",
    [
        lambda spool: spool.put(line("after")),
        lambda spool: leased(spool),
        lambda spool: spool.mark(),
        lambda spool: spool.tend(),
        lambda spool: spool.close(),
    ],
)
def test_late_record_is_taken_in(directory: Path, then: Callable[[Spool], object]) -> None:
    """A record that came while the lock was held is taken in by whatever comes next."""
    spool = spool_in(directory)
    with locked(spool):
        spool.put(line("late"))
    then(spool)
    assert not spool._late
    assert spool.stats().is_balanced


def test_full_segment_is_sealed(directory: Path) -> None:
    """A full segment is followed by another, and deleted once it is settled."""
    spool = spool_in(directory, max_bytes=4_000)
    for number in range(6):
        spool.put(line(number, prompt="x" * 300))
    sealed = sorted(directory.glob("*.jsonl"))
    assert len(sealed) > 1
    deliver(spool, 5)
    assert sorted(directory.glob("*.jsonl")) == sealed[-1:]
    assert ["5"] == leased(spool)


def test_cap_drops_the_oldest(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the cap leaves no place the oldest segments are dropped, counted, and gone."""
    spool = spool_in(directory, max_bytes=40_000)
    for number in range(100):
        spool.put(line(number, prompt="x" * 1_000))
    now = spool.stats()
    kept = leased(spool)
    assert kept == [str(number) for number in range(100 - len(kept), 100)]
    assert now.dropped == {"spool_full": 100 - len(kept)}
    assert sum(path.stat().st_size for path in directory.glob("*.jsonl")) <= 40_000
    assert 1 == len([said for said in caplog.messages if "(spool_full)" in said])


def test_cap_is_filled_to_the_last_byte(directory: Path) -> None:
    """Segments that are together as large as the cap are within it."""
    spool = filled(spool_in(directory, max_bytes=4 * SIZE), 4)
    assert (["0", "1", "2", "3"], {}) == (leased(spool), spool.stats().dropped)
    spool.put(line(4))
    assert ["1", "2", "3", "4"] == leased(spool)
    assert {"spool_full": 1} == spool.stats().dropped


def test_dropped_on_its_way(directory: Path) -> None:
    """A record that the cap let go of while it was on its way is not counted again."""
    spool = filled(spool_in(directory, max_bytes=4 * SIZE), 4)
    with spool.lease(2, 2**30) as entries:
        spool.put(line(4))
        spool.settle_delivered(entries or [])
    now = spool.stats()
    assert (1, 3, {"spool_full": 1}) == (now.delivered, now.pending, now.dropped)


def test_expired(directory: Path) -> None:
    """What nobody took for too long is dropped, counted; what came since is kept."""
    spool = Spool(
        directory, Limits(8 * SIZE, max_age=3600.0), wall=lambda: time.time() + 3000.0
    )
    filled(spool, 4)
    old, _ = sorted(directory.glob("*.jsonl"))
    os.utime(old, (time.time() - 1000.0, time.time() - 1000.0))
    spool.adopt()
    now = spool.stats()
    assert (["2", "3"], {"expired": 2}, 2) == (leased(spool), now.dropped, now.pending)


def test_settled_is_not_dropped(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is delivered is never counted as dropped, however old its file."""
    spool = filled(Spool(directory, Limits(MIB, max_age=-60.0)), 2)
    deliver(spool)
    spool.adopt()
    assert ({}, 2) == (spool.stats().dropped, spool.stats().delivered)
    assert [] == caplog.messages


def test_other_limits(directory: Path) -> None:
    """Limits that are said later hold from there on."""
    spool = filled(spool_in(directory), 4)
    spool.shares.limits = Limits(MIB, max_age=-60.0)
    spool.adopt()
    assert {"expired": 4} == spool.stats().dropped


def test_tidy(directory: Path, nowhere: Path) -> None:
    """What dead processes left too long ago is let go of, also where nobody adopts it."""
    die(filled(spool_in(directory), 2))
    Spool(directory, Limits(MIB, max_age=-60.0)).tidy()
    [census] = take_census(directory.parent)
    assert (0, {"expired": 2}) == (census.pending, census.dropped)
    spool_in(nowhere).tidy()
    spool_in(None).tidy()


def test_memory_outlives_a_close(nowhere: Path) -> None:
    """What waits in memory at a close, for no disk takes it, is not among what is left."""
    spool = filled(spool_in(nowhere), 2)
    spool.close()
    assert (0, False) == (spool.adopt(), spool.has_left)
    assert (["0", "1"], 2) == (leased(spool), spool.stats().pending)


def test_close_brings_memory_to_the_disk(nowhere: Path) -> None:
    """A close brings all that is in memory to the disk, if that takes it by now."""
    spool = filled(spool_in(nowhere), 450)
    nowhere.parent.unlink()
    spool.close()
    assert (True, 450) == (spool.has_left, spool.pending)
    assert 450 == spool_in(nowhere).adopt()


def test_delivered_is_kept_to_be_read(directory: Path) -> None:
    """With `keep_delivered` a settled segment stays readable, and is never sent again."""
    limits = Limits(64 * MIB, keep_delivered=3600.0)
    spool = filled(Spool(directory, limits), 3)
    deliver(spool)
    spool.close()
    again = Spool(directory, limits)
    assert (0, []) == (again.adopt(), leased(again))
    [kept] = directory.glob("*.jsonl")
    assert b"".join(map(line, range(3))) == kept.read_bytes()


def test_kept_is_let_go_in_time(directory: Path) -> None:
    """A delivered segment that was kept long enough is deleted."""
    spool = filled(Spool(directory, Limits(64 * MIB, keep_delivered=3600.0)), 3)
    deliver(spool)
    spool.close()
    spool_in(directory).tidy()
    assert [directory / "settled.log"] == list(directory.iterdir())


def test_nothing_is_left_of_a_spool_that_is_done(directory: Path) -> None:
    """A spool in which all is delivered leaves nothing but the sum of it."""
    spool = filled(spool_in(directory), 3)
    deliver(spool)
    spool.close()
    assert [directory / "settled.log"] == list(directory.iterdir())
    [census] = take_census(directory.parent)
    assert (3, 3) == (census.stored, census.delivered)


def test_put_after_close(directory: Path) -> None:
    """A record that comes after the close is kept like any other."""
    spool = filled(spool_in(directory), 1)
    spool.close()
    spool.put(line("late"))
    spool.adopt()
    assert ["0", "late"] == leased(spool)
    assert (0, 2) == (spool.stats().adopted, spool.stats().pending)


def test_close_waits_for_what_is_lent(directory: Path) -> None:
    """What is lent at a close stays ours until it is given back, and is settled."""
    spool = filled(spool_in(directory), 2)
    other = spool_in(directory)
    with spool.lease(1, 2**30) as entries:
        spool.close()
        assert 0 == other.adopt()
        spool.settle_delivered(entries or [])
    assert (1, 1) == (spool.stats().delivered, other.adopt())
    assert ["1"] == leased(other)


def test_put_undoes_a_close_that_waits(directory: Path) -> None:
    """A record that comes while a close waits for a lease keeps the spool open."""
    spool = filled(spool_in(directory), 1)
    with spool.lease(1, 2**30):
        spool.close()
        spool.put(line("more"))
    assert (["0", "more"], 0) == (leased(spool), spool_in(directory).adopt())


def test_late_answer(directory: Path) -> None:
    """An answer that comes after the close settles nothing: who adopts sends it again."""
    spool = filled(spool_in(directory), 2)
    with spool.lease(2, 2**30) as entries:
        assert entries
    spool.close()
    other = spool_in(directory)
    assert 2 == other.adopt()
    spool.settle_delivered(entries)
    assert (0, ["0", "1"]) == (spool.stats().delivered, leased(other))
    assert -2 == spool.adopt()
    assert 0 == spool.stats().pending


def test_close_while_it_adopts(directory: Path) -> None:
    """What a close leaves while we look for orphans is found by the next look."""
    die(filled(spool_in(directory), 2))
    spool = filled(spool_in(Watched(directory)), 1)
    Watched.at_next_look.append(spool.close)
    assert (0, True, 1) == (spool.adopt(), spool.has_left, spool.pending)
    assert (2, False, 3) == (spool.adopt(), spool.has_left, spool.pending)
    assert ["0", "1", "0"] == leased(spool)


def test_living_owner_is_left_alone(directory: Path) -> None:
    """What a living process holds is not adopted."""
    living = filled(spool_in(directory), 2)
    other = spool_in(directory)
    assert (0, []) == (other.adopt(), leased(other))
    assert ["0", "1"] == leased(living)


def test_dead_owner_is_adopted_once(directory: Path) -> None:
    """What a dead process left is adopted by one of those that are alive."""
    die(filled(spool_in(directory), 2))
    first, second = spool_in(directory), spool_in(directory)
    assert (2, 0) == (first.adopt(), second.adopt())
    assert 2 == first.stats().adopted


def test_many_dead_owners(directory: Path) -> None:
    """However many are dead, no more than 64 shares are open: the app needs files, too."""
    for number in range(150):
        spool = spool_in(directory)
        spool.put(line(number))
        die(spool)
    spool = spool_in(directory)
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208 - names are enough
    mark = spool.mark()
    delivered: list[str] = []
    for _ in range(10):
        spool.adopt()
        assert len(spool.shares.all()) <= 64
        assert len(os.listdir("/dev/fd")) <= before + 2 * 64 + 8  # noqa: PTH208
        delivered += deliver(spool, 50)
        assert spool.is_past(mark) == (len(delivered) == 150)
    assert [str(number) for number in range(150)] == delivered
    assert (150, 150) == (spool.stats().adopted, spool.stats().delivered)


def test_more_dead_owners_than_can_be_held(directory: Path) -> None:
    """What was left by a close is not given up while there is more than can be held."""
    for number in range(70):
        spool = spool_in(directory)
        spool.put(line(number))
        die(spool)
    spool = filled(spool_in(directory), 1)
    spool.close()
    assert 64 == spool.adopt()
    for _ in range(3):
        assert (0, True, 65) == (spool.adopt(), spool.has_left, spool.pending)
    deliver(spool)
    assert (6, False, 7) == (spool.adopt(), spool.has_left, spool.pending)


def test_segment_that_cannot_be_opened(directory: Path) -> None:
    """What cannot be opened now is neither taken nor lost: the next time it is adopted."""
    die(filled(spool_in(directory), 2))
    [path] = directory.glob("*.jsonl")
    path.with_suffix(".ack").mkdir()
    spool = spool_in(directory)
    assert 0 == spool.adopt()
    path.with_suffix(".ack").rmdir()
    assert 2 == spool.adopt()


def test_adopting_opens_no_more_than_it_closes(directory: Path) -> None:
    """A segment that cannot be opened costs no file, however often it is tried."""
    die(filled(spool_in(directory), 2))
    [path] = directory.glob("*.jsonl")
    path.with_suffix(".ack").mkdir()
    spool = spool_in(directory)
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208 - names are enough
    for _ in range(5):
        spool.adopt()
    assert before == len(os.listdir("/dev/fd"))  # noqa: PTH208


def test_torn_tail_is_counted(directory: Path) -> None:
    """A line that its killed writer left unfinished is cut off and counted."""
    die(filled(spool_in(directory), 2))
    [path] = directory.glob("*.jsonl")
    with path.open("ab") as file:
        file.write(TORN)
    spool = spool_in(directory)
    assert (2, ["0", "1"]) == (spool.adopt(), leased(spool))
    assert 1 == noticed("torn_tail")


def test_deleted_directory(directory: Path) -> None:
    """Where the directory is deleted while it is used, its records are still sent."""
    spool = filled(spool_in(directory), 2)
    shutil.rmtree(directory)
    spool.put(line("after"))
    assert ["0", "1", "after"] == deliver(spool)
    assert (3, 0) == (spool.stats().delivered, spool.adopt())


def test_deleted_directory_is_made_anew(directory: Path) -> None:
    """What was deleted under us returns to a new directory, and survives us there."""
    spool = filled(spool_in(directory), 2)
    with spool.lease(1, 2**30) as entries:
        shutil.rmtree(directory)
        spool.settle_delivered(entries or [])
    spool.tend()
    spool.put(line("after"))
    assert ["1", "after"] == leased(spool)
    assert (2, 1) == (spool.stats().pending, spool.stats().delivered)
    die(spool)
    other = spool_in(directory)
    assert (2, ["1", "after"]) == (other.adopt(), leased(other))


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_next_segment_in_a_new_directory(directory: Path, how: str) -> None:
    """Where another made the directory anew, a next segment has its lock beside it."""
    spool = spool_in(directory, max_bytes=1500)
    spool.put(line("first", prompt="x" * 300))
    if how == "deleted":
        shutil.rmtree(directory)
    else:
        directory.rename(directory.with_name("elsewhere"))
    other = filled(spool_in(directory, max_bytes=1500), 1)
    spool.put(line("next"))
    assert (0, ["0"]) == (other.adopt(), leased(other))
    assert ["first", "next"] == deliver(spool)


def test_mark_follows_to_the_new_directory(directory: Path) -> None:
    """What waited at a mark is waited for also where its directory was deleted."""
    spool = filled(spool_in(directory), 2)
    mark = spool.mark()
    shutil.rmtree(directory)
    spool.tend()
    assert not spool.is_past(mark)
    deliver(spool)
    assert spool.is_past(mark)


def test_deleted_directory_at_a_close(directory: Path) -> None:
    """What was deleted under us, and finds no other place at a close, is counted lost."""
    spool = filled(spool_in(directory), 2)
    mark = spool.mark()
    shutil.rmtree(directory)
    directory.write_text("no directory can be made here")
    spool.close()
    assert ({"spool_deleted": 2}, 0, 0) == (
        spool.stats().dropped,
        spool.pending,
        spool.adopt(),
    )
    assert spool.is_past(mark)


def test_directory_is_deleted_by_another(directory: Path) -> None:
    """A mark is past where others took over what a close left, and delivered it."""
    spool = filled(spool_in(directory), 2)
    mark = spool.mark()
    spool.close()
    assert not spool.is_past(mark)
    other = spool_in(directory)
    other.adopt()
    assert (-2, True) == (spool.adopt(), spool.is_past(mark))


def test_rejected_is_set_aside(directory: Path) -> None:
    """A refused record is set aside on disk with its reason, and counted under it."""
    spool = filled(spool_in(directory), 2)
    reject(spool, "HTTP 422: user_id: missing")
    assert [("HTTP 422: user_id: missing", line(0))] == [
        (aside.reason, aside.line) for aside in read_aside(directory)
    ]
    assert {"HTTP 422: user_id: missing": 1} == spool.stats().rejected


def test_rejected_with_no_place(nowhere: Path) -> None:
    """A refused record that cannot be set aside is still counted as refused."""
    spool = filled(spool_in(nowhere), 1)
    reject(spool, "HTTP 422")
    assert {"HTTP 422": 1} == spool.stats().rejected
    assert 1 == noticed("rejected_not_kept")


def test_rejected_in_memory() -> None:
    """A refused record that is in memory alone is counted, and waits no more."""
    spool = filled(spool_in(None), 2)
    reject(spool, "HTTP 422")
    assert ({"HTTP 422": 1}, ["1"]) == (spool.stats().rejected, leased(spool))


def test_two_destinations_never_mix(tmp_path: Path) -> None:
    """What was spooled for one destination is not found in another's spool."""
    first, second = spool_in(tmp_path / "first"), spool_in(tmp_path / "second")
    first.put(line("first"))
    second.put(line("second"))
    die(first)
    assert (0, ["second"]) == (second.adopt(), leased(second))


def test_oldest_pending(directory: Path) -> None:
    """How long the oldest record has waited is told while one waits, to the second."""
    clock = Clock()
    spool = Spool(directory, Limits(MIB), clock=clock)
    for number in range(3):
        spool.put(line(number, started_at="2999-01-02T03:04:05+00:00"))
        clock.now += 0.6
    assert spool.stats().oldest_pending_seconds == pytest.approx(1.8)
    deliver(spool, 2)
    assert spool.stats().oldest_pending_seconds == pytest.approx(0.6)
    deliver(spool, 1)
    assert spool.stats().oldest_pending_seconds is None


def test_oldest_pending_of_another(directory: Path) -> None:
    """How long the record of a dead process has waited is told by its date."""
    dead = spool_in(directory)
    dead.put(line(0, started_at="2026-01-02T03:04:05+00:00"))
    dead.put(line(1, started_at="2999-01-02T03:04:05+00:00"))
    die(dead)
    spool = spool_in(directory)
    spool.adopt()
    assert (spool.stats().oldest_pending_seconds or 0.0) > 3600.0
    deliver(spool, 1)
    assert 0.0 == spool.stats().oldest_pending_seconds


@pytest.mark.parametrize("strange", [b"[]\n", b'{"started_at": "no date"}\n'])
def test_oldest_that_tells_no_time(directory: Path, strange: bytes) -> None:
    """Where the oldest record of a dead process tells no time, none is told."""
    dead = spool_in(directory)
    dead.put(strange)
    die(dead)
    spool = spool_in(directory)
    assert 1 == spool.adopt()
    assert spool.stats().oldest_pending_seconds is None


def test_bytes_on_disk(directory: Path) -> None:
    """The bytes on disk are those of the segments that this process answers for."""
    assert 2 * SIZE == filled(spool_in(directory), 2).stats().bytes_on_disk


def test_said_to_the_command_line(directory: Path) -> None:
    """What a process says of itself stands in its files, once it has any."""
    spool = spool_in(directory)
    spool.say(retries=1)
    filled(spool, 1).say(retries=2)
    [census] = take_census(directory.parent)
    assert [{"pid": os.getpid(), "retries": 2}] == list(census.processes)


def test_sync(directory: Path) -> None:
    """What was put may be kept for the loss of power, also where nothing was."""
    spool = spool_in(directory)
    spool.sync()
    filled(spool, 1).sync()
    spool.close()
    spool.sync()
    assert 1 == spool.pending


def test_file_system_without_locks(tmp_path: Path) -> None:
    """Where no file can be locked records wait in memory, and nothing hangs."""
    program = """
        import os, sys
        from pathlib import Path
        from tests.delivery.parts import line, spool_in

        def refuse(event, arguments):
            if event == "fcntl.flock":
                raise OSError("no locks here")

        sys.addaudithook(refuse)
        spool = spool_in(Path(os.environ["PLACE"]))
        spool.put(line(0))
        print(spool.stats().pending, list(Path(os.environ["PLACE"]).iterdir()))
        """
    place = str(tmp_path / "destination")
    root = str(Path(__file__).parents[2])
    assert "1 []" == output_of(program, tmp_path, PLACE=place, PYTHONPATH=root)


def test_threads(directory: Path) -> None:  # noqa: C901 - three kinds of threads
    """Threads that put, while others settle, adopt and close, lose and double nothing."""
    spool = spool_in(directory)
    delivered: list[str] = []
    faults: list[str] = []
    is_over = threading.Event()

    def put(first: int) -> None:
        for number in range(first, first + 250):
            spool.put(line(number))

    def settle() -> None:
        while not is_over.is_set() or spool.stats().pending:
            spool.adopt()
            spool.tend()
            with spool.lease(50, 2**30) as entries:
                if entries:
                    spool.settle_delivered(entries)
                    delivered.extend(ids(entries))

    def close() -> None:
        while not is_over.is_set():
            spool.close()
            if not spool.stats().is_balanced:
                faults.append("a moment in which the law did not hold")

    putters = [threading.Thread(target=put, args=(n * 1000,)) for n in range(4)]
    others = [threading.Thread(target=settle), threading.Thread(target=close)]
    for thread in [*putters, *others]:
        thread.start()
    for thread in putters:
        thread.join()
    is_over.set()
    for thread in others:
        thread.join()
    wanted = [str(first * 1000 + number) for first in range(4) for number in range(250)]
    assert sorted(wanted) == sorted(delivered)
    now = spool.stats()
    assert (1000, 0, []) == (now.accepted, now.pending, faults)
    spool.close()
    wait_until(lambda: [directory / "settled.log"] == list(directory.iterdir()))


def test_put_in_the_middle_of_a_close(directory: Path) -> None:
    """A record that a signal's handler makes in a close is kept, and counted once."""
    at, calls = 0, [0]  # no plain number: before 3.13 a profiler's frame is written back
    while calls[0] >= at:
        at, calls[0] = at + 1, 0
        spool = filled(spool_in(directory / str(at)), 1)

        def come_between(frame: object, event: str, argument: object) -> None:
            calls[0] += event in ("call", "c_call")
            if event in ("call", "c_call") and calls[0] == at:  # noqa: B023
                spool.put(line("between"))  # noqa: B023

        sys.setprofile(come_between)
        spool.close()
        sys.setprofile(None)
        made = 1 + (calls[0] >= at)
        now = spool.stats()
        assert (made, made, 0) == (now.accepted, now.pending, now.adopted)
        spool.adopt()
        assert ["0", "between"][:made] == sorted(leased(spool))
        assert spool.stats().is_balanced
        spool.close()
    assert at > 20


def test_close_on_a_slow_disk(nowhere: Path) -> None:
    """What does not reach a slow disk in the time of a close stays in memory, counted."""
    clock = Clock()
    spool = filled(Spool(nowhere, Limits(MIB), clock=lambda: clock() + clock.asked), 9)
    nowhere.parent.unlink()
    spool.close(3.0)
    on_disk = sum(path.read_bytes().count(b"\n") for path in nowhere.glob("*.jsonl"))
    assert 0 < on_disk < 9
    now = spool.stats()
    assert (9, True) == (now.pending, now.is_balanced)
    spool.close()
    assert 9 == spool_in(nowhere).adopt()


def test_revoked(nowhere: Path) -> None:
    """At exit also what is lent from memory goes to the disk, for the next process."""
    spool = filled(spool_in(nowhere), 3)
    nowhere.parent.unlink()
    with spool.lease(2, 2**30):
        spool.close()
        assert 1 == sum(path.read_bytes().count(b"\n") for path in nowhere.glob("*.jsonl"))
        spool.revoke()
        other = spool_in(nowhere)
        assert (3, ["2", "0", "1"]) == (other.adopt(), leased(other))


def test_revoked_without_a_close(directory: Path) -> None:
    """What nobody closes is not let go of: a record has come since."""
    spool = filled(spool_in(directory), 1)
    with spool.lease(1, 2**30):
        spool.revoke()
        assert 0 == spool_in(directory).adopt()
    assert ["0"] == leased(spool)


def test_first_record_beside_a_full_spool(directory: Path) -> None:
    """A process that begins drops nothing that still fits: it may be about to send it."""
    dead = filled(Spool(directory, Limits(MIB)), 9 * MIB // (10 * SIZE))
    die(dead)
    spool = Spool(directory, Limits(MIB))
    spool.put(line("first"))
    assert 9 * MIB // (10 * SIZE) == spool.adopt()
    [census] = take_census(directory.parent)
    assert ({}, spool.pending) == (census.dropped, census.pending)
