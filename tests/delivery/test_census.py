"""What lies in a spool is told from its files alone, and a look changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.delivery.parts import MIB, die, line, spool_in
from trubrics_trace.delivery._census import Census, Counted, take_census
from trubrics_trace.delivery._directory import make_private
from trubrics_trace.delivery._erased import erase
from trubrics_trace.delivery._limits import Limits
from trubrics_trace.delivery._spool import Spool


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a place for destinations."""
    place = tmp_path / "spool"
    assert make_private(place)
    return place


def filled(directory: Path, count: int) -> Spool:
    """Return a spool with so many records."""
    spool = spool_in(directory)
    for number in range(count):
        spool.put(line(number, started_at=f"2026-01-02T03:04:0{number}+00:00"))
    return spool


def deliver(spool: Spool, count: int) -> None:
    """Deliver so many of the oldest records."""
    with spool.lease(count, 2**30) as entries:
        assert entries
        spool.settle_delivered(entries)


def test_nothing_there(tmp_path: Path) -> None:
    """Where there is no spool there is no destination, and no file is one."""
    assert [] == take_census(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    assert [] == take_census(tmp_path)


@pytest.mark.parametrize("size", [1023, 1024, 1025])
def test_erased_where_a_read_ends(root: Path, size: int) -> None:
    """What was erased is counted once, wherever in the file it begins."""
    spool = spool_in(root / "local")
    for number in range(2_050):
        user_id = "bob" if number in (0, 1_023, 1_024, 2_048) else "alice"
        short = line(f"{number:04}", user_id=user_id, prompt="")
        spool.put(line(f"{number:04}", user_id=user_id, prompt="x" * (size - len(short))))
    spool.close()
    assert 4 == erase(root / "local", "bob").waiting
    (census,) = take_census(root)
    assert (2_050, 2_046, {"erased": 4}) == (census.stored, census.pending, census.dropped)


def test_erased_beside_what_was_settled_out_of_turn(root: Path) -> None:
    """What was delivered before its turn, and then erased, stays delivered."""
    spool = spool_in(root / "local")
    for number, user_id in enumerate(("alice", "bob", "bob", "alice")):
        spool.put(line(number, user_id=user_id))
    with spool.lease(4, 2**30) as entries:
        assert entries
        spool.settle_delivered([entries[2]])
    die(spool)
    erase(root / "local", "bob")
    (census,) = take_census(root)
    assert (1, 2, {"erased": 1}) == (census.delivered, census.pending, census.dropped)


def test_every_record_has_its_place(root: Path) -> None:
    """Each record that was stored is delivered, pending or rejected, by reason."""
    spool = filled(root / "local", 6)
    with spool.lease(3, 2**30) as entries:
        assert entries
        first, second, third = entries
        spool.settle_delivered([first])
        spool.settle_rejected(third, "corrupt")
        spool.settle_rejected(second, "HTTP 422")
    spool.say(retries=3)
    notes = sum(path.stat().st_size for path in root.glob("local/*.ack"))
    wanted = Census(
        label="local",
        stored=6,
        pending=3,
        delivered=1,
        rejected={"HTTP 422": 1, "corrupt": 1},
        set_aside=2,
        bytes_on_disk=6 * len(line(0)) + notes,
        processes=({"pid": os.getpid(), "retries": 3},),
        oldest_pending="2026-01-02T03:04:03+00:00",
    )
    assert [wanted] == take_census(root)
    assert wanted.is_balanced
    spool.close()


def test_oldest_beside_what_is_settled(root: Path) -> None:
    """The oldest that waits is told also where one behind it is delivered."""
    spool = filled(root / "local", 3)
    with spool.lease(2, 2**30) as entries:
        assert entries
        spool.settle_delivered(entries[1:])
    [census] = take_census(root)
    assert (2, "2026-01-02T03:04:00+00:00") == (census.pending, census.oldest_pending)
    assert census.is_balanced
    spool.close()


def test_outlives_its_segments(root: Path) -> None:
    """What became of records is told also when their segments are gone."""
    spool = filled(root / "local", 3)
    with spool.lease(3, 2**30) as entries:
        assert entries
        spool.settle_rejected(entries[0], "HTTP 422")
        spool.settle_delivered(entries[1:])
    spool.close()
    wanted = Census(
        label="local", stored=3, delivered=2, rejected={"HTTP 422": 1}, set_aside=1
    )
    assert [wanted] == take_census(root)


def test_dropped(root: Path) -> None:
    """What a cap let go of is told, by reason, also by whom nobody asks any more."""
    spool = Spool(root / "local", Limits(4 * len(line(0))))
    for number in range(7):
        spool.put(line(number))
    die(spool)
    [census] = take_census(root)
    assert (7, 4, {"spool_full": 3}) == (census.stored, census.pending, census.dropped)
    assert census.is_balanced


def test_kept_counts_once(root: Path) -> None:
    """A delivered segment that is kept to be read is told once."""
    spool = Spool(root / "local", Limits(64 * MIB, keep_delivered=3600.0))
    spool.put(line(0))
    deliver(spool, 1)
    assert [(1, 1)] == [(one.stored, one.delivered) for one in take_census(root)]
    spool.close()
    assert [(1, 1)] == [(one.stored, one.delivered) for one in take_census(root)]


def test_crash_before_the_deletion(root: Path) -> None:
    """A segment that is remembered and still there counts once: nothing of it waits."""
    spool = filled(root / "local", 2)
    deliver(spool, 1)
    [path] = root.glob("local/*.jsonl")
    log = root / "local" / "settled.log"
    log.write_text(
        '{"stored": 2, "delivered": 1, "rejected": {}, "dropped": {"expired": 1}, '
        f'"segments": ["{path.name}"]}}\n'
    )
    die(spool)
    [census] = take_census(root)
    assert (2, 1, 0, {"expired": 1}) == (
        census.stored,
        census.delivered,
        census.pending,
        census.dropped,
    )


def test_processes(root: Path) -> None:
    """Each process that holds a part of a destination is told once, while it lives."""
    spools = [filled(root / "local", 1) for _ in range(3)]
    assert [(3, 1)] == [(one.pending, len(one.processes)) for one in take_census(root)]
    for spool in spools:
        die(spool)
    assert [(3, 0)] == [(one.pending, len(one.processes)) for one in take_census(root)]


def test_process_that_begins(root: Path) -> None:
    """A process that has not said who it is yet is not told."""
    spool = filled(root / "local", 1)
    [lock] = root.glob("local/*.lock")
    lock.write_bytes(b"")
    assert [()] == [one.processes for one in take_census(root)]
    spool.close()


def test_oldest_of_all(root: Path) -> None:
    """The oldest record that waits is the oldest of every process's."""
    times = ["2026-01-02T03:04:06+00:00", "2026-01-02T03:04:05+00:00"]
    for time in times:
        spool_in(root / "local").put(line(0, started_at=time))
    assert [times[1]] == [one.oldest_pending for one in take_census(root)]


def test_destinations_by_label(root: Path) -> None:
    """Each destination is told for itself, by label."""
    for label in ("b", "c", "a"):
        spool_in(root / label).put(line(label))
    assert [("a", 1), ("b", 1), ("c", 1)] == [
        (one.label, one.pending) for one in take_census(root)
    ]


@pytest.mark.parametrize(
    "strange", [b"no JSON\n", b"[]\n", b"{}\n", b"5\n", b"\xff\n", b"[" * 10**5 + b"\n"]
)
def test_strange_record(root: Path, strange: bytes) -> None:
    """A strange record is counted, and tells no time."""
    spool = spool_in(root / "local")
    spool.put(strange)
    spool.put(line(0))
    [census] = take_census(root)
    assert (2, None) == (census.pending, census.oldest_pending)
    die(spool)
    other = spool_in(root / "local")
    other.adopt()
    assert other.stats().oldest_pending_seconds is None  # nobody here knows when it came


def test_torn_tail(root: Path) -> None:
    """What a killed writer left unfinished is no record, and breaks no sum."""
    die(filled(root / "local", 2))
    [path] = root.glob("local/*.jsonl")
    with path.open("ab") as file:
        file.write(b'{"half')
    [census] = take_census(root)
    assert (2, 2, True) == (census.stored, census.pending, census.is_balanced)


def test_segment_that_goes_meanwhile(root: Path) -> None:
    """A segment that is delivered, and deleted, during the look counts nothing."""
    spool = filled(root / "local", 1)
    (root / "local" / "0.000001.jsonl").symlink_to("gone")
    assert [1] == [one.pending for one in take_census(root)]
    assert 1 == Counted().pending(root / "local")
    spool.close()


def test_a_look_changes_nothing(root: Path) -> None:
    """Neither file nor lock is changed by a look, and what a process left stays left."""
    die(filled(root / "local", 1))
    before = {path: path.read_bytes() for path in (root / "local").iterdir()}
    take_census(root)
    assert before == {path: path.read_bytes() for path in (root / "local").iterdir()}
    assert 1 == spool_in(root / "local").adopt()


def test_counted_again_where_it_has_changed(root: Path) -> None:
    """What waits is counted right, however often, whatever came and went meanwhile."""
    counted, spool = Counted(), filled(root / "local", 3)
    assert [3, 3] == [counted.pending(root / "local") for _ in range(2)]
    deliver(spool, 2)
    assert 1 == counted.pending(root / "local")
    spool.put(line("more"))
    assert 2 == counted.pending(root / "local")
    spool.close()
