"""Running calls and live runs: noted at the start, taken once, forgotten at the end."""

from __future__ import annotations

import gc
import sys
import threading
import time
import uuid
from pathlib import Path
from uuid import UUID

from tests.process.program import output_of
from trubrics_trace import Scope, trubrics_scope
from trubrics_trace.langchain._notes import Turn
from trubrics_trace.langchain._turns import Turns
from trubrics_trace.scope._attributes import NOTHING


def note(prompt: str = "Hello") -> Turn:
    """Return the note of a call."""
    return Turn(
        record_id=prompt,
        parent_run_id=None,
        scope=None,
        attributes=NOTHING,
        run_name=None,
        asked={"prompt": prompt},
        model={},
    )


def copy_of(run_id: UUID) -> UUID:
    """Return an equal id that is another object: whoever holds it proves nothing."""
    return UUID(int=run_id.int)


class TestCalls:
    """A note is taken by whoever comes first."""

    def test_taken_once(self) -> None:
        """A call is told by one of all who report its end."""
        turns, run_id, noted = Turns(), uuid.uuid4(), note()
        assert turns.begin(run_id, noted) is None

        assert [noted, noted, None] == [
            turns.get(run_id),
            turns.take(copy_of(run_id)),
            turns.take(run_id),
        ]
        assert turns.get(run_id) is None

    def test_unknown(self) -> None:
        """A call that nobody noted has no note."""
        assert Turns().get(uuid.uuid4()) is None
        assert Turns().take(uuid.uuid4()) is None

    def test_nobody_can_report(self) -> None:
        """When the last holder of its id is gone, a call waits to be told, once."""
        turns, run_id, noted = Turns(), uuid.uuid4(), note()
        turns.begin(run_id, noted)
        assert [] == turns.take_orphans()

        del run_id
        gc.collect()

        [(orphan, ended)] = turns.take_orphans()
        assert noted is orphan
        assert noted.started <= ended
        assert [] == turns.take_orphans()

    def test_note_that_is_kept(self) -> None:
        """That of a failed attempt, say, ends no later call of the same id."""
        turns, run_id = Turns(), uuid.uuid4()
        again, noted = copy_of(run_id), note("again")
        turns.begin(run_id, note("failed"))
        kept = turns.take(run_id)
        turns.begin(again, noted)

        del run_id
        gc.collect()

        assert kept is not None
        assert [] == turns.take_orphans()
        assert noted is turns.get(again)

    def test_reported_with_another_object(self) -> None:
        """An end that still comes, after the id's death, is the only one that is told."""
        turns, run_id, noted = Turns(), uuid.uuid4(), note()
        turns.begin(run_id, noted)
        copy = copy_of(run_id)

        del run_id
        gc.collect()

        assert noted is turns.take(copy)
        assert [] == turns.take_orphans()

    def test_taken_by_many(self) -> None:
        """Threads that settle at the same time tell each call once, and none is lost."""
        turns, calls, is_over = Turns(), 2000, threading.Event()
        taken: list[str] = []

        def settle() -> None:
            while not is_over.is_set():
                taken.extend(orphan.asked["prompt"] for orphan, _ in turns.take_orphans())

        threads = [threading.Thread(target=settle) for _ in range(3)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            for thread in threads:
                thread.start()
            for number in range(calls):
                turns.begin(uuid.uuid4(), note(str(number)))
            deadline = time.monotonic() + 20
            while len(taken) < calls and time.monotonic() < deadline:
                time.sleep(0.001)
        finally:
            sys.setswitchinterval(interval)
            is_over.set()
            for thread in threads:
                thread.join()

        assert [str(number) for number in range(calls)] == sorted(taken, key=int)


class TestRuns:
    """A chain, tool or retriever lives from its start to its end."""

    def test_root_name(self) -> None:
        """A run knows the name of the run that its tree began with."""
        turns, root, child = Turns(), uuid.uuid4(), uuid.uuid4()
        turns.begin_run(root, None, "Agent")
        turns.begin_run(child, root, "Tool")

        run = turns.run_of(child)
        assert run is not None
        assert "Agent" == run.root_name

    def test_owner(self) -> None:
        """A call inside a live run is its scope's, and of an ended one the current's."""
        turns, run_id = Turns(), uuid.uuid4()
        with trubrics_scope(user_id="alice") as alice:
            turns.begin_run(run_id, None, "Agent")
        with trubrics_scope(user_id="bob") as bob:
            owners: list[Scope | None] = [turns.owner_of(run_id), turns.owner_of(None)]
            turns.end_run(run_id)
            owners.append(turns.owner_of(run_id))

        assert [alice, bob, bob] == owners

    def test_over(self) -> None:
        """While somebody holds its id, a run that has ended is known to be over."""
        turns, run_id = Turns(), uuid.uuid4()
        turns.begin_run(run_id, None, "Agent")
        assert not turns.is_over(run_id)

        turns.end_run(run_id)

        assert turns.is_over(copy_of(run_id))
        assert turns.run_of(run_id) is None

    def test_over_and_held_by_nobody(self) -> None:
        """When the last holder of its id is gone, nothing is kept of an ended run."""
        turns, run_id = Turns(), uuid.uuid4()
        turns.begin_run(run_id, None, "Agent")
        turns.end_run(run_id)
        copy = copy_of(run_id)

        del run_id
        gc.collect()

        assert not turns.is_over(copy)

    def test_ended_by_another_object(self) -> None:
        """An end that is told by another object leaves nothing that could be for ever."""
        turns, run_id = Turns(), uuid.uuid4()
        turns.begin_run(run_id, None, "Agent")

        turns.end_run(copy_of(run_id))

        assert turns.run_of(run_id) is None
        assert not turns.is_over(run_id)

    def test_end_of_an_unknown_run(self) -> None:
        """The end of a run whose start nobody heard says nothing of it."""
        turns, run_id = Turns(), uuid.uuid4()

        turns.end_run(run_id)

        assert not turns.is_over(run_id)
        assert not turns.is_over(None)
        assert turns.run_of(None) is None


def test_cleared() -> None:
    """Of what is forgotten, nothing is told later."""
    turns, call, run, gone = Turns(), uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    turns.begin(call, note())
    turns.begin_run(run, None, "Agent")
    turns.begin(gone, note())
    copy = copy_of(gone)
    del gone
    gc.collect()

    turns.clear()
    turns.begin(copy, note("of the child"))

    assert turns.take(call) is None
    assert turns.run_of(run) is None
    assert [] == turns.take_orphans()
    assert turns.get(copy) is not None


FORKED_IN_A_STREAM = """
import os
from langchain_core.language_models import FakeListChatModel
from trubrics_trace import stats, trubrics_scope

with trubrics_scope(user_id="alice"):
    stream = FakeListChatModel(responses=["42"]).stream("Hello")
    next(stream)
    child = os.fork()
    list(stream)
    if child == 0:
        print("child", stats().accepted, stats().noticed, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print("parent", stats().accepted, stats().noticed)
"""


def test_fork_while_a_call_runs(tmp_path: Path) -> None:
    """A call that was running at a fork is told by the parent, and not by the child."""
    said = output_of(FORKED_IN_A_STREAM, tmp_path)

    assert ["child 0 {}", "parent 1 {}"] == said.splitlines()
