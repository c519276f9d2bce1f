"""Whatever happens to spools over one directory, in what order: nothing vanishes."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.delivery.parts import die, line
from trubrics_trace.delivery._census import Census, take_census
from trubrics_trace.delivery._limits import Limits
from trubrics_trace.delivery._progress import read_progress
from trubrics_trace.delivery._segment import Entry
from trubrics_trace.delivery._spool import Spool
from trubrics_trace.delivery._totals import read_totals

MOST_PROCESSES = 3
MAX_AGE_SECONDS = 1000.0
TORN = b'{"kind":"prompt","rec'


class Clocks:
    """A clock that hops on when told so, and a wall clock beside it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.hop_after_next = 0.0
        self.wall_offset = 0.0

    def monotonic(self) -> float:
        """Return the time, and hop on if that was asked for."""
        now = self.now
        self.now, self.hop_after_next = now + self.hop_after_next, 0.0
        return now

    def wall(self) -> float:
        """Return the date, as the ages of files are measured with it."""
        return time.time() + self.wall_offset


class Process:
    """One process with its spool, its lease, and what it left behind when it closed."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        self.clocks = Clocks()
        self.spool = Spool(
            directory, limits, clock=self.clocks.monotonic, wall=self.clocks.wall
        )
        self.leasing = contextlib.ExitStack()
        self.leased: list[Entry] | None = None
        self.is_closing = False
        self.left = 0

    def entries(self) -> list[Entry]:
        """Return all that could be leased, were nothing lent."""
        return list(self.spool._contents.oldest(10**6, 2**60))

    def dropped(self) -> int:
        """Return how many records it has let go of."""
        return sum(self.spool.stats().dropped.values())


def ids(entries: Iterable[Entry]) -> list[str]:
    """Return each entry's id."""
    return [id_of(entry.line) for entry in entries]


def id_of(content: bytes) -> str:
    """Return the id of the record in a line."""
    return str(json.loads(content)["record_id"])


class SpoolMachine(RuleBasedStateMachine):
    """Processes over one directory: they put, send, close, die, fork, and adopt.

    Of each record the machine knows where it is: held by one process, left on disk by one
    that is gone, or settled. It excuses what nobody could save: memory at a process's
    death, and files that somebody deleted.
    """

    @initialize(
        max_bytes=st.sampled_from([1_500, 6_000, 2**30]),
        keep_delivered=st.sampled_from([0.0, 3600.0]),
        processes=st.integers(1, MOST_PROCESSES),
        all_die=st.booleans(),
    )
    def start(
        self, max_bytes: int, keep_delivered: float, processes: int, all_die: bool
    ) -> None:
        """Begin with some processes, and a directory that is not made yet."""
        parent = tempfile.TemporaryDirectory()
        self.root = Path(parent.name) / "spool"
        self.directory = self.root / "destination"
        self.limits = Limits(max_bytes, MAX_AGE_SECONDS, keep_delivered)
        self.processes = [Process(self.directory, self.limits) for _ in range(processes)]
        self.all_die = all_die
        self.losses = 0
        self.count = 0
        self.is_refusing = False
        self.settled: set[str] = set()
        self.dropped_in_stats = 0
        self.excused: set[str] = set()
        self.waits: set[str] = set()
        self.orphaned: set[str] = set()
        self.dropped_on_disk = 0
        self.was_anything_gone = False
        self.is_away = False
        self.may_return: set[str] = set()  # settled while no note of it could be kept
        self.parent = parent

    # What processes do.

    @precondition(lambda self: len(self.processes) < MOST_PROCESSES)
    @rule()
    def fork(self) -> None:
        """Let another process begin: a child's spool is new, and its parent's goes on."""
        self.processes.append(Process(self.directory, self.limits))

    @rule(
        data=st.data(),
        lengths=st.lists(st.sampled_from([1, 100, 900]), min_size=1, max_size=5),
        is_slow=st.booleans(),
    )
    def put(self, data: st.DataObject, lengths: list[int], is_slow: bool) -> None:
        """Let a process spool records; while a lease is out they wait behind that."""
        process = self._one(data)
        process.clocks.hop_after_next = 0.06 if is_slow else 0.0
        for length in lengths:
            self.count += 1
            self.waits.add(str(self.count))
            process.spool.put(line(self.count, prompt="x" * length))
        process.is_closing = False

    @rule(data=st.data(), count=st.integers(1, 6), size=st.sampled_from([1, 500, 2**30]))
    def lease(self, data: st.DataObject, count: int, size: int) -> None:
        """Let a process lease some; a second lease beside the first is none."""
        self._lease(self._one(data), count, size)

    def _lease(self, process: Process, count: int, size: int) -> None:
        entries = process.leasing.enter_context(process.spool.lease(count, size))
        assert (entries is None) == (process.leased is not None)
        if entries is not None:
            assert ids(entries) == ids(process.entries())[: len(entries)]
            process.leased = entries
        everywhere = [
            record_id for one in self.processes for record_id in ids(one.leased or ())
        ]
        assert len(everywhere) == len(set(everywhere))

    @rule(
        data=st.data(),
        how=st.sampled_from(["delivered", "HTTP 422: no\nuser", "corrupt"]),
    )
    def settle(self, data: st.DataObject, how: str) -> None:
        """Let a process settle a part of its lease, in any order, and say so twice."""
        process = self._one(data)
        if process.leased is None:
            self._lease(process, 6, 2**30)
        leased = process.leased or []
        chosen = [entry for entry in leased if data.draw(st.booleans())]
        chosen = data.draw(st.permutations(chosen))
        waited = set(ids(process.entries()))
        for _ in range(2):  # the second time changes nothing
            if how == "delivered":
                process.spool.settle_delivered(chosen)
            else:
                for entry in chosen:
                    process.spool.settle_rejected(entry, how)
        self.settled |= set(ids(chosen)) & waited

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """Let a process give its lease back; a close that waited for it happens now."""
        process = self._one(data)
        held = len(process.entries())
        dropped = process.dropped()
        process.leasing.close()
        process.leased = None
        if process.is_closing:
            self._has_closed(process, held, dropped)

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        """Let a process close its spool; what is lent stays its own until given back."""
        process = self._one(data)
        held = len(process.entries())
        dropped = process.dropped()
        process.spool.close()
        process.is_closing = process.leased is not None
        if not process.is_closing:
            self._has_closed(process, held, dropped)

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """Let a process die without a word, and another begin."""
        self._die(self._one(data))
        self.processes.append(Process(self.directory, self.limits))

    def _die(self, process: Process) -> None:
        """Let a process end, and its memory with it, and files without a name."""
        self.excused |= {
            id_of(entry.line)
            for entry in process.entries()
            if entry.segment is None or entry.segment.is_gone
        }
        self.dropped_in_stats -= process.dropped()
        self.processes.remove(process)
        die(process.spool)
        process.spool._is_closing = False  # what it was about to do, nobody does
        process.leasing.close()

    @rule(data=st.data(), is_late=st.booleans())
    def adopt(self, data: st.DataObject, is_late: bool) -> None:
        """Let a process take over what was left: all of it that is not too old."""
        process = self._one(data)
        process.clocks.wall_offset = 2 * MAX_AGE_SECONDS if is_late else 0.0
        process.spool.adopt()
        process.clocks.wall_offset = 0.0
        process.left = 0
        assert not process.spool.has_left
        assert self.is_away or [] == self._orphans()

    @rule(data=st.data(), is_late=st.booleans())
    def tidy(self, data: st.DataObject, is_late: bool) -> None:
        """Let a process let go of what was left too long ago."""
        process = self._one(data)
        process.clocks.wall_offset = 2 * MAX_AGE_SECONDS if is_late else 0.0
        process.spool.tidy()
        process.clocks.wall_offset = 0.0

    @rule(data=st.data(), seconds=st.sampled_from([0.5, 2.0, 61.0]))
    def tend(self, data: st.DataObject, seconds: float) -> None:
        """Let time pass for a process, and its spool be tended."""
        process = self._one(data)
        process.clocks.now += seconds
        process.spool.tend()

    # What others do to the directory.

    @precondition(lambda self: self.losses == 0 and self.root.is_dir())
    @rule(how=st.sampled_from(["deleted", "replaced", "away"]))
    def lose_the_disk(self, how: str) -> None:
        """Let somebody delete all, perhaps put a file there, or take the disk away.

        What is open stays so. A disk that was taken away may come back.
        """
        self.losses += 1
        self.is_refusing, self.is_away = how != "deleted", how == "away"
        if self.is_away:
            self.root.rename(self.root.with_name("away"))
        else:
            self.excused |= set(self._orphans())
            self.dropped_on_disk = 0
            shutil.rmtree(self.root)
        if self.is_refusing:
            self.root.write_text("")

    @precondition(lambda self: self.is_refusing)
    @rule()
    def mend(self) -> None:
        """Let the disk take records again."""
        self.root.unlink()
        if self.is_away:
            self.root.with_name("away").rename(self.root)
        self.is_away = self.is_refusing = False

    @precondition(lambda self: not self.is_refusing)
    @rule(
        what=st.sampled_from(["*.lock", "*.ack", "*.*.jsonl"]),
        torn=st.sampled_from([TORN, b"\0\0", b"12 "]),
    )
    def spoil(self, what: str, torn: bytes) -> None:
        """Let the locks of the dead be deleted, or what they wrote last be torn."""
        held, kept = self._held(), read_totals(self.directory).segments
        for path in sorted(self.directory.glob(what)):
            is_kept = path.with_suffix(".jsonl").name in kept
            if path.name.partition(".")[0] in held or is_kept:
                continue
            if what == "*.lock":
                path.unlink()
            else:
                with path.open("ab") as file:
                    file.write(torn)

    # What holds after every step.

    @invariant()
    def both_laws_hold(self) -> None:
        """Each spool's sums are right, and so are those of the files alone."""
        for process in self.processes:
            now = process.spool.stats()
            assert now.is_balanced, now
            assert len(process.entries()) + process.left == now.pending
            assert now.pending == process.spool.pending
        census = self._census()
        assert census.is_balanced, census

    @invariant()
    def every_record_is_in_one_place(self) -> None:
        """Each record waits in one place, or was settled, or is counted as dropped."""
        held = [one for process in self.processes for one in ids(process.entries())]
        orphaned = self._orphans()
        places = held + orphaned
        assert len(places) == len(set(places)), sorted(places)
        if self.is_away:
            self.may_return |= self.settled & set(orphaned)
        assert not set(places) & self.settled - self.may_return
        assert set(places) <= self.waits | self.may_return
        gone = self.waits - set(places) - self.settled - self.excused
        dropped_in_stats = sum(process.dropped() for process in self.processes)
        dropped_on_disk = sum(self._census().dropped.values())
        newly = dropped_in_stats - self.dropped_in_stats
        assert len(gone - self.orphaned) <= newly <= len(gone), gone
        is_anything_gone = self._is_anything_gone()
        if self.is_away:
            self.may_return |= self.waits - set(places)
        elif not (self.was_anything_gone or is_anything_gone or self.may_return):
            assert len(gone) == dropped_on_disk - self.dropped_on_disk
        self.was_anything_gone = is_anything_gone
        self.waits = set(places)
        self.orphaned = set(orphaned)
        self.excused &= self.waits
        self.dropped_in_stats = dropped_in_stats
        self.dropped_on_disk = dropped_on_disk

    def teardown(self) -> None:
        """Let all end: one more process finds whatever waits, and delivers it."""
        if not hasattr(self, "parent"):
            return
        if self.is_refusing:
            self.mend()
        for process in list(self.processes):
            if self.all_die:
                self._die(process)
            else:
                process.leasing.close()
                process.spool.close()
        if self.all_die:
            self.both_laws_hold()
            self.every_record_is_in_one_place()
        last = Process(self.directory, self.limits)
        orphaned = self._orphans()
        assert len(orphaned) == last.spool.adopt()
        assert sorted(orphaned) == sorted(ids(last.entries()))
        last.spool.settle_delivered(last.entries())
        last.spool.close()
        census = self._census()
        assert (0, True) == (census.pending, census.is_balanced)
        self.parent.cleanup()

    def _one(self, data: st.DataObject) -> Process:
        return data.draw(st.sampled_from(self.processes))

    def _has_closed(self, process: Process, held: int, dropped: int) -> None:
        process.is_closing = False
        still_held = len(process.entries())
        process.left += held - still_held - (process.dropped() - dropped)

    def _held(self) -> set[str]:
        return {name for one in self.processes for name in one.spool.shares.held_names()}

    def _is_anything_gone(self) -> bool:
        return self.is_refusing or any(
            segment.is_gone
            for process in self.processes
            for segment in process.spool.shares.segments()
        )

    def _orphans(self) -> list[str]:
        """Return the id of each record that nobody holds, read without the spool."""
        held = self._held()
        found: list[str] = []
        place = self._place()
        for path in sorted(place.glob("destination/*.*.jsonl")):
            if path.name.partition(".")[0] in held:
                continue
            progress, _ = read_progress(path)
            start = 0
            for content in path.read_bytes().splitlines(keepends=True):
                if content.endswith(b"\n") and not progress.has(start):
                    found.append(id_of(content))
                start += len(content)
        return found

    def _place(self) -> Path:
        return self.root.with_name("away") if self.is_away else self.root

    def _census(self) -> Census:
        place = self._place()
        found = {one.label: one for one in take_census(place)}
        return found.get("destination", Census(label="destination"))


@pytest.mark.timeout(420)  # found something, it is made small for up to five minutes
class TestSpoolMachine(SpoolMachine.TestCase):  # type: ignore[misc,valid-type] # made at run time
    """Nothing is lost or counted twice, whatever happens, and in what order."""

    settings = settings(
        max_examples=100,
        stateful_step_count=30,
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    )
