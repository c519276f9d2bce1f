"""A decorator above a framework's own, which nobody calls.

`@app.post` keeps the function that it is put above, and hands it back as it was: whatever
decorates that afterwards is never asked. Who holds a function is found by Python's garbage
collector, which takes milliseconds: in strict mode, and for `trubrics-trace doctor`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from typing import Any

from .._ledger import ledger
from .._notices import place_of_code

# Whose routes, tasks and handlers hold functions.
_FRAMEWORKS = frozenset(
    ["bottle", "celery", "chainlit", "django", "dramatiq", "falcon", "fastapi", "flask"]
) | frozenset(
    ["litestar", "pyramid", "quart", "rq", "sanic", "slack_bolt", "starlette", "tornado"]
)
_CONTAINERS = (dict, list, tuple, set)
_FURTHEST = 4  # steps from an object, by its dict of attributes, into their containers


def warn_of_object(target: Any) -> None:
    """Say it where a framework's own object is decorated, such as a task.

    Raises:
        TelemetryError: It is, and strict mode is on.
    """
    kind = type(target)
    if _framework_of(kind):
        ledger.fault("decorator_above", told_of(target, kind))


def warn_of_registered(functions: Iterable[Any]) -> None:
    """Say it of each that a framework holds as it was.

    Raises:
        TelemetryError: It does, and strict mode is on.
    """
    for function, kind in registered(functions):
        ledger.fault("decorator_above", told_of(function, kind))


def registered(functions: Iterable[Any]) -> list[tuple[Any, type]]:
    """Return those that a framework holds or has made, each with its class."""
    wanted = {id(function): function for function in functions}
    found = {key: type(one) for key, one in wanted.items() if _framework_of(type(one))}
    for holder in _objects_of_frameworks():
        for held in wanted.keys() & _held_by(holder):
            found.setdefault(held, type(holder))
    return [(wanted[key], kind) for key, kind in found.items()]


def wrapped_in(kind: type) -> list[Any]:
    """Return what every living wrapper of a kind stands for."""
    wrappers: list[Any] = [one for one in gc.get_objects() if type(one) is kind]
    return [getattr(one.__wrapped__, "__func__", one.__wrapped__) for one in wrappers]


def told_of(function: Any, kind: type) -> str:
    """Return what is to be said of a function that a framework's object holds."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    code = getattr(function, "__code__", None)
    place = f" ({place_of_code(code)})" if code else ""
    return (
        f"trubrics_trace decorates {name}{place} too late: {_framework_of(kind)} has it "
        "already, and calls it untraced; put trubrics_trace right above the function, "
        "below the framework's own decorator"
    )


def _objects_of_frameworks() -> Iterator[Any]:
    is_theirs: dict[type, bool] = {}
    for one in gc.get_objects():
        kind = type(one)
        if kind not in is_theirs:
            is_theirs[kind] = _framework_of(kind) is not None
        if is_theirs[kind]:
            yield one


def _held_by(holder: Any) -> set[int]:
    """Return the identity of what an object has in its attributes' containers."""
    found: set[int] = set()
    containers: list[Any] = [holder]
    for _ in range(_FURTHEST):
        held = gc.get_referents(*containers)
        containers = [
            one for one in held if type(one) in _CONTAINERS and id(one) not in found
        ]
        found.update(map(id, held))
    return found


def _framework_of(kind: type) -> str | None:
    modules = (str(one.__module__).partition(".")[0] for one in kind.__mro__)
    return next((module for module in modules if module in _FRAMEWORKS), None)
