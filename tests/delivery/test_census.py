"""What lies in a spool is told from its files alone, and a look changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.delivery.parts import line, spool_in
from trubrics_trace.delivery._census import Census, take_census
from trubrics_trace.delivery._directory import make_private


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a place for destinations."""
    place = tmp_path / "spool"
    assert make_private(place)
    return place


def test_nothing_there(tmp_path: Path) -> None:
    """Where there is no spool there is no destination, and no file is one."""
    assert [] == take_census(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    assert [] == take_census(tmp_path)


def test_every_record_has_its_place(root: Path) -> None:
    """Each record that was stored is delivered, pending, rejected or dropped."""
    spool = spool_in(root / "local")
    for number in range(6):
        spool.put(line(number, started_at=f"2026-01-02T03:04:0{number}+00:00"))
    first, second, third, *_ = spool.lease(6, 2**30)
    spool.settle_delivered([first])
    spool.settle_rejected(second, "HTTP 422")
    spool.settle_dropped([third], "corrupt")
    wanted = Census(
        label="local",
        pending=3,
        delivered=1,
        rejected=1,
        set_aside=1,
        dropped=1,
        bytes_on_disk=6 * len(line(0)),
        processes=1,
        oldest_pending="2026-01-02T03:04:03+00:00",
    )
    assert [wanted] == take_census(root)
    spool.close()


def test_set_aside_outlives_its_segment(root: Path) -> None:
    """What was refused is told as set aside also when its segment is gone."""
    spool = spool_in(root / "local")
    spool.put(line(0))
    spool.settle_rejected(spool.lease(1, 2**30)[0], "HTTP 422")
    spool.close()
    assert [Census(label="local", set_aside=1)] == take_census(root)


def test_processes(root: Path) -> None:
    """Each process that holds a part of a destination is counted while it lives."""
    spools = [spool_in(root / "local") for _ in range(3)]
    for spool in spools:
        spool.put(line(0))
    spools.pop().let_go()
    assert [(3, 2)] == [(one.pending, one.processes) for one in take_census(root)]
    for spool in spools:
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


@pytest.mark.parametrize("strange", [b"no JSON\n", b"[]\n", b"{}\n", b"5\n", b"\xff\n"])
def test_strange_record(root: Path, strange: bytes) -> None:
    """A strange record is counted, and tells no time."""
    spool = spool_in(root / "local")
    spool.put(strange)
    spool.put(line(0))
    [census] = take_census(root)
    assert (2, None) == (census.pending, census.oldest_pending)
    spool.close()


def test_segment_that_goes_meanwhile(root: Path) -> None:
    """A segment that is delivered, and deleted, during the look counts nothing."""
    spool = spool_in(root / "local")
    spool.put(line(0))
    (root / "local" / "0.000001.jsonl").symlink_to("gone")
    assert [1] == [one.pending for one in take_census(root)]
    spool.close()


def test_a_look_changes_nothing(root: Path) -> None:
    """Neither file nor lock is changed by a look, and what a process left stays left."""
    spool = spool_in(root / "local")
    spool.put(line(0))
    spool.let_go()
    before = {path: path.read_bytes() for path in (root / "local").iterdir()}
    take_census(root)
    assert before == {path: path.read_bytes() for path in (root / "local").iterdir()}
    assert 1 == spool_in(root / "local").adopt()
