"""Attempts at one call, told as one record: `with_retry` and `with_fallbacks`."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
    Generation,
    LLMResult,
)
from langchain_core.runnables import Runnable, RunnableLambda

from trubrics_trace import PromptRecord, trubrics_scope
from trubrics_trace.langchain._turns import turns

# Told of a record: how it ended, what was answered, how often, and the errors before.
Told = tuple[str, str | None, int, tuple[str, ...] | None]


class BusyError(Exception):
    """What a server says that will soon have time."""


class LostError(Exception):
    """What a client says whose server is gone."""


class Chat(BaseChatModel):
    """A chat model that fails for a while, and then answers with its name."""

    answer: str
    errors: list[BaseException]

    @property
    def _llm_type(self) -> str:
        return "chat"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        if self.errors:
            raise self.errors.pop(0)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.answer))])


class Completion(BaseLLM):
    """A completion model that does the same."""

    answer: str
    errors: list[BaseException]

    @property
    def _llm_type(self) -> str:
        return "completion"

    def _generate(self, prompts: list[str], *_: Any, **__: Any) -> LLMResult:
        if self.errors:
            raise self.errors.pop(0)
        return LLMResult(generations=[[Generation(text=self.answer)] for _ in prompts])


class BreaksOff(Chat):
    """A chat model whose stream ends with an error after its first word."""

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk(content="Once"))
        raise LostError


Kind = Callable[..., Any]
each_kind = pytest.mark.parametrize("kind", [Chat, Completion])


def busy(times: int) -> list[BaseException]:
    """Return so many errors."""
    return [BusyError() for _ in range(times)]


def retried(model: Runnable[Any, Any], attempts: int = 3) -> Runnable[Any, Any]:
    """Return the model, tried again at once."""
    return model.with_retry(stop_after_attempt=attempts, wait_exponential_jitter=False)


async def by_stream(asked: Runnable[Any, Any]) -> object:
    """Take a stream to its end."""
    return [*asked.stream("Hi")]


async def by_astream(asked: Runnable[Any, Any]) -> object:
    """Take an async stream to its end."""
    return [chunk async for chunk in asked.astream("Hi")]


async def by_invoke(asked: Runnable[Any, Any]) -> object:
    """Ask and wait."""
    return asked.invoke("Hi")


async def by_batch(asked: Runnable[Any, Any]) -> object:
    """Ask one of a batch."""
    return asked.batch(["Hi"])


async def by_abatch(asked: Runnable[Any, Any]) -> object:
    """Ask one of an async batch."""
    return await asked.abatch(["Hi"])


async def by_ainvoke(asked: Runnable[Any, Any]) -> object:
    """Ask and await."""
    return await asked.ainvoke("Hi")


Way = Callable[[Runnable[Any, Any]], Awaitable[object]]
NOT_STREAMED: list[Way] = [by_invoke, by_ainvoke, by_batch, by_abatch]
STREAMED: list[Way] = [by_stream, by_astream]


def ways(*each: Way) -> pytest.MarkDecorator:
    """Return the parameters of a test of these ways of asking."""
    return pytest.mark.parametrize("ask", each, ids=lambda way: way.__name__)


def asked(ask: Way, of: Runnable[Any, Any]) -> None:
    """Ask as alice; errors that are the model's own are no matter here."""

    async def main() -> None:
        with trubrics_scope(user_id="alice"):
            await ask(of)

    try:
        asyncio.run(main())
    except (BusyError, LostError):
        return


def told(records: list[PromptRecord]) -> list[Told]:
    """Return what is told of the attempts, of each of alice's records."""
    assert {"alice"} == {record.user_id for record in records}
    return [
        (record.status, record.generation, record.attempts, record.attempt_errors)
        for record in records
    ]


class TestRetry:
    """`model.with_retry()`."""

    @each_kind
    @ways(*NOT_STREAMED)
    def test_rescued(
        self, ask: Way, kind: Kind, captured_prompts: list[PromptRecord]
    ) -> None:
        """What succeeds in the end is one record, with the errors before it."""
        asked(ask, retried(kind(answer="a", errors=busy(2))))
        assert [("complete", "a", 3, ("BusyError", "BusyError"))] == told(captured_prompts)
        assert captured_prompts[0].error_type is None

    @each_kind
    @ways(*NOT_STREAMED)
    def test_given_up(
        self, ask: Way, kind: Kind, captured_prompts: list[PromptRecord]
    ) -> None:
        """What fails in the end is one record, whose error is the last one's."""
        asked(ask, retried(kind(answer="a", errors=[BusyError(), LostError()]), 2))
        assert [("error", None, 2, ("BusyError",))] == told(captured_prompts)
        assert "LostError" == captured_prompts[0].error_type

    @ways(*NOT_STREAMED)
    def test_at_once(self, ask: Way, captured_prompts: list[PromptRecord]) -> None:
        """What succeeds at once is a record as ever."""
        asked(ask, retried(Chat(answer="a", errors=[])))
        assert [("complete", "a", 1, None)] == told(captured_prompts)

    @ways(*STREAMED)
    def test_streamed(self, ask: Way, captured_prompts: list[PromptRecord]) -> None:
        """A stream is not tried again, by LangChain's own design."""
        asked(ask, retried(Chat(answer="a", errors=busy(2))))
        assert [("error", None, 1, None)] == told(captured_prompts)

    @ways(by_batch, by_abatch)
    def test_several(self, ask: Way, captured_prompts: list[PromptRecord]) -> None:
        """Of a batch each call has its own attempts."""

        async def ask_twice(model: Runnable[Any, Any]) -> object:
            batch = ["Hi", "Ho"]
            return model.batch(batch) if ask is by_batch else await model.abatch(batch)

        asked(ask_twice, retried(Chat(answer="a", errors=busy(1))))
        assert {("Hi", "a"), ("Ho", "a")} == {
            (record.prompt, record.generation) for record in captured_prompts
        }
        attempts = sorted(record.attempts for record in captured_prompts)
        assert [1, 2] == attempts

    def test_time(self, captured_prompts: list[PromptRecord]) -> None:
        """A record begins with the first attempt: that long did the user wait."""
        began = threading.Event()

        class Slow(Chat):
            def _generate(self, *_: Any, **__: Any) -> ChatResult:
                if not began.is_set():
                    began.set()
                    threading.Event().wait(0.02)
                return super()._generate()

        asked(by_invoke, retried(Slow(answer="a", errors=busy(1))))
        assert captured_prompts[0].latency_seconds >= 0.02

    def test_cancelled_while_it_waits(self, captured_prompts: list[PromptRecord]) -> None:
        """What is cancelled before the next attempt ends with the last one's error."""

        async def main() -> None:
            with trubrics_scope(user_id="alice"):
                model = Chat(answer="a", errors=busy(1))
                task = asyncio.create_task(model.with_retry().ainvoke("Hi"))
                while model.errors:
                    await asyncio.sleep(0.001)
                await asyncio.sleep(0.01)  # before it waits it still tells
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        asyncio.run(main())
        assert [("error", None, 1, None)] == told(captured_prompts)


class TestFallbacks:
    """`model.with_fallbacks([...])`."""

    @each_kind
    @ways(*NOT_STREAMED, *STREAMED)
    def test_rescued(
        self, ask: Way, kind: Kind, captured_prompts: list[PromptRecord]
    ) -> None:
        """What another model answers is one record, and that model's."""
        if sys.version_info < (3, 11) and (kind, ask) == (Completion, by_ainvoke):
            pytest.skip("Python 3.10 does not tell a gathered task where it came from")
        first = kind(answer="a", errors=[LostError()], name="first")
        asked(ask, first.with_fallbacks([kind(answer="b", errors=[])]))
        assert [("complete", "b", 2, ("LostError",))] == told(captured_prompts)

    @ways(*NOT_STREAMED, *STREAMED)
    def test_given_up(self, ask: Way, captured_prompts: list[PromptRecord]) -> None:
        """Where none answers, the last one's error is told, after those before."""
        first = Chat(answer="a", errors=[LostError()])
        asked(ask, first.with_fallbacks([Chat(answer="b", errors=busy(1))]))
        assert [("error", None, 2, ("LostError",))] == told(captured_prompts)
        assert "BusyError" == captured_prompts[0].error_type

    @ways(*NOT_STREAMED)
    def test_of_a_retry(self, ask: Way, captured_prompts: list[PromptRecord]) -> None:
        """A model that is tried again and then another are attempts at one call."""
        first = retried(Chat(answer="a", errors=busy(2)), 2)
        asked(ask, first.with_fallbacks([Chat(answer="b", errors=[])]))
        assert [("complete", "b", 3, ("BusyError", "BusyError"))] == told(captured_prompts)

    @ways(*NOT_STREAMED, *STREAMED)
    def test_inside_a_chain(self, ask: Way, captured_prompts: list[PromptRecord]) -> None:
        """Inside a chain it is the same."""
        step: Runnable[Any, Any] = RunnableLambda(lambda asked: asked)
        first = Chat(answer="a", errors=busy(1))
        asked(ask, step | first.with_fallbacks([Chat(answer="b", errors=[])]) | step)
        assert [("complete", "b", 2, ("BusyError",))] == told(captured_prompts)

    @ways(*NOT_STREAMED, *STREAMED)
    def test_of_chains(self, ask: Way, captured_prompts: list[PromptRecord]) -> None:
        """A chain that falls back makes calls of its own: it may have made many."""
        step: Runnable[Any, Any] = RunnableLambda(lambda asked: asked)
        first = step | Chat(answer="a", errors=busy(1))
        asked(ask, first.with_fallbacks([step | Chat(answer="b", errors=[])]))
        expected = [("error", None, 1, None), ("complete", "b", 1, None)]
        assert expected == told(captured_prompts)

    @ways(*STREAMED)
    def test_broken_off(self, ask: Way, captured_prompts: list[PromptRecord]) -> None:
        """A stream that breaks off is not tried again: its error and text are told."""
        first = BreaksOff(answer="a", errors=[])
        asked(ask, first.with_fallbacks([Chat(answer="b", errors=[])]))
        assert [("error", "Once", 1, None)] == told(captured_prompts)

    def test_two_calls(self, captured_prompts: list[PromptRecord]) -> None:
        """Two calls are two records."""
        both = Chat(answer="a", errors=busy(1)).with_fallbacks(
            [Chat(answer="b", errors=[])]
        )
        asked(by_invoke, both)
        asked(by_invoke, both)
        expected = [("complete", "b", 2, ("BusyError",)), ("complete", "a", 1, None)]
        assert expected == told(captured_prompts)

    def test_by_hand(self, captured_prompts: list[PromptRecord]) -> None:
        """What the app tries again itself are calls of their own."""

        async def ask(model: Runnable[Any, Any]) -> object:
            try:
                return model.invoke("Hi")
            except BusyError:
                return model.invoke("Hi")

        asked(ask, Chat(answer="a", errors=busy(1)))
        expected = [("error", None, 1, None), ("complete", "a", 1, None)]
        assert expected == told(captured_prompts)


def test_nothing_is_left(captured_prompts: list[PromptRecord]) -> None:
    """When all is told, nothing is noted any more."""
    for ask in (*NOT_STREAMED, *STREAMED):
        first = Chat(answer="a", errors=busy(1))
        asked(ask, first.with_fallbacks([Chat(answer="b", errors=[])]))
    assert 6 == len(captured_prompts)
    gc.collect()
    assert ([], []) == ([*turns._turns], [*turns._runs])
