"""One handler for many calls: each record holds its own call's, and nothing of another's.

Every call has a number, which stands in all that is said of it; so a record that holds two
numbers is made of two calls.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import LLM, BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
)
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
    GenerationChunk,
)
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from trubrics_trace import PromptRecord, TrubricsCallbackHandler, trubrics_scope

CALLS = 200
ENDS = ("complete", "error", "complete", "stopped", "cancelled")

_NUMBER = re.compile(r"\d+")


def number_in(question: str) -> int:
    """Return the number of a question."""
    return int(_NUMBER.findall(question)[0])


class Refused(Exception):  # noqa: N818 - a name that tells the model's own error
    """What a model raises that is asked to."""


class Chat(BaseChatModel):
    """A chat model whose every word has the number of its question.

    Attributes:
        turn: Taken before each part of an answer, so that calls take turns.
    """

    turn: Any = None

    @property
    def _llm_type(self) -> str:
        return "chat"

    def _answer(self, question: str) -> AIMessage:
        number = number_in(question)
        if question.startswith("Refuse"):
            raise Refused(f"refused {number}")
        call = {"name": f"tool-{number}", "args": {"n": number}, "id": f"call-{number}"}
        return AIMessage(
            content=f"answer {number}",
            tool_calls=[{**call, "type": "tool_call"}],
            usage_metadata={
                "input_tokens": number,
                "output_tokens": number,
                "total_tokens": 2 * number,
            },
            response_metadata={"model_name": f"model-{number}"},
        )

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        if self.turn is not None:
            self.turn.wait()
        answer = self._answer(str(messages[-1].content))
        return ChatResult(generations=[ChatGeneration(message=answer)])

    async def _agenerate(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> ChatResult:
        question = str(messages[-1].content)
        for _turn in range(number_in(question) % 7):
            await asyncio.sleep(0)
        if question.startswith("Wait"):
            await asyncio.get_running_loop().create_future()
        return ChatResult(generations=[ChatGeneration(message=self._answer(question))])

    def _stream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> Iterator[ChatGenerationChunk]:
        for word in ("answer", number_in(str(messages[-1].content)), "goes", "on"):
            yield ChatGenerationChunk(message=AIMessageChunk(content=f"{word} "))

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages):
            await asyncio.sleep(0)
            yield chunk


class Completion(LLM):
    """A completion model whose answer has the number of its question."""

    @property
    def _llm_type(self) -> str:
        return "completion"

    def _call(self, prompt: str, *_: Any, **__: Any) -> str:
        return f"answer {number_in(prompt)}"

    def _stream(self, prompt: str, *_: Any, **__: Any) -> Iterator[GenerationChunk]:
        for word in ("answer ", str(number_in(prompt))):
            yield GenerationChunk(text=word)


def numbers_in(record: PromptRecord) -> set[str]:
    """Return every number that stands in what a record tells of its call."""
    said = (
        record.user_id,
        record.thread_id,
        record.tags,
        record.metadata,
        record.prompt,
        record.messages,
        record.generation,
        record.tool_calls,
        record.model,
        record.error_message,
        record.run_name,
    )
    return set(_NUMBER.findall(repr(said)))


def config_of(number: int, handler: TrubricsCallbackHandler) -> RunnableConfig:
    """Return a call's config, with the one handler and what is this call's alone."""
    return RunnableConfig(
        callbacks=[handler],
        tags=[f"tag-{number}"],
        run_name=f"run-{number}",
        metadata={
            "trubrics_user_id": f"user-{number}",
            "trubrics_thread_id": f"thread-{number}",
            "own": f"own-{number}",
        },
    )


def asked_of(number: int) -> list[Any]:
    """Return a question, and what stands before it."""
    verb = {"error": "Refuse", "cancelled": "Wait"}.get(ENDS[number % len(ENDS)], "Say")
    return [SystemMessage(f"Be brief, {number}."), ("human", f"{verb} {number}")]


async def ask(number: int, handler: TrubricsCallbackHandler) -> None:
    """Make one of the calls, which ends as its number says."""
    question, config = asked_of(number), config_of(number, handler)
    end = ENDS[number % len(ENDS)]
    if end == "stopped":
        parts: Any = Chat().astream(question, config)
        await parts.__anext__()
        await parts.__anext__()
        await parts.aclose()
    elif end == "error":
        with pytest.raises(Refused):
            await Chat().ainvoke(question, config)
    elif end == "cancelled":
        task = asyncio.create_task(Chat().ainvoke(question, config))
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    else:
        await Chat().ainvoke(question, config)


@pytest.mark.parametrize("is_scoped", [False, True])
def test_two_hundred_tasks(is_scoped: bool, captured_prompts: list[PromptRecord]) -> None:
    """Each has a record, of its own end, answer, tokens and tools, and of no other's."""
    handler = TrubricsCallbackHandler()

    async def one(number: int) -> None:
        if is_scoped:
            with trubrics_scope(user_id=f"user-{number}", thread_id=f"thread-{number}"):
                await ask(number, handler)
        else:
            await ask(number, handler)

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(CALLS)))

    asyncio.run(main())
    with trubrics_scope():  # what was cancelled is told at the latest when one closes
        pass

    told = {int(record.prompt.split()[1]): record for record in captured_prompts}
    assert (CALLS, CALLS) == (len(told), len(captured_prompts))
    for number, record in told.items():
        end = ENDS[number % len(ENDS)]
        answer = {"complete": f"answer {number}", "stopped": f"answer {number} "}.get(end)
        tokens = number if end == "complete" else None
        assert {str(number)} == numbers_in(record)
        assert (f"user-{number}", f"thread-{number}") == (record.user_id, record.thread_id)
        assert {"own": f"own-{number}"} == record.metadata
        assert (end, answer, tokens) == (
            record.status,
            record.generation,
            record.input_tokens,
        )
        assert (end == "complete") == (record.tool_calls is not None)
        assert (end == "error") == (record.error_type == "Refused")


def test_two_hundred_threads(captured_prompts: list[PromptRecord]) -> None:
    """So it is with threads, of which all have begun before the first has its answer."""
    handler = TrubricsCallbackHandler()
    llm = Chat(turn=threading.Barrier(CALLS, timeout=50))

    def one(number: int) -> None:
        question = [("human", f"Say {number}")]
        llm.invoke(question, config_of(number, handler))

    with ThreadPoolExecutor(CALLS) as pool:
        list(pool.map(one, range(CALLS)))

    told = {int(record.prompt.split()[1]): record for record in captured_prompts}
    assert (CALLS, CALLS) == (len(told), len(captured_prompts))
    for number, record in told.items():
        assert {str(number)} == numbers_in(record)
        assert (f"answer {number}", number, 2 * number) == (
            record.generation,
            record.input_tokens,
            record.total_tokens,
        )


def test_streams_that_take_turns(captured_prompts: list[PromptRecord]) -> None:
    """Two hundred streams, read a part at a time by turns, keep their parts apart."""
    handler = TrubricsCallbackHandler()
    streams = [
        Chat().stream([("human", f"Say {number}")], config_of(number, handler))
        for number in range(CALLS)
    ]
    for _ in itertools.zip_longest(*streams):
        pass

    assert CALLS == len(captured_prompts)
    for record in captured_prompts:
        number = record.prompt.split()[1]
        assert f"answer {number} goes on " == record.generation
        assert {number} == numbers_in(record)


def test_prompts_that_are_handed_in_together(
    captured_prompts: list[PromptRecord],
) -> None:
    """Each has its own answer, of a chat model and of a completion model."""
    handlers: list[BaseCallbackHandler] = [TrubricsCallbackHandler()]
    Completion().generate([f"Say {number}" for number in range(CALLS)], callbacks=handlers)
    Chat().generate(
        [[HumanMessage(f"Say {number}")] for number in range(CALLS)], callbacks=handlers
    )

    assert 2 * CALLS == len(captured_prompts)
    for record in captured_prompts:
        number = record.prompt.split()[1]
        assert f"answer {number}" == record.generation
        assert {number} == numbers_in(record)


# A call of every kind, each with all that it can leave behind.


def chat(config: RunnableConfig) -> None:
    """Have an answer with tokens and tools."""
    Chat().invoke(asked_of(10), config)


def completion(config: RunnableConfig) -> None:
    """Have an answer that is nothing but a text."""
    Completion().invoke("Say 11", config)


def failure(config: RunnableConfig) -> None:
    """Have an error."""
    with pytest.raises(Refused):
        Chat().invoke("Refuse 12", config)


def stream(config: RunnableConfig) -> None:
    """Have two parts of an answer, and leave."""
    parts: Any = Completion().stream("Say 13", config)
    next(parts)
    parts.close()


def chain(config: RunnableConfig) -> None:
    """Have a chain ask."""
    text: Runnable[str, str] = RunnableLambda(str)
    (text | Chat()).invoke("Say 15", config)


def told_without_times(record: PromptRecord) -> dict[str, Any]:
    """Return all that a record says, but for its ids and times."""
    passing = ("record_id", "parent_run_id", "started_at")
    said = record.to_dict()
    return {
        key: value
        for key, value in said.items()
        if key not in passing and not key.endswith("_seconds")
    }


@pytest.mark.parametrize(
    "calls",
    list(itertools.permutations((chat, completion, failure, stream, chain), 3)),
    ids=lambda calls: "-".join(call.__name__ for call in calls),
)
def test_one_kind_after_another(
    calls: tuple[Callable[[RunnableConfig], None], ...],
    captured_prompts: list[PromptRecord],
) -> None:
    """A record says what it would from a handler that has heard of no other call."""
    shared = TrubricsCallbackHandler(user_id="alice", tags="one")
    for call in calls:
        call(RunnableConfig(callbacks=[shared]))
    for call in calls:
        fresh = TrubricsCallbackHandler(user_id="alice", tags="one")
        call(RunnableConfig(callbacks=[fresh]))

    told = [told_without_times(record) for record in captured_prompts]
    assert told[len(calls) :] == told[: len(calls)]
    assert len(calls) == len({record["prompt"] for record in told})
    assert {"alice"} == {record["user_id"] for record in told}
