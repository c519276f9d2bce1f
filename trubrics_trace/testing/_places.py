"""Where the app made each call, by record: what a failing test is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from ..langchain._notes import Turn
from ..langchain._turns import turns, when_beginning

_MAX_PLACES = 10_000  # of the newest calls: a test that asks more looks at the last ones

_places: dict[str, str] = {}


@contextmanager
def noted_places() -> Iterator[None]:
    """Note during the block where each call is made."""
    when_beginning.append(_note)
    try:
        yield
    finally:
        when_beginning.remove(_note)


def place_of_record(record_id: str) -> str | None:
    """Return `file:line` of what was called there; None if nobody noted it."""
    return _places.get(record_id)


def _note(turn: Turn) -> None:
    parent = None if turn.parent_run_id is None else UUID(turn.parent_run_id)
    _places[turn.record_id] = turns.place_of(parent)
    if len(_places) > _MAX_PLACES:
        _places.pop(next(iter(_places)), None)
