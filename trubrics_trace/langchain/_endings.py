"""How a call ends: with its answer, an error, or nobody to report it.

langchain-core up to 1.7 tells nobody that an `ainvoke` was cancelled
(langchain-ai/langchain#39163). What proves it:
Rule 1: the run's id is collected. Nobody can report the end any more.
Rule 2: the task that the call was begun in is done, or leaves the scope that it began in.
That holds for `agenerate` alone, which ends where it began; a stream may go on elsewhere.
A stream that is collected was left by its consumer: asyncio closes it too late to report.
Rule 3: a few turns of the loop are waited for, in which the end may be reported after all:
LangChain shields its callbacks, in tasks of their own.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any
from uuid import UUID

from .. import _clock
from .._record import Status
from ..pipeline._guard import attempt
from ..scope._loop import running_loop
from ..scope._scope import Scope
from ._frames import Codes, keep, module_of
from ._notes import Failure, Turn
from ._telling import note_unfinished, status_of, tell, tell_run
from ._turns import Watch, turns

_TURNS_OF_THE_LOOP = 3


class Waiting(Watch):
    """A reference to a task that waits, and the calls that end with it."""

    __slots__ = ("calls",)
    calls: set[int]


# By a task's id. The reference tells whether the id is still that task's.
_waiting: dict[int, Waiting] = {}


def end_call(
    run_id: UUID, response: Any, status: Status, error: BaseException | None
) -> None:
    """Tell a call that is over, unless its failure may yet be made good.

    Raises:
        BaseException: What a guard around it is to end.
    """
    turn = turns.take(run_id)
    if turn is None:
        return
    attempts = turn.attempts
    if status == "error" and error is not None and attempts and not attempts.is_over:
        failure = Failure(turn, response, error, _clock.monotonic())
        attempts.failed.append(failure)
        return
    tell(turn, response, status, error)


def end_run(run_id: UUID, error: BaseException | None) -> None:
    """Tell what ends with a chain, tool or retriever, and forget it."""
    run = turns.end_run(run_id)
    if run is not None:
        status = "complete" if error is None else status_of(error)
        attempt("callback_failed", tell_run, run, error, status)


def settle() -> None:
    """Tell what nobody can report the end of any more."""
    if turns.are_settled:
        return
    for turn, ended in turns.take_orphans():
        status = _status_of_orphan(turn)
        if status is None:
            note_unfinished(turn)
        else:
            attempt("callback_failed", tell, turn, None, status, None, ended)
    while (run := turns.take_abandoned()) is not None:
        attempt("callback_failed", tell_run, run, None, "cancelled")


def _status_of_orphan(turn: Turn) -> Status | None:
    """Return how a call ended whose end nobody can report, if that is proven."""
    if turn.watched is None and turn.first_token is not None:
        return "stopped"
    # Elsewhere nothing is cancelled: another handler has raised before ours was told.
    return "cancelled" if turn.began_in_loop else None


def give_up() -> None:
    """Tell what the process ends in the middle of."""
    turns.abandon_runs()
    settle()


def settle_scope(scope: Scope) -> None:
    """Settle, and tell what this task has begun in a scope that it leaves."""
    if not _waiting and turns.are_settled:  # most often
        return
    if running_loop() is not None:
        entry = _waiting.get(id(_task()))
        if entry is not None:
            turns.give_up(entry.calls, lambda turn: turn.scope is scope)
    settle()


def watch(turn: Turn, run_id: UUID) -> None:
    """Note which task ends this call with itself, if one does."""
    if running_loop() is None:
        return
    turn.began_in_loop = True
    if not _is_awaited(sys._getframe(1)):  # noqa: SLF001 - as logging finds its caller
        return
    task = _task()
    if task is None:  # the loop itself runs it
        return
    key = id(task)
    entry = _waiting.get(key)
    if entry is None or entry() is not task:
        entry = Waiting(task, _forget)
        entry.key, entry.calls = key, set()
        _waiting[key] = entry
        task.add_done_callback(_task_is_done)
    entry.calls.add(run_id.int)
    turn.watched = entry.calls


def forget_tasks() -> None:
    """Forget everything: in a forked child, whose parent will tell it."""
    _waiting.clear()


def _task() -> Any:
    return sys.modules["asyncio"].current_task()


def _forget(dead: Waiting) -> None:
    if _waiting.get(dead.key) is dead:
        _waiting.pop(dead.key, None)


def _task_is_done(task: Any) -> None:
    entry = _waiting.pop(id(task), None)
    if entry is not None and entry.calls:
        _after(_TURNS_OF_THE_LOOP, task.get_loop(), entry.calls)


def _after(turns_left: int, loop: Any, keys: set[int]) -> None:
    if turns_left and not loop.is_closed():
        loop.call_soon(_after, turns_left - 1, loop, keys)
        return
    turns.give_up(keys, lambda _: True)
    settle()


def _is_awaited(frame: FrameType | None) -> bool:
    """Whether a call is begun by what awaits its answer, and not by a stream."""
    between = _between
    while frame is not None:
        code = frame.f_code
        if between.get(id(code)) is not code:
            if not _is_between(frame):
                return code.co_name == "agenerate"
            keep(between, code)
        frame = frame.f_back
    return False


_between: Codes = {}  # what was seen to stand between


def _is_between(frame: FrameType) -> bool:
    return module_of(frame).startswith(("langchain_core.callbacks.", "trubrics_trace."))
