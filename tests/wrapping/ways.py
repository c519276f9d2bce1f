"""The ways in which a call is used up, step by step."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio

from .forms import async_generator, coroutine, generator, plain
from .witness import Around, Step, Way, Witness

# The steps of a consumer.


def step(name: str, *values: object) -> Step:
    """Return a step: `send`, `throw` or `close`, or what an async generator calls so."""

    async def take(see: Witness) -> None:
        with see:
            is_async = inspect.isasyncgen(see.work)
            method = getattr(see.work, f"a{name}" if is_async else name)
            sent = [
                see.planted(value) if isinstance(value, type) else value for value in values
            ]
            answer = see.run(method, *sent)
            see.answer(await answer if is_async else answer)

    return take


NEXT, CLOSE = step("send", None), step("close")


def taken(see: Witness) -> Any:
    """Return the work, which nobody else holds from here on."""
    work, see.work = see.work, None
    return work


async def awaited(see: Witness) -> None:
    """Await the work."""
    with see:
        see.answer(await taken(see))


async def dropped(see: Witness) -> None:
    """Let go of the work, and give its end time."""
    with see:
        see.work = None
    await settled()


async def left(see: Witness) -> None:
    """Leave the work to the loop, which ends it when it ends itself."""
    see.left = taken(see)


async def left_early(see: Witness) -> None:
    """Leave a loop over the work in its first round."""
    with see:
        if inspect.isasyncgen(see.work):
            async for part in taken(see):
                see.answer(part)
                break
        else:
            for part in taken(see):
                see.answer(part)
                break
    await settled()


def in_task(take: Step) -> Step:
    """Return a step that is taken in another task."""

    async def elsewhere(see: Witness) -> None:
        await asyncio.create_task(take(see))

    return elsewhere


def on_thread(take: Step) -> Step:
    """Return a step that is taken on another thread, in a loop of its own."""

    async def elsewhere(see: Witness) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, take(see)).result()

    return elsewhere


def cancelled(take: Step) -> Step:
    """Return a step that hangs, in a task, and is cancelled."""

    async def elsewhere(see: Witness) -> None:
        task = asyncio.create_task(take(see))
        await see.hangs.wait()
        task.cancel()
        await asyncio.wait({task})

    return elsewhere


async def cancelled_at_once(see: Witness) -> None:
    """Cancel a task before its first step."""
    with see:
        task = asyncio.create_task(taken(see))
        task.cancel()
        await task


async def waited_for(see: Witness) -> None:
    """Wait for a step, no longer than a moment."""
    with see:
        await asyncio.wait_for(pending(see), 0.001)


async def overlapping(see: Witness) -> None:
    """Ask for a step while another one hangs."""
    task = asyncio.create_task(NEXT(see))
    await see.hangs.wait()
    await NEXT(see)
    task.cancel()
    await asyncio.wait({task})


def within(limit: Around) -> Step:
    """Return a step that is taken within a limit."""

    async def take(see: Witness) -> None:
        with see:
            async with limit(see):
                see.answer(await pending(see))

    return take


def pending(see: Witness) -> Any:
    """Return what is awaited: the next step, or the work."""
    is_async_generator = inspect.isasyncgen(see.work)
    return see.work.asend(None) if is_async_generator else taken(see)


async def settled() -> None:
    """Give the loop its turns, until what was dropped has ended."""
    for _ in range(20):
        await asyncio.sleep(0)


# What stands around a step, or, in a body, around its `yield`.


@contextlib.asynccontextmanager
async def anyio_limit(see: Witness) -> AsyncIterator[None]:
    """Fail at the first pause."""
    with anyio.fail_after(0):
        yield


@contextlib.asynccontextmanager
async def anyio_scope(see: Witness) -> AsyncIterator[None]:
    """Cancel what is inside, from outside, and go on after it."""
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_soon(scope.cancel)
        yield
    see.inside("was cancelled", scope.cancelled_caught)


@contextlib.asynccontextmanager
async def anyio_group(see: Witness) -> AsyncIterator[None]:
    """Have a task beside the body."""
    async with anyio.create_task_group() as group:
        group.start_soon(beside, see)
        yield


async def beside(see: Witness) -> None:
    """Note what a task of the body's has."""
    await asyncio.sleep(0)
    see.inside("beside")


AROUND: dict[str, Around] = {
    "anyio limit": anyio_limit,
    "anyio scope": anyio_scope,
    "anyio group": anyio_group,
}
LIMITS: dict[str, Around] = {"anyio limit": anyio_limit}
if sys.version_info >= (3, 11):

    def asyncio_limit(see: Witness) -> AbstractAsyncContextManager[object]:
        """Fail at the first pause."""
        return asyncio.timeout(0)

    @contextlib.asynccontextmanager
    async def asyncio_group(see: Witness) -> AsyncIterator[None]:
        """Have a task beside the body."""
        async with asyncio.TaskGroup() as group:
            group.create_task(beside(see))
            yield

    AROUND.update({"asyncio limit": asyncio_limit, "asyncio group": asyncio_group})
    LIMITS["asyncio limit"] = asyncio_limit


# The ways: how a call is used up, and what its body does meanwhile.

TO_THE_END = [NEXT] * 5
ERRORS = (
    LookupError,
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
    asyncio.CancelledError,
    StopIteration,
    StopAsyncIteration,
)


def raising(steps: list[Step]) -> dict[str, Way]:
    """Return a way for each kind of exception that a body may raise."""
    return {f"raising {error.__name__}": Way(steps, raises=error) for error in ERRORS}


# Of whatever is stepped: a coroutine too, which a loop steps so.
STEPPED = {
    "to the end": Way(TO_THE_END),
    "thrown": Way([NEXT, step("throw", LookupError), NEXT]),
    "thrown at once": Way([step("throw", LookupError), NEXT]),
    "thrown and caught": Way([NEXT, step("throw", ValueError), *TO_THE_END]),
    "thrown GeneratorExit": Way([NEXT, step("throw", GeneratorExit), NEXT]),
    "thrown StopIteration": Way([NEXT, step("throw", StopIteration), NEXT]),
    "closed": Way([NEXT, CLOSE, NEXT, CLOSE]),
    "closed at once": Way([CLOSE, NEXT]),
    "closed at the end": Way([*TO_THE_END, CLOSE]),
    "closed and stubborn": Way([NEXT, CLOSE, *TO_THE_END], catches=BaseException),
    "sent at once": Way([step("send", "too early"), *TO_THE_END]),
    "dropped": Way([NEXT, dropped]),
    "dropped at once": Way([dropped]),
    "finished on a thread": Way([NEXT, *[on_thread(NEXT)] * 4]),
    "closed on a thread": Way([NEXT, on_thread(CLOSE)]),
    "dropped on a thread": Way([NEXT, on_thread(dropped)]),
}
PARTS = (
    STEPPED
    | raising(TO_THE_END)
    | {
        "sent": Way([NEXT, step("send", "one"), step("send", "two")]),
        "left early": Way([left_early]),
    }
)
# An `await` between closes what it awaits, where GeneratorExit is thrown into it: what
# refuses to end refuses otherwise there. So it is with an `async for`; and a loop that ends
# closes two generators, one inside the other, in any order.
REFUSED = ("thrown GeneratorExit", "closed and stubborn")
UNORDERED = (*REFUSED, "left to the loop")
WAYS: dict[Any, dict[str, Way]] = {
    plain: {"called": Way([])} | raising([]),
    coroutine: {how: STEPPED[how] for how in STEPPED if how not in REFUSED}
    | raising([awaited])
    | {
        "awaited": Way([awaited]),
        "awaited in a task": Way([in_task(awaited)]),
        "awaited on a thread": Way([on_thread(awaited)]),
        "cancelled": Way([cancelled(awaited)], hangs=True),
        "cancelled at once": Way([cancelled_at_once]),
        "cancelled and stubborn": Way(
            [cancelled(awaited)], hangs=True, catches=asyncio.CancelledError
        ),
        "waited for": Way([waited_for], hangs=True),
    }
    | {f"within an {name}": Way([within(LIMITS[name])], hangs=True) for name in LIMITS}
    | {f"around an {name}": Way([awaited], around=AROUND[name]) for name in AROUND},
    generator: PARTS,
    async_generator: PARTS
    | {
        "finished in tasks": Way([NEXT, *[in_task(NEXT)] * 4]),
        "closed in a task": Way([NEXT, in_task(CLOSE)]),
        "cancelled": Way([NEXT, cancelled(NEXT), NEXT], hangs=True),
        "waited for": Way([NEXT, waited_for, NEXT], hangs=True),
        "left to the loop": Way([NEXT, left]),
        "overlapping": Way([NEXT, overlapping], hangs=True),
    }
    | {
        f"within an {name}": Way([NEXT, within(LIMITS[name]), NEXT], hangs=True)
        for name in LIMITS
    }
    | {f"around an {name}": Way(TO_THE_END, around=AROUND[name]) for name in AROUND},
}
