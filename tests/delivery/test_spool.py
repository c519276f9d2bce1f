"""Records on disk before they are sent: whatever happens, each is in one place."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.delivery.parts import line, spool_in, wait_until
from trubrics_trace import _clock, configure, stats
from trubrics_trace.delivery._census import take_census
from trubrics_trace.delivery._directory import existing_root, make_private, spool_root
from trubrics_trace.delivery._owner import is_owner_alive
from trubrics_trace.delivery._segment import Entry
from trubrics_trace.delivery._spool import Spool
from trubrics_trace.errors import TelemetryError

EVERYTHING = (1_000_000, 2**40)
TORN = b'{"kind":"prompt","rec'


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


def ids(entries: list[Entry]) -> list[str]:
    """Return each entry's id."""
    return [json.loads(entry.line)["record_id"] for entry in entries]


def leased(spool: Spool) -> list[str]:
    """Return the id of each record that waits, oldest first."""
    return ids(spool.lease(*EVERYTHING))


def filled(spool: Spool, count: int) -> Spool:
    """Return the spool with so many records."""
    for number in range(count):
        spool.put(line(number))
    return spool


def noticed(reason: str) -> int:
    """Return how often a reason was counted."""
    return stats().noticed.get(reason, 0)


class Process:
    """One process with its spool, and the records that it should hold."""

    def __init__(self, directory: Path) -> None:
        self.spool = spool_in(directory, max_bytes=8_000)
        self.holds: set[str] = set()
        self.left: set[str] = set()  # what waited when it was closed


class SpoolMachine(RuleBasedStateMachine):
    """Processes over one directory: they put, settle, close, die, and adopt.

    A record that a process settled may come again after its end, for delivery is at least
    once; any other is held by one process, or left behind by one, until it is settled.
    """

    @initialize()
    def start(self) -> None:
        """Begin with one process."""
        self.parent = tempfile.TemporaryDirectory()
        self.directory = Path(self.parent.name) / "destination"
        self.processes = [Process(self.directory)]
        self.left_behind: set[str] = set()
        self.settled: set[str] = set()
        self.count = 0

    @precondition(lambda self: len(self.processes) < 3)
    @rule()
    def another_process(self) -> None:
        """Let another process begin."""
        self.processes.append(Process(self.directory))

    @rule(data=st.data(), length=st.integers(1, 900))
    def put(self, data: st.DataObject, length: int) -> None:
        """Let a process spool a record; where the cap drops, it drops the oldest."""
        process = self._one(data)
        self.count += 1
        before = leased(process.spool)
        dropped_before = process.spool.stats().dropped.get("spool_full", 0)
        process.spool.put(line(self.count, prompt="x" * length))
        dropped = process.spool.stats().dropped.get("spool_full", 0) - dropped_before
        assert leased(process.spool) == [*before[dropped:], str(self.count)]
        process.holds = {*before[dropped:], str(self.count)}
        self.settled |= set(before[:dropped])

    @rule(data=st.data(), how=st.sampled_from(["delivered", "rejected", "dropped"]))
    def settle(self, data: st.DataObject, how: str) -> None:
        """Let a process settle some of its oldest records, and say so twice."""
        process = self._one(data)
        entries = process.spool.lease(data.draw(st.integers(1, 5)), 2**40)
        chosen = [entry for entry in entries if data.draw(st.booleans())]
        for _ in range(2):  # the second time changes nothing
            if how == "delivered":
                process.spool.settle_delivered(chosen)
            elif how == "dropped":
                process.spool.settle_dropped(chosen, "corrupt")
            else:
                for entry in chosen:
                    process.spool.settle_rejected(entry, "HTTP 422")
        process.holds -= set(ids(chosen))
        self.settled |= set(ids(chosen))

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        """Let a process close its spool."""
        process = self._one(data)
        process.spool.close()
        self.left_behind |= process.holds
        process.left |= process.holds
        process.holds = set()

    @precondition(lambda self: len(self.processes) > 1)
    @rule(data=st.data(), torn=st.booleans())
    def crash(self, data: st.DataObject, torn: bool) -> None:
        """Let a process die, perhaps in the middle of a line."""
        process = self._one(data)
        process.spool.let_go()  # the kernel would close its files, and do no more
        self.processes.remove(process)
        self.left_behind |= process.holds
        dead = [
            path
            for path in sorted(self.directory.glob("*.jsonl"))
            if path.name != "rejected.jsonl"
            and not is_owner_alive(path.with_name(f"{path.name.split('.')[0]}.lock"))
        ]
        if torn and dead:
            with dead[-1].open("ab") as file:
                file.write(TORN)

    @rule(data=st.data())
    def adopt(self, data: st.DataObject) -> None:
        """Let a process take over what was left behind: all of it."""
        process = self._one(data)
        before = process.holds
        process.spool.adopt()
        now = set(leased(process.spool))
        assert before | self.left_behind <= now
        assert now <= before | self.left_behind | self.settled
        process.holds, process.left, self.left_behind = now, set(), set()

    @invariant()
    def every_record_is_in_one_place(self) -> None:
        """Each process holds what it should, and its sums are right."""
        for process in self.processes:
            held = leased(process.spool)
            assert sorted(process.holds) == sorted(held)
            now = process.spool.stats()
            assert now.is_balanced
            if not process.left:
                assert len(held) == now.pending

    def teardown(self) -> None:
        """Let all end: one more process finds whatever was not settled."""
        if not hasattr(self, "parent"):
            return
        for process in self.processes:
            self.left_behind |= process.holds
            process.spool.close()
        last = Process(self.directory)
        last.spool.adopt()
        assert self.left_behind <= set(leased(last.spool))
        last.spool.close()
        self.parent.cleanup()

    def _one(self, data: st.DataObject) -> Process:
        return data.draw(st.sampled_from(self.processes))


class TestSpoolMachine(SpoolMachine.TestCase):  # type: ignore[misc,valid-type] # made at run time
    """Nothing is lost or counted twice, whatever the processes do, and in what order."""

    settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_lease_is_bounded(directory: Path) -> None:
    """A lease is bounded in count and in bytes, and holds at least one record."""
    spool = filled(spool_in(directory), 5)
    size = len(line(0))
    assert ["0", "1", "2"] == ids(spool.lease(3, 2**30))
    assert ["0", "1"] == ids(spool.lease(5, 2 * size))
    assert ["0"] == ids(spool.lease(5, 1))


def test_files_are_ours_alone(directory: Path) -> None:
    """The spool's directory is 0700, and each file in it 0600."""
    spool = filled(spool_in(directory), 2)
    first, second = spool.lease(2, 2**30)
    spool.settle_delivered([first])
    spool.settle_rejected(second, "HTTP 422")
    filled(spool, 1)
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
    assert 3 == spool.stats().pending


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
    entries = spool.lease(2, 2**30)
    spool.settle_delivered(entries)
    spool.settle_delivered(entries)
    now = spool.stats()
    assert (["2"], 2, 1) == (leased(spool), now.delivered, now.pending)


def test_memory_is_bounded() -> None:
    """Beyond ten thousand records in memory the oldest is dropped, and counted."""
    spool = filled(spool_in(None), 10_002)
    now = spool.stats()
    assert (10_002, 10_000, {"memory_full": 2}) == (now.accepted, now.pending, now.dropped)
    assert "2" == leased(spool)[0]


def test_disk_after_memory(directory: Path) -> None:
    """When the disk takes records again, what is in memory waits beside them."""
    directory.parent.chmod(0o700)
    directory.write_text("a file where the directory should be")
    spool = filled(spool_in(directory), 1)
    directory.unlink()
    spool.put(line("on disk"))
    assert ["on disk", "0"] == leased(spool)
    assert spool.stats().is_balanced


def test_full_segment_is_sealed(directory: Path) -> None:
    """A full segment is followed by another, and deleted once it is settled."""
    spool = spool_in(directory, max_bytes=4_000)
    for number in range(6):
        spool.put(line(number, prompt="x" * 300))
    sealed = sorted(directory.glob("*.jsonl"))
    assert len(sealed) > 1
    spool.settle_delivered(spool.lease(5, 2**30))
    assert sorted(directory.glob("*.jsonl")) == sealed[-1:]
    assert ["5"] == leased(spool)


def test_cap_drops_the_oldest(directory: Path) -> None:
    """Where the cap leaves no place the oldest segments are dropped, counted, and gone."""
    spool = spool_in(directory, max_bytes=40_000)
    for number in range(100):
        spool.put(line(number, prompt="x" * 1_000))
    now = spool.stats()
    kept = leased(spool)
    assert kept == [str(number) for number in range(100 - len(kept), 100)]
    assert now.dropped == {"spool_full": 100 - len(kept)}
    assert sum(path.stat().st_size for path in directory.glob("*.jsonl")) <= 40_000


def test_cap_holds_where_delivered_is_kept(directory: Path) -> None:
    """What a cap drops is deleted, also where delivered segments are kept to be read."""
    spool = Spool(directory, max_bytes=40_000, keep_delivered=3600.0)
    for number in range(100):
        spool.put(line(number, prompt="x" * 1_000))
    assert sum(path.stat().st_size for path in directory.glob("*.jsonl")) <= 40_000


def test_cap_is_filled_to_the_last_byte(directory: Path) -> None:
    """Segments that are together as large as the cap are within it."""
    size = len(line(0))
    spool = spool_in(directory, max_bytes=4 * size)
    for number in range(4):
        spool.put(line(number))
    assert (["0", "1", "2", "3"], {}) == (leased(spool), spool.stats().dropped)
    spool.put(line(4))
    assert (["1", "2", "3", "4"], {"spool_full": 1}) == (
        leased(spool),
        spool.stats().dropped,
    )


def test_memory_outlives_a_close(directory: Path) -> None:
    """What waits in memory at a close is not among what is left in files."""
    directory.parent.chmod(0o700)
    directory.write_text("a file where the directory should be")
    spool = filled(spool_in(directory), 1)
    directory.unlink()
    for number in range(3):
        spool.put(line(f"on disk {number}"))
    spool.close()
    assert 0 == spool.adopt()
    assert (4, 0) == (spool.pending, spool.stats().adopted)
    assert spool.stats().is_balanced


def test_delivered_is_kept_to_be_read(directory: Path) -> None:
    """With `keep_delivered` a settled segment stays readable, and is never sent again."""
    spool = filled(Spool(directory, max_bytes=2**30, keep_delivered=3600.0), 3)
    spool.settle_delivered(spool.lease(3, 2**30))
    spool.close()
    again = Spool(directory, max_bytes=2**30, keep_delivered=3600.0)
    assert 0 == again.adopt()
    assert [] == leased(again)
    [census] = take_census(directory.parent)
    assert (3, 0) == (census.delivered, census.pending)


def test_kept_is_let_go_in_time(directory: Path) -> None:
    """A delivered segment that was kept long enough is deleted."""
    spool = filled(Spool(directory, max_bytes=2**30, keep_delivered=3600.0), 3)
    spool.settle_delivered(spool.lease(3, 2**30))
    spool.close()
    spool_in(directory).adopt()
    assert [] == list(directory.iterdir())


def test_nothing_is_left_of_a_spool_that_is_done(directory: Path) -> None:
    """A spool in which all is delivered leaves no file behind."""
    spool = filled(spool_in(directory), 3)
    spool.settle_delivered(spool.lease(3, 2**30))
    spool.close()
    assert [] == list(directory.iterdir())


def test_put_after_close(directory: Path) -> None:
    """A record that comes after the close is kept like any other."""
    spool = filled(spool_in(directory), 1)
    spool.close()
    spool.put(line("late"))
    spool.adopt()
    assert ["0", "late"] == leased(spool)
    assert 0 == spool.stats().adopted


def test_late_answer(directory: Path) -> None:
    """An answer that comes after the close settles nothing: who adopts sends it again."""
    spool = filled(spool_in(directory), 2)
    in_flight = spool.lease(2, 2**30)
    spool.close()
    other = spool_in(directory)
    assert 2 == other.adopt()
    spool.settle_delivered(in_flight)
    assert (0, ["0", "1"]) == (spool.stats().delivered, leased(other))
    assert spool.adopt() == -2
    assert 0 == spool.stats().pending


def test_what_was_settled_ahead_is_counted_again(directory: Path) -> None:
    """A record that comes again after a close is counted again, so the sums are right."""
    spool = filled(spool_in(directory), 3)
    _, second, _ = spool.lease(3, 2**30)
    spool.settle_delivered([second])
    spool.close()
    assert 1 == spool.adopt()
    assert ["0", "1", "2"] == leased(spool)
    assert (3, True) == (spool.stats().pending, spool.stats().is_balanced)


def test_living_owner_is_left_alone(directory: Path) -> None:
    """What a living process holds is not adopted."""
    living = filled(spool_in(directory), 2)
    other = spool_in(directory)
    assert (0, []) == (other.adopt(), leased(other))
    assert ["0", "1"] == leased(living)


def test_dead_owner_is_adopted_once(directory: Path) -> None:
    """What a dead process left is adopted by one of those that are alive."""
    filled(spool_in(directory), 2).let_go()
    first, second = spool_in(directory), spool_in(directory)
    assert (2, 0) == (first.adopt(), second.adopt())
    assert 2 == first.stats().adopted


def test_segment_that_cannot_be_opened(directory: Path) -> None:
    """What cannot be opened now is neither taken nor lost: the next time it is adopted."""
    filled(spool_in(directory), 2).let_go()
    [path] = directory.glob("*.jsonl")
    path.with_suffix(".ack").mkdir()
    spool = spool_in(directory)
    assert 0 == spool.adopt()
    path.with_suffix(".ack").rmdir()
    assert 2 == spool.adopt()


def test_adopting_opens_no_more_than_it_closes(directory: Path) -> None:
    """A segment that cannot be opened costs no file, however often it is tried."""
    filled(spool_in(directory), 2).let_go()
    [path] = directory.glob("*.jsonl")
    path.with_suffix(".ack").mkdir()
    spool = spool_in(directory)
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208 - names are enough
    for _ in range(5):
        spool.adopt()
    assert before == len(os.listdir("/dev/fd"))  # noqa: PTH208


def test_torn_tail_is_counted(directory: Path) -> None:
    """A line that its killed writer left unfinished is cut off and counted."""
    filled(spool_in(directory), 2).let_go()
    [path] = directory.glob("*.jsonl")
    with path.open("ab") as file:
        file.write(TORN)
    spool = spool_in(directory)
    assert (2, ["0", "1"]) == (spool.adopt(), leased(spool))
    assert 1 == noticed("torn_tail")


def test_deleted_directory(directory: Path) -> None:
    """Where the directory is deleted while it is used, its records are still sent."""
    spool = filled(spool_in(directory), 2)
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    spool.put(line("after"))
    assert ["0", "1", "after"] == leased(spool)
    spool.settle_delivered(spool.lease(3, 2**30))
    assert (3, 0) == (spool.stats().delivered, spool.adopt())


def test_rejected_is_set_aside(directory: Path) -> None:
    """A refused record is set aside on disk with its reason, and counted under it."""
    spool = filled(spool_in(directory), 2)
    spool.settle_rejected(spool.lease(1, 2**30)[0], "HTTP 422: user_id: missing")
    [aside] = (directory / "rejected.jsonl").read_text().splitlines()
    kept = json.loads(aside)
    assert "HTTP 422: user_id: missing" == kept["reason"]
    assert kept["record"].encode() == line(0)
    assert {"HTTP 422: user_id: missing": 1} == spool.stats().rejected


def test_rejected_with_no_place(nowhere: Path) -> None:
    """A refused record that cannot be set aside is still counted as refused."""
    spool = filled(spool_in(nowhere), 1)
    spool.settle_rejected(spool.lease(1, 2**30)[0], "HTTP 422")
    assert {"HTTP 422": 1} == spool.stats().rejected
    assert 1 == noticed("rejected_not_kept")


def test_rejected_in_bytes_that_are_no_text(directory: Path) -> None:
    """A refused record whose bytes are no text is set aside as far as it can be told."""
    spool = spool_in(directory)
    spool.put(b'{"kind": "prompt", "prompt": "\xed\xa0\x80"}\n')
    spool.settle_rejected(spool.lease(1, 2**30)[0], "HTTP 422")
    assert {"HTTP 422": 1} == spool.stats().rejected


def test_rejected_in_memory() -> None:
    """A refused record that is in memory alone is counted, and waits no more."""
    spool = filled(spool_in(None), 2)
    spool.settle_rejected(spool.lease(1, 2**30)[0], "HTTP 422")
    assert ({"HTTP 422": 1}, ["1"]) == (spool.stats().rejected, leased(spool))
    assert 0 == noticed("rejected_not_kept")


def test_two_destinations_never_mix(tmp_path: Path) -> None:
    """What was spooled for one destination is not found in another's spool."""
    first, second = spool_in(tmp_path / "first"), spool_in(tmp_path / "second")
    first.put(line("first"))
    second.put(line("second"))
    first.let_go()
    assert (0, ["second"]) == (second.adopt(), leased(second))


def test_oldest_pending(directory: Path) -> None:
    """How long the oldest record has waited is told while one waits, and not after."""
    before = _clock.monotonic()
    spool = filled(spool_in(directory), 1)
    waited = spool.stats().oldest_pending_seconds
    assert waited is not None
    assert 0.0 <= waited <= _clock.monotonic() - before
    spool.settle_delivered(spool.lease(1, 2**30))
    assert spool.stats().oldest_pending_seconds is None


def test_bytes_on_disk(directory: Path) -> None:
    """The bytes on disk are those of the segments that this process answers for."""
    assert filled(spool_in(directory), 2).stats().bytes_on_disk == 2 * len(line(0))


def test_threads(directory: Path) -> None:
    """Threads that put, while others settle, adopt and close, lose and double nothing."""
    spool = spool_in(directory, max_bytes=2**30)
    delivered: list[str] = []
    is_over = threading.Event()

    def put(first: int) -> None:
        """Let a process spool a record; where the cap drops, it drops the oldest."""
        for number in range(first, first + 250):
            spool.put(line(number))

    def settle() -> None:
        """Let a process settle some of its oldest records, and say so twice."""
        while not is_over.is_set() or spool.stats().pending:
            spool.adopt()
            entries = spool.lease(50, 2**30)
            before = spool.stats().delivered
            spool.settle_delivered(entries)
            assert spool.stats().delivered <= before + len(entries)
            delivered.extend(ids(entries))

    def close() -> None:
        """Let a process close its spool."""
        while not is_over.is_set():
            spool.close()
            assert spool.stats().is_balanced

    putters = [threading.Thread(target=put, args=(n * 1000,)) for n in range(4)]
    others = [threading.Thread(target=settle), threading.Thread(target=close)]
    for thread in [*putters, *others]:
        thread.start()
    for thread in putters:
        thread.join()
    is_over.set()
    for thread in others:
        thread.join()
    wanted = {str(first * 1000 + number) for first in range(4) for number in range(250)}
    assert set(delivered) == wanted
    now = spool.stats()
    assert (1000, 0) == (now.accepted, now.pending)
    spool.close()
    wait_until(lambda: not list(directory.iterdir()))
