"""One table: each way of calling a function, decorated as undecorated.

A row is a kind of function, a form (how the decorator meets it), and a way in which the
call is used up; the columns are what is `Seen` meanwhile. What must hold, the same row
tells undecorated: a decorated body sees its own user, and nothing else differs.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import warnings
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from trubrics_trace import trubrics_scope, trubrics_trace

from .forms import FORMS, Decorate, Form, async_generator
from .ways import UNORDERED, WAYS, dropped
from .witness import Seen, Way, Witness, user

INSPECTED = (
    inspect.isfunction,
    inspect.ismethod,
    inspect.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
)

alice = trubrics_trace(user_id="alice")


def observe(decorate: Decorate, form: Form, body: Any, way: Way) -> Seen:
    """Return what is seen while a call is made and used up, in another's scope."""

    async def consume() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: see.seen.complaints.append(context["message"])
        )
        with trubrics_scope(user_id="bob"):
            with see:
                see.work = call(see=see)
                if form.is_awaited:
                    see.work = await see.work
            see.seen.given = (type(see.work), getattr(see.work, "__qualname__", see.work))
            for take in way.steps:
                await take(see)
            await dropped(see)

    see = Witness(way, form.layers)
    call = form.make(decorate, body)
    see.seen.kind = [is_kind(call) for is_kind in INSPECTED]
    see.seen.signature = inspect.signature(call)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        asyncio.run(consume())
    see.seen.complaints += [str(warning.message) for warning in warned]
    see.forget()
    see.seen.left_open = [scope for scope in see.scopes if scope and scope.is_open]
    return see.seen


@pytest.fixture
def _uncollected() -> Iterator[None]:
    """Nothing is collected meanwhile: what is dropped ends at once, or not at all."""
    gc.disable()
    yield
    gc.enable()


ROWS = [
    pytest.param(form, body, way, id=f"{body.__name__}, {of}, {how}")
    for body, ways in WAYS.items()
    for of, form in FORMS.items()
    for how, way in ways.items()
    if not (body is async_generator and form.delegates and how in UNORDERED)
]


@pytest.mark.parametrize(("form", "body", "way"), ROWS)
@pytest.mark.usefixtures("_uncollected")
def test_table(form: Form, body: Any, way: Way, caplog: pytest.LogCaptureFixture) -> None:
    """A decorated call is the undecorated one, whose body has the scope at each step."""
    undecorated = observe(lambda function: function, form, body, way)
    expected = replace(undecorated, body_users=["alice"] * len(undecorated.body_users))
    actual = observe(alice, form, body, way)
    assert expected == actual
    assert [] == [told for told in caplog.records if told.name.startswith("trubrics")]


def test_an_error_in_a_cycle() -> None:
    """Cancelled before its first step, a call complains of nothing when it is collected."""

    @alice
    async def body() -> None: ...

    async def main() -> None:
        errors = []
        task = asyncio.create_task(body())
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as error:
            errors.append(error)  # whose traceback holds this frame, which holds it

    asyncio.run(main())
    gc.collect()  # a complaint here would be an error


def test_what_nobody_closes() -> None:
    """An undecorated part that a body leaves to the loop ends as nobody's."""

    async def part() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            seen.append(user())

    @alice
    async def body() -> AsyncGenerator[None, None]:
        async for _ in part():
            yield

    async def main() -> None:
        with trubrics_scope(user_id="bob"):
            async for _ in body():
                break
            while not seen:
                await asyncio.sleep(0)

    seen: list[str | None] = []
    asyncio.run(main())
    assert ["no scope"] == seen
