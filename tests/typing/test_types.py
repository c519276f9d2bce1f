"""What type checkers see: `make lint` checks these lines, the suite runs them.

A line that must be refused bears the code of its refusal, and an unused one is an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterator,
)
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from typing_extensions import assert_type

from trubrics_trace import (
    PromptRecord,
    Record,
    Scope,
    Settings,
    Stats,
    TrubricsCallbackHandler,
    arg,
    carry_scope,
    configure,
    current_scope,
    flush,
    identify,
    stats,
    track_feedback,
    trubrics_scope,
    trubrics_trace,
)
from trubrics_trace.testing import assert_tracked, capture_prompts, capture_records


@trubrics_trace
def bare(question: str, *, times: int = 1) -> str:
    """Return an answer."""
    return question * times


@trubrics_trace(user_id="alice", tags=["chat"], plan="pro")
def plain(question: str, *, times: int = 1) -> str:
    """Return an answer."""
    return question * times


@trubrics_trace(user_id=lambda question: question)
async def coroutine(question: str) -> int:
    """Return an answer later."""
    return len(question)


@trubrics_trace(thread_id=arg("question"))
def generator(question: str) -> Generator[str, int, bool]:
    """Yield an answer."""
    yield question
    return True


@trubrics_trace(tags="chat")
def iterator(question: str) -> Iterator[str]:
    """Yield an answer, and say less of it."""
    yield question


@trubrics_trace()
async def async_generator(question: str) -> AsyncGenerator[str, bytes]:
    """Yield an answer later."""
    yield question


@trubrics_trace
async def async_iterator(question: str) -> AsyncIterator[str]:
    """Yield an answer later, and say less of it."""
    yield question


class Service:
    """Methods of every kind, in either order."""

    @trubrics_trace
    def method(self, question: str) -> str:
        """Return an answer."""
        return question

    @trubrics_trace(user_id="alice")
    async def async_method(self, question: str) -> str:
        """Return an answer later."""
        return question

    @classmethod
    @trubrics_trace
    def class_method(cls, question: str) -> str:
        """Return an answer of the class."""
        return question

    @trubrics_trace(tags="chat")
    @staticmethod
    def static_method(question: str) -> str:
        """Return an answer of nobody."""
        return question


def test_functions() -> None:
    """Decorating keeps the exact type of a function and of what it returns."""
    assert_type(bare("a", times=2), str)
    assert_type(plain("a", times=2), str)
    assert_type(generator("a"), Generator[str, int, bool])
    assert_type(iterator("a"), Iterator[str])
    assert_type(async_generator("a"), AsyncGenerator[str, bytes])
    assert_type(async_iterator("a"), AsyncIterator[str])
    pending: Coroutine[Any, Any, int] = coroutine("a")
    assert 1 == assert_type(asyncio.run(pending), int)


def test_methods() -> None:
    """Methods, class and static methods keep their types, from an instance or a class."""
    service = Service()
    assert_type(service.method("a"), str)
    assert_type(Service.method(service, "a"), str)
    assert_type(Service.class_method("a"), str)
    assert_type(service.static_method("a"), str)
    pending: Coroutine[Any, Any, str] = service.async_method("a")
    assert "a" == assert_type(asyncio.run(pending), str)


def test_other_callables() -> None:
    """A partial and a callable that is decorated by hand keep their types."""
    twice = trubrics_trace(tags="chat")(partial(plain, times=2))
    by_hand: Callable[[str], str] = trubrics_trace(bare)
    assert_type(twice, "partial[str]")
    assert_type(twice("a"), str)
    assert_type(by_hand("a"), str)


def test_carried_work() -> None:
    """Carried work is of the type that it was."""
    assert_type(carry_scope(coroutine)("a").close(), None)
    with ThreadPoolExecutor(1) as pool:
        carrying = carry_scope(pool)
        future: Future[str] = carrying.submit(plain, "a")
        executor: Executor = carrying
        assert "a" == future.result()
        assert executor


def test_scopes() -> None:
    """A scope yields a `Scope`, in either kind of block."""
    with trubrics_scope(user_id="alice", fresh=True, plan="pro") as scope:
        assert_type(scope, Scope)
        assert_type(scope.user_id, "str | None")
        assert_type(scope.tags, tuple[str, ...])
        assert_type(current_scope(), "Scope | None")

    async def enter() -> None:
        async with trubrics_scope(tags="chat") as entered:
            assert_type(entered, Scope)

    asyncio.run(enter())


def test_answers() -> None:
    """What is asked of the package is told in its own types."""
    assert_type(stats(), Stats)
    assert_type(configure(batch_size=5), Settings)
    assert_type(bool(flush(0)), bool)
    with capture_prompts() as prompts:
        assert_type(prompts, list[PromptRecord])
    with capture_records() as records:
        assert_type(records, list[Record])
    told = assert_tracked([PromptRecord(record_id="1")], record_id="1")
    assert_type(told, PromptRecord)


def refused() -> None:
    """Hold what a checker refuses; nobody calls it."""
    trubrics_trace(user_id=1.5)  # type: ignore[call-overload]
    trubrics_trace(tags=5)  # type: ignore[call-overload]
    trubrics_scope(user_id=b"alice")  # type: ignore[arg-type]
    trubrics_scope(metadata=["plan"])  # type: ignore[arg-type]
    trubrics_scope(fresh="no")  # type: ignore[arg-type]
    identify(lambda: "alice")  # type: ignore[arg-type]
    TrubricsCallbackHandler(tags=5)  # type: ignore[arg-type]
    track_feedback(None)  # type: ignore[arg-type]
    configure(batch_size="many")  # type: ignore[arg-type]
    configure(capture="some")  # type: ignore[arg-type]
    configure(batchsize=5)  # type: ignore[call-arg]
    bare(5)  # type: ignore[arg-type]
    plain("a", time=2)  # type: ignore[call-arg]
    generator("a").send("b")  # type: ignore[arg-type]
    Service().method()  # type: ignore[call-arg]
