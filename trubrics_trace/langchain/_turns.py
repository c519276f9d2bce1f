"""Running calls, and whose they are.

Rule 1: who asked is decided once, at the start, and noted under the run's id; the end
takes the note back, so nothing is told twice.
Rule 2: a call inside a live run belongs to that run's scope, unless the current scope was
opened inside it; a run that is over gives its user to nobody.
Rule 3: ids are kept as numbers, never as objects. The run manager alone holds the object,
so its death proves that nobody can report the end any more.
Rule 4: inside a garbage collection there is one operation of a deque or a dict, no lock.
"""

from __future__ import annotations

import sys
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any
from uuid import UUID

from .. import _clock, _notices, _runtime
from ..scope._current import current_scope, held_scope
from ..scope._scope import Nowhere, Scope
from ._attempts import is_for_attempts, run_tried_here
from ._context import run_here
from ._notes import Attempts, LiveRun, Turn
from ._user_turns import UserTurn

MAX_RUNNING = 100_000  # calls at once; beyond it the oldest note is given up, counted

# The slot for who wants to hear of each call as it begins, where the app makes it.
when_beginning: list[Callable[[Turn], object]] = []


class Watch(weakref.ref[Any]):
    """A reference that tells what died: a run's id, or a task, by its key.

    One callback serves all: a function for each call would be four objects more, which the
    garbage collector looks at as long as the call runs.
    """

    __slots__ = ("key",)
    key: int


class Turns:
    """The notes of running calls, and of the live runs around them.

    Safe under threads: each step is one operation of a dict or a deque.
    """

    def __init__(self) -> None:
        self._turns: dict[int, Turn] = {}
        # None: over, and known to be while a context that outlived it holds its id.
        self._runs: dict[int, tuple[LiveRun | None, Watch]] = {}
        self._orphans: deque[tuple[int, float]] = deque()
        self._abandoned: deque[LiveRun] = deque()
        self._when_gone = self._orphan, self._abandon  # a call, a run

    def begin_run(self, run_id: UUID, parent: UUID | None, name: str | None) -> None:
        """Note a chain, tool or retriever, until its end or its collection."""
        live = self.run_of(parent)
        owner = self.owner_of(parent)
        place = live.place if live is not None else None
        if live is None and (owner is None or owner.user_id is None):
            place = _notices.place_of_caller()
        is_tried = is_for_attempts(name)
        outer = self._attempts_of(self.tried_here(), parent, name)
        user_turn = live.user_turn if live is not None else None
        if live is None and _runtime.settings().record == "root":
            user_turn = UserTurn(run_id, name)
        run = LiveRun(
            scope=owner,
            began_in=held_scope(),
            root_name=live.root_name if live is not None else name,
            place=place,
            attempts=None if is_tried is False else outer or Attempts(),
            tries=None if is_tried else name,
            is_outermost=outer is None,
            user_turn=user_turn,
            is_root=live is None,
        )
        watch = Watch(run_id, self._when_gone[1])
        watch.key = run_id.int
        self._runs[watch.key] = (run, watch)

    def _abandon(self, gone: Watch) -> None:
        noted = self._runs.pop(gone.key, None)
        if noted is not None and noted[0] is not None:
            self._abandoned.append(noted[0])

    def _orphan(self, gone: Watch) -> None:
        self._orphans.append((gone.key, _clock.monotonic()))

    def end_run(self, run_id: UUID) -> LiveRun | None:
        """End a run: from here on it gives its user to nobody."""
        noted = self._runs.pop(run_id.int, None)
        if noted is None:
            return None
        if noted[1]() is run_id:
            self._runs[run_id.int] = (None, noted[1])
        return noted[0]

    def tried_here(self) -> UUID | None:
        """Return the run that what begins now may be an attempt for."""
        tried = run_here()
        if tried is None and sys.version_info < (3, 11):
            tried = run_tried_here()
        return tried

    def _attempts_of(
        self, tried: UUID | None, parent: UUID | None, name: str | None
    ) -> Attempts | None:
        """Return the attempts that what begins now is one of, if it is."""
        for run_id in (tried, parent):
            live = self.run_of(run_id)
            if live is not None and live.attempts and live.tries in (None, name):
                return live.attempts
        return None

    def join_run(
        self, turn: Turn, parent: UUID | None, tried: UUID | None, name: str | None
    ) -> None:
        """Tell a call that begins what it is a part of: a user's turn, attempts."""
        live = self.run_of(parent)
        if live is not None:
            turn.user_turn = live.user_turn
            if turn.user_turn is not None:
                turn.user_turn.begin(turn.record_id)
            turn.run_name = turn.run_name or live.root_name
        turn.attempts = self._attempts_of(tried, parent, name)

    def run_of(self, run_id: UUID | None) -> LiveRun | None:
        """Return a live run by its id."""
        noted = None if run_id is None else self._runs.get(run_id.int)
        return None if noted is None else noted[0]

    def place_of(self, parent: UUID | None) -> str:
        """Return where the app made a call, or else began its run, or its scope."""
        place, live, held = _notices.place_of_caller(), self.run_of(parent), held_scope()
        if place != "unknown":
            return place
        if live is not None and live.place not in (None, "unknown"):
            return live.place
        begun = None if held is None else held.place
        return place if begun is None else f"a place unknown (in the scope of {begun})"

    def is_over(self, run_id: UUID | None) -> bool:
        """Whether this run was heard of, and has ended."""
        noted = None if run_id is None else self._runs.get(run_id.int)
        return noted is not None and noted[0] is None

    def owner_of(self, parent: UUID | None) -> Scope | None:
        """Return the scope that a call inside this parent run belongs to, now."""
        current = current_scope()
        live = None if parent is None else self.run_of(parent)
        if live is None or live.scope is None:
            return current
        held = held_scope()
        if held is None or held is live.began_in:
            return live.scope
        # Where each stands in the other, a generator's step has come round to where it
        # began: it stands here now, so its own scope holds.
        if not live.scope.encloses(held):
            is_from_nowhere = isinstance(held, Nowhere) and not held.encloses(live.scope)
            return None if is_from_nowhere else live.scope
        if isinstance(held, Nowhere):
            return None
        if current is not None:
            return current
        # Opened inside the run, and closed: its work is the run's, if of the same user.
        return live.scope if held.user_id == live.scope.user_id else None

    def begin(self, run_id: UUID, turn: Turn) -> Turn | None:
        """Note a call; return the note that had to be given up for it, if any."""
        for do in when_beginning:
            do(turn)
        turn.watch = watch = Watch(run_id, self._when_gone[0])
        watch.key = run_id.int
        self._turns[watch.key] = turn
        if len(self._turns) <= MAX_RUNNING:
            return None
        return self._turns.pop(next(iter(self._turns)), None)

    def get(self, run_id: UUID) -> Turn | None:
        """Return the note of a running call, and leave it."""
        return self._turns.get(run_id.int)

    def running(self) -> list[Turn]:
        """Return the notes of all running calls, and leave them."""
        return list(self._turns.values())

    def take(self, run_id: UUID) -> Turn | None:
        """Take a call's note back; whoever comes first has it, and nobody after."""
        turn = self._turns.pop(run_id.int, None)
        if turn is not None:
            turn.watch = None  # a note that is kept, of a failure, tells of no other call
            if turn.watched is not None:
                turn.watched.discard(run_id.int)
        return turn

    def give_up(self, keys: set[int], is_over: Callable[[Turn], bool]) -> None:
        """Let those of these calls be orphans whose end is proven."""
        now = _clock.monotonic()
        for key in tuple(keys):
            turn = self._turns.get(key)
            if turn is None or is_over(turn):
                keys.discard(key)
                self._orphans.append((key, now))

    def abandon_runs(self) -> None:
        """Let all that run be abandoned."""
        for run, _ in tuple(self._runs.values()):
            if run is not None:
                self._abandoned.append(run)
        self._runs.clear()

    def take_abandoned(self) -> LiveRun | None:
        """Take a run that was collected before its end."""
        try:
            return self._abandoned.popleft()
        except IndexError:
            return None

    @property
    def are_settled(self) -> bool:
        """Whether there is no orphan, and no run that was abandoned."""
        return not (self._orphans or self._abandoned)

    def take_orphans(self) -> list[tuple[Turn, float]]:
        """Take the notes of calls whose end nobody can report, and since when."""
        orphans: list[tuple[Turn, float]] = []
        while self._orphans:
            try:
                key, ended = self._orphans.popleft()
            except IndexError:  # another thread has taken the last
                break
            turn = self._turns.pop(key, None)
            if turn is not None:
                orphans.append((turn, ended))
        return orphans

    def clear(self) -> None:
        """Forget everything: in a forked child, whose parent will tell it."""
        self._turns.clear()
        self._runs.clear()
        self._orphans.clear()
        self._abandoned.clear()


turns = Turns()
