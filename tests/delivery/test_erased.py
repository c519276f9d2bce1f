"""A user who is erased is gone from disk, from what is read, and from what is sent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.parts import MIB, Clock, Transport, die, line, spool_in, wait_until
from trubrics_trace._record import record_from_line
from trubrics_trace.delivery._aside import read_aside, set_aside
from trubrics_trace.delivery._census import Census, Counted, take_census
from trubrics_trace.delivery._erased import (
    Erased,
    Erasure,
    erase,
    has_erased,
    read_erased,
)
from trubrics_trace.delivery._limits import Limits
from trubrics_trace.delivery._reader import Reader
from trubrics_trace.delivery._segment import Entry
from trubrics_trace.delivery._sender import Sender
from trubrics_trace.delivery._spool import Spool

SECRET = "what alice asked"


def hers(record_id: object) -> bytes:
    """Return a line of the user who is erased."""
    return line(record_id, user_id="alice", prompt=SECRET)


def his(record_id: object) -> bytes:
    """Return a line of another."""
    return line(record_id, user_id="bob")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return one destination's directory."""
    return tmp_path / "acme"


@pytest.fixture
def spool(here: Path) -> Iterator[Spool]:
    """Return a living process's spool, with her line between two of his."""
    spool = Spool(here, Limits(MIB, keep_delivered=60.0), clock=Clock())
    for one in (his(1), hers(2), his(3)):
        spool.put(one)
    yield spool
    die(spool)


def census(here: Path) -> Census:
    """Return what became of all, in which nothing has vanished."""
    [found] = take_census(here.parent)
    assert found.is_balanced
    return found


def ids(here: Path) -> list[str]:
    """Return the ids of the records that can be read."""
    return [one.values["record_id"] for one in Reader(here.parent).all()]


def is_on_disk(here: Path) -> bool:
    """Whether any file still has a byte of what she asked."""
    return any(SECRET.encode() in path.read_bytes() for path in here.rglob("*.*"))


def sent_by_a_sender(spool: Spool) -> list[str]:
    """Return what a sender sends of a spool until nothing waits."""
    transport = Transport()
    sender = Sender(spool, transport, label="acme", flush_interval=60.0, batch_size=100)
    sender.hurry()
    wait_until(lambda: not spool.pending)
    sender.stop(10.0)
    return sorted(transport.sent)


def test_what_waits_is_dropped(here: Path, spool: Spool) -> None:
    """What waited counts as dropped at once, and nothing of it is left on disk."""
    assert Erasure(waiting=1) == erase(here, "alice")
    found = census(here)
    assert (3, 2, {"erased": 1}) == (found.stored, found.pending, found.dropped)
    assert ["1", "3"] == ids(here)
    assert not is_on_disk(here)


def test_the_owner_obeys(here: Path, spool: Spool) -> None:
    """The living owner sends what is others', and counts what was hers as dropped."""
    erase(here, "alice")
    assert ["1", "3"] == sent_by_a_sender(spool)
    now = spool.stats()
    assert (3, 2, {"erased": 1}, True) == (
        now.accepted,
        now.delivered,
        now.dropped,
        now.is_balanced,
    )
    assert (2, {"erased": 1}) == (census(here).delivered, census(here).dropped)
    spool.close()
    assert (2, {"erased": 1}) == (census(here).delivered, census(here).dropped)


def test_an_heir_obeys(here: Path, spool: Spool) -> None:
    """Who adopts what a dead process left obeys as its owner would."""
    die(spool)
    erase(here, "alice")
    heir = spool_in(here)
    assert 3 == heir.adopt()
    assert ["1", "3"] == sent_by_a_sender(heir)
    assert (True, {"erased": 1}) == (heir.stats().is_balanced, heir.stats().dropped)
    heir.close()
    assert {"erased": 1} == census(here).dropped


def test_what_is_written_later(here: Path, spool: Spool) -> None:
    """A call that began before is erased though it ends later: unread, and unsent."""
    erase(here, "alice")
    spool.put(hers("late"))
    assert ["1", "3"] == ids(here)
    assert ["1", "3"] == sent_by_a_sender(spool)
    assert {"erased": 2} == spool.stats().dropped
    assert {"erased": 2} == census(here).dropped
    assert not is_on_disk(here)


def test_what_is_in_memory(here: Path, spool: Spool) -> None:
    """What waits in memory is not sent, either."""
    erase(here, "alice")
    spool._contents.keep_in_memory(hers("memory"))
    spool._tally.accept()
    assert ["1", "3"] == sent_by_a_sender(spool)
    assert (True, {"erased": 2}) == (spool.stats().is_balanced, spool.stats().dropped)


def test_what_is_lent_of_memory(here: Path) -> None:
    """What is in memory alone is taken by the tombstone as what is on disk."""
    here.mkdir()
    erase(here, "alice")
    for one, expected in ((hers(1), True), (his(2), False), (b"no record\n", False)):
        entry = Entry(None, 1, one)
        assert expected is read_erased(here).takes(entry, record_from_line(one))


def test_what_began_later(here: Path, spool: Spool) -> None:
    """A user who comes again is recorded, read and sent as ever."""
    erase(here, "alice")
    spool.put(line("new", started_at=datetime.now(timezone.utc).isoformat()))
    assert ["1", "3", "new"] == ids(here)
    assert ["1", "3", "new"] == sent_by_a_sender(spool)


def test_what_was_delivered_and_is_kept(here: Path, spool: Spool) -> None:
    """What was delivered stays counted so, and nothing of it is left on disk."""
    sent_by_a_sender(spool)
    spool.close()
    assert ["1", "2", "3"] == ids(here)
    assert Erasure(settled=1) == erase(here, "alice")
    assert ["1", "3"] == ids(here)
    assert (3, {}) == (census(here).delivered, census(here).dropped)
    assert not is_on_disk(here)


def test_what_was_set_aside(here: Path, spool: Spool) -> None:
    """What was refused is no longer set aside, and what names the user is not, either."""
    for one in (hers(4), his(5), b'half a line of "alice"\n'):
        assert set_aside(here, one, "HTTP 422", MIB)
    assert Erasure(waiting=1, set_aside=2) == erase(here, "alice")
    assert [his(5)] == [one.line for one in read_aside(here)]
    assert not is_on_disk(here)


def test_what_is_no_record(here: Path, spool: Spool) -> None:
    """A line that is no record, and names the user, is erased as well."""
    spool.put(b'{"kind": "prompt", "user_id": "alice", ' + SECRET.encode() + b"\n")
    assert Erasure(waiting=2) == erase(here, "alice")
    assert {"erased": 2} == census(here).dropped
    assert not is_on_disk(here)


def test_a_prompt_that_names_her(here: Path, spool: Spool) -> None:
    """What another said of the user is the other's."""
    spool.put(line(4, user_id="bob", prompt='"alice"'))
    assert Erasure(waiting=1) == erase(here, "alice")
    assert ["1", "3", "4"] == ids(here)


def test_twice(here: Path, spool: Spool) -> None:
    """Who is erased is found no second time."""
    erase(here, "alice")
    assert Erasure() == erase(here, "alice")
    assert {"erased": 1} == census(here).dropped


def test_killed_half_way(here: Path, spool: Spool) -> None:
    """What was made blank by half counts as erased, and the next try ends the work."""
    erase(here, "alice")
    [segment] = here.glob("*.*.jsonl")
    with segment.open("r+b") as file:
        file.seek(len(his(1)) + 30)
        file.write(SECRET.encode())
    assert (["1", "3"], {"erased": 1}) == (ids(here), census(here).dropped)
    erase(here, "alice")
    assert not is_on_disk(here)


def test_a_trial(here: Path, spool: Spool) -> None:
    """A trial finds the same, and changes nothing."""
    set_aside(here, hers(4), "HTTP 422", MIB)
    content = {path: path.read_bytes() for path in here.iterdir()}
    assert Erasure(waiting=1, set_aside=1) == erase(here, "alice", is_trial=True)
    assert content == {path: path.read_bytes() for path in here.iterdir()}


def test_age(here: Path, spool: Spool) -> None:
    """A segment is as old as its last record, whatever was erased from it."""
    die(spool)
    [segment] = here.glob("*.*.jsonl")
    os.utime(segment, (5.0, 5.0))
    erase(here, "alice")
    assert 5.0 == segment.stat().st_mtime
    Spool(here, Limits(MIB, max_age=60.0)).tidy()
    assert 3 == sum(census(here).dropped.values())


def test_tombstone_tells_nothing(here: Path, spool: Spool) -> None:
    """A tombstone does not say who it is of, and nobody else may read it."""
    erase(here, "alice")
    tombstones = here / "erased.log"
    assert b"alice" not in tombstones.read_bytes()
    assert 0o600 == tombstones.stat().st_mode & 0o777


def test_a_torn_tombstone(here: Path, spool: Spool) -> None:
    """A torn tombstone says nothing, and the others hold."""
    erase(here, "alice")
    with (here / "erased.log").open("ab") as file:
        file.write(b'{"user": "a')
    assert read_erased(here).has("alice", "2026-01-01")
    assert not read_erased(here).has("bob", "2026-01-01")
    assert not read_erased(None).moments


@pytest.mark.parametrize(
    ("started_at", "expected"),
    [
        ("1970-01-01T00:01:40+00:00", True),
        ("1970-01-01T00:01:41+00:00", False),
        ("soon", True),
        (None, True),
    ],
)
def test_moment(started_at: object, expected: bool) -> None:
    """What began up to that moment is erased, and what does not say when it began."""
    [(name, _)] = Erased({_name_of("alice"): 100.0}).moments.items()
    assert expected is Erased({name: 100.0}).has("alice", started_at)


def _name_of(user_id: str) -> str:
    with tempfile.TemporaryDirectory() as directory:
        erase(Path(directory), user_id)
        [name] = read_erased(Path(directory)).moments
        return name


def test_stranded_count(here: Path, spool: Spool) -> None:
    """What waits where nobody sends is counted without what was erased."""
    erase(here, "alice")
    assert 2 == Counted().pending(here)


def test_tombstones_that_cannot_be_read(here: Path, spool: Spool) -> None:
    """Where something else stands in their place, records are counted all the same."""
    (here / "erased.log").mkdir()
    assert 3 == Counted().pending(here) == census(here).pending


def unhurried(here: Path) -> Spool:
    """Return a spool for which no disk is slow, be the machine busy with others."""
    return Spool(here, Limits(64 * MIB), clock=Clock())


STEPS = st.lists(
    st.sampled_from(["hers", "his", "erase", "send", "die", "close", "adopt"]), max_size=20
)


@given(STEPS)
def test_nothing_vanishes(steps: list[str]) -> None:
    """After each step, in whatever order, every record is counted in one place."""
    with tempfile.TemporaryDirectory() as root:
        here = Path(root, "acme")
        here.mkdir(mode=0o700)
        spool = unhurried(here)
        for number, step in enumerate(steps):
            if step in ("hers", "his"):
                spool.put(hers(number) if step == "hers" else his(number))
            elif step == "erase":
                erase(here, "alice")
            elif step == "send":
                sent_by_a_sender(spool)
            elif step == "adopt":
                spool.adopt()
            else:
                spool.close() if step == "close" else die(spool)
                spool = unhurried(here)
            assert spool.stats().is_balanced
            stored = census(here).stored
            assert stored == sum(one in ("hers", "his") for one in steps[: number + 1])
            assert "erase" != step or not is_on_disk(here)
        die(spool)


def test_a_place_that_cannot_be_asked(tmp_path: Path) -> None:
    """Where the system refuses even to say whether there are tombstones there are none."""
    assert not has_erased(tmp_path / ("x" * 300))
