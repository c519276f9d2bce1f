"""What a test leaves behind: open scopes, running calls, missing users."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from .. import _runtime
from .._ledger import ledger
from ..langchain._turns import turns
from ..scope._scope import Scope
from ._places import noted_places, place_of_record


@contextmanager
def watch_for_leaks() -> Iterator[list[str]]:
    """Yield a list that, after the block, says what was left behind in it.

    A scope that is still open; a call whose end nobody has told; and, in strict mode, a
    call without a user, also where the code under test has swallowed the error. What was
    there before the block is not told. The rest costs a collection of garbage.
    """
    leaks: list[str] = []
    missing: list[str] = []

    def hear(reason: str, said: str) -> None:
        if reason == "without_user" and ledger.strict:
            missing.append(said)

    scopes, notes = _open_scopes(), turns.running()  # held: an id is used again
    ledger.listeners.append(hear)
    try:
        with noted_places():
            yield leaks
    finally:
        ledger.listeners.remove(hear)
    gc.collect()
    for do in _runtime.when_settling:
        do()
    known = {id(one) for one in (*scopes, *notes)}
    leaks += [
        f"a scope of user {scope.user_id!r}, opened at {scope.place or 'a place unknown'}, "
        "is still open; leave it, or consume what its function returned"
        for scope in _open_scopes()
        if id(scope) not in known
    ]
    leaks += [
        f"a model call at {place_of_record(turn.record_id)} has not ended; consume its "
        "stream, or await it"
        for turn in turns.running()
        if id(turn) not in known
    ]
    leaks += missing


def _open_scopes() -> list[Scope]:
    # By type: what a proxy or a mock says of its class is not true of it.
    return [one for one in gc.get_objects() if issubclass(type(one), Scope) and one.is_open]
