"""What comes after the last scope was left: late in the same task, outside elsewhere."""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import copy_context
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda

from trubrics_trace import (
    PromptRecord,
    configure,
    current_scope,
    identify,
    stats,
    trubrics_scope,
    trubrics_trace,
)
from trubrics_trace.errors import TelemetryError
from trubrics_trace.scope._current import scope_was_opened_here

llm = FakeListChatModel(responses=["42"])


def late() -> int:
    """Return how many calls were late."""
    return stats().noticed.get("late", 0)


def in_a_thread(work: Callable[[], object]) -> None:
    """Run it in a thread, in a copy of this context, as frameworks run what is sync."""
    thread = threading.Thread(target=copy_context().run, args=(work,))
    thread.start()
    thread.join()


def leave_one() -> None:
    """Open a scope, and leave it."""
    with trubrics_scope(user_id="alice"):
        pass


def ask() -> None:
    """Ask a model."""
    llm.invoke("?")


class TestInATask:
    """The rest of a task's work may be what its scope was for."""

    def test_late(
        self, captured_prompts: list[PromptRecord], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A call after the scope is nobody's, counted, and said once with the remedy."""

        async def main() -> None:
            leave_one()
            assert current_scope() is None
            await llm.ainvoke("?")
            await llm.ainvoke("?")

        asyncio.run(main())
        assert ([], 2) == (captured_prompts, late())
        [said] = caplog.messages
        assert "test_left.py:" in said
        assert "carry_scope" in said

    def test_another_task(self) -> None:
        """Another task knows nothing of it."""

        async def work() -> bool:
            leave_one()
            return scope_was_opened_here()

        async def main() -> list[bool]:
            first = await asyncio.create_task(work())
            return [first, scope_was_opened_here()]

        assert [True, False] == asyncio.run(main())

    def test_next_scope(self, captured_prompts: list[PromptRecord]) -> None:
        """The next scope of the task is as if it were the first."""

        async def main() -> None:
            leave_one()
            with trubrics_scope(user_id="bob") as scope:
                assert scope.is_root
                await llm.ainvoke("?")
            assert current_scope() is None

        asyncio.run(main())
        assert ["bob"] == [record.user_id for record in captured_prompts]
        assert 0 == late()

    def test_strict(self) -> None:
        """In strict mode a late call is an error."""
        configure(strict=True)

        async def main() -> None:
            leave_one()
            await llm.ainvoke("?")

        with pytest.raises(TelemetryError, match="late"):
            asyncio.run(main())


class TestInAThread:
    """What a framework runs in threads leaves no trace in the request's own context."""

    def test_likely_late(
        self, captured_prompts: list[PromptRecord], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Once a scope was left in a thread, a call without any is counted as late."""
        in_a_thread(leave_one)
        in_a_thread(ask)
        ask()
        assert ([], 2) == (captured_prompts, late())
        assert 1 == len(caplog.messages)

    def test_raised_nowhere(self) -> None:
        """It is likely and not known, so strict mode says it as well, and no more."""
        configure(strict=True)
        in_a_thread(leave_one)
        ask()
        assert 1 == late()

    def test_scripts(self) -> None:
        """What a script does after its scope, on its own thread, is outside, and free."""
        leave_one()
        ask()
        assert 0 == late()

    def test_configured_anew(self) -> None:
        """A new configuration knows nothing of it."""
        in_a_thread(leave_one)
        configure()
        ask()
        assert 0 == late()


def test_place_of_a_chain(caplog: pytest.LogCaptureFixture) -> None:
    """A call that LangChain makes in a task of its own is placed where the app called."""
    chain = RunnableLambda(str) | llm

    async def main() -> None:
        with trubrics_scope():
            await chain.ainvoke("?")

    asyncio.run(main())
    said = caplog.messages[0]
    line = int(said.partition("test_left.py:")[2].split()[0])
    assert main.__code__.co_firstlineno < line <= main.__code__.co_firstlineno + 2


class TestSwitchedOff:
    """Switched off, a decorator only calls its function."""

    def test_nothing_is_opened(self) -> None:
        """No scope is open inside, of whatever kind the function is."""
        configure(enabled=False)

        @trubrics_trace(user_id="alice")
        def function() -> object:
            return current_scope()

        @trubrics_trace(user_id=lambda: "alice")
        async def coroutine() -> object:
            return current_scope()

        @trubrics_trace(user_id="alice")
        def generator() -> Iterator[object]:
            yield current_scope()

        @trubrics_trace(user_id="alice")
        async def async_generator() -> AsyncIterator[object]:
            yield current_scope()

        async def main() -> list[object]:
            parts = [part async for part in async_generator()]
            return [function(), await coroutine(), *generator(), *parts]

        assert [None] * 4 == asyncio.run(main())

    def test_nothing_is_said(self, caplog: pytest.LogCaptureFixture) -> None:
        """Neither a call nor `identify` is out of place where nothing could be opened."""
        configure(enabled=False)

        @trubrics_trace(user_id="alice")
        def function() -> None:
            identify("bob")
            ask()

        function()
        assert ({}, []) == (stats().noticed, caplog.messages)

    def test_by_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """So it is where the environment says so."""
        monkeypatch.setenv("TRUBRICS_TRACE_ENABLED", "false")
        configure()
        assert trubrics_trace(current_scope)() is None


class TestRequests:
    """Under uvicorn a request begins outside; see `tests/real/test_keep_alive.py`."""

    def test_other_tasks(self) -> None:
        """Only what uvicorn starts for a request begins outside; a factory is kept."""
        assert importlib.import_module("uvicorn")
        made: list[str] = []

        def own(loop: Any, work: Any, **options: Any) -> asyncio.Task[Any]:
            made.append(work.__name__)
            return asyncio.Task(work, loop=loop, **options)

        async def run_asgi() -> bool:
            return current_scope() is None

        async def work() -> bool:
            return current_scope() is not None

        async def main(factory: Any) -> None:
            loop = asyncio.get_running_loop()
            loop.set_task_factory(factory)
            with trubrics_scope(user_id="alice"):
                assert await asyncio.create_task(run_asgi())
                assert await asyncio.create_task(work(), name="mine")
                with trubrics_scope():
                    assert loop.get_task_factory() is not factory

        asyncio.run(main(None))
        asyncio.run(main(own))
        assert {"run_asgi", "work"} <= set(made)
