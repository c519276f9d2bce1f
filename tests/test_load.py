"""A crowd at once: a thousand calls in one loop, and thirty-two threads of a hundred."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from trubrics_trace import (
    PromptRecord,
    arg,
    configure,
    flush,
    identify,
    stats,
    trubrics_scope,
)
from trubrics_trace import trubrics_trace as trace
from trubrics_trace.testing import IngestionServer

CALLS = 1_000
THREADS = 32
CALLS_OF_A_THREAD = 100
DEADLINE_SECONDS = 50.0

Told = tuple[str | None, tuple[str, ...], str | None, Any, str, str | None, str]


class Echo(FakeListChatModel):
    """A fake model that answers with its question, once everybody has asked theirs.

    Attributes:
        meet: What each call of a thread waits for.
        expected: How many calls of a loop are under way before the first is answered.
    """

    meet: Callable[[], object] = lambda: None
    expected: int = 0
    asked: int = 0

    def _call(self, messages: list[BaseMessage], *_: Any, **__: Any) -> str:
        self.meet()
        return answer_to(str(messages[-1].content))

    def _stream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> Iterator[ChatGenerationChunk]:
        for word in words_of(self._call(messages)):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))

    async def _agenerate(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> ChatResult:
        await self._everybody()
        text = answer_to(str(messages[-1].content))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=text))])

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        await self._everybody()
        for word in words_of(answer_to(str(messages[-1].content))):
            await asyncio.sleep(0)
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))

    async def _everybody(self) -> None:
        self.asked += 1
        await asyncio.sleep(0)
        while self.asked < self.expected:
            await asyncio.sleep(0)


def answer_to(question: str) -> str:
    """Return the one answer that belongs to a question."""
    return f"the answer to {question}"


def words_of(text: str) -> list[str]:
    """Return the text in pieces, as a model streams it."""
    return [f"{word} " for word in text.split()]


def asks(who: str) -> dict[str, Any]:
    """Return what one of the crowd says to a scope: nobody else says any of it."""
    return {
        "user_id": f"user {who}",
        "thread_id": f"thread {who}",
        "tags": ["chat", f"tag {who}"],
        "note": f"note {who}",
    }


def expected_of(who: str) -> Told:
    """Return what the one record of one of the crowd says."""
    tags = ("langchain", "chat", f"tag {who}")
    answer = answer_to(f"question {who}")
    user, thread = f"user {who}", f"thread {who}"
    return (user, tags, thread, f"note {who}", f"question {who}", answer, "complete")


def told_by(record: PromptRecord) -> Told:
    """Return what a record says of whose it is, and what was asked and answered."""
    return (
        record.user_id,
        record.tags,
        record.thread_id,
        record.metadata.get("note"),
        record.prompt,
        record.generation and record.generation.strip(),
        record.status,
    )


def told_on_the_wire(event: dict[str, Any]) -> Told:
    """Return the same of an event that a server was sent."""
    properties = event["properties"]
    return (
        event["user_id"],
        tuple(properties["tags"]),
        event["thread_id"],
        properties.get("note"),
        event["prompt"],
        event["generation"].strip(),
        properties["status"],
    )


async def scoped(model: Echo, who: str) -> None:
    """Ask inside a scope."""
    async with trubrics_scope(**asks(who)):
        await model.ainvoke(f"question {who}")


async def identified(model: Echo, who: str) -> None:
    """Ask inside a scope that learns its user later."""
    with trubrics_scope(tags="chat"):
        await asyncio.sleep(0)
        identify(**{**asks(who), "tags": f"tag {who}"})
        await model.ainvoke(f"question {who}")


async def scoped_stream(model: Echo, who: str) -> None:
    """Stream inside a scope."""
    with trubrics_scope(**asks(who)):
        async for _ in model.astream(f"question {who}"):
            await asyncio.sleep(0)


@trace(
    user_id=lambda who: f"user {who}",
    thread_id=lambda who: f"thread {who}",
    tags=lambda who: ["chat", f"tag {who}"],
    note=lambda who: f"note {who}",
)
async def decorated(model: Echo, who: str) -> None:
    """Ask in a function that reads its user from its arguments."""
    await model.ainvoke(f"question {who}")


@trace(user_id=arg("says.user_id"), thread_id=arg("says.thread_id"), tags=arg("says.tags"))
async def pieces(model: Echo, who: str, says: dict[str, Any]) -> AsyncIterator[str]:
    """Stream out of a function that reads its user from its arguments."""
    with trubrics_scope(note=says["note"]):
        async for piece in model.astream(f"question {who}"):
            yield str(piece.content)


async def decorated_stream(model: Echo, who: str) -> None:
    """Consume a traced stream, as a response does."""
    async for _ in pieces(model, who, asks(who)):
        await asyncio.sleep(0)


LOOP_WAYS: list[Callable[[Echo, str], Awaitable[None]]] = [
    scoped,
    decorated,
    scoped_stream,
    identified,
    decorated_stream,
]


async def crowd_of_tasks() -> None:
    """Ask a thousand times at once, each way in turn."""
    model = Echo(responses=[], expected=CALLS)
    ways = itertools.cycle(LOOP_WAYS)
    await asyncio.gather(*(way(model, who) for way, who in zip(ways, TASKS, strict=False)))


def scoped_here(model: Echo, who: str) -> None:
    """Ask inside a scope, on this thread."""
    with trubrics_scope(**asks(who)):
        model.invoke(f"question {who}")


def scoped_stream_here(model: Echo, who: str) -> None:
    """Stream inside a scope, on this thread."""
    with trubrics_scope(**asks(who)):
        for _ in model.stream(f"question {who}"):
            pass


@trace(user_id=arg("says.user_id"), thread_id=arg("says.thread_id"), tags=arg("says.tags"))
def pieces_here(model: Echo, who: str, says: dict[str, Any]) -> Generator[str, None, None]:
    """Stream out of a generator that reads its user from its arguments."""
    with trubrics_scope(note=says["note"]):
        for piece in model.stream(f"question {who}"):
            yield str(piece.content)


def decorated_stream_here(model: Echo, who: str) -> None:
    """Consume a traced generator."""
    for _ in pieces_here(model, who, asks(who)):
        pass


THREAD_WAYS = [scoped_here, scoped_stream_here, decorated_stream_here]


def crowd_of_threads() -> None:
    """Ask a hundred times on each of the threads, all of them at the same moment."""
    meet = threading.Barrier(THREADS, timeout=DEADLINE_SECONDS).wait
    model = Echo(responses=[], meet=meet)

    def work(thread: int) -> None:
        ways = itertools.cycle(THREAD_WAYS)
        for way, who in zip(ways, names_of_thread(thread), strict=False):
            way(model, who)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))


def both_crowds() -> None:
    """Ask on the threads while a loop asks too."""
    with ThreadPoolExecutor(1) as pool:
        loop = pool.submit(lambda: asyncio.run(crowd_of_tasks()))
        crowd_of_threads()
        loop.result()


def names_of_thread(thread: int) -> list[str]:
    """Return whom one thread asks for."""
    return [f"{call} of thread {thread}" for call in range(CALLS_OF_A_THREAD)]


TASKS = [f"{call} of the loop" for call in range(CALLS)]
ON_THREADS = [who for thread in range(THREADS) for who in names_of_thread(thread)]


def differences(crowd: Iterable[str], told: Iterable[Told]) -> list[Told]:
    """Return what was told too often, or not at all; a few of it, to be read."""
    expected, actual = Counter(map(expected_of, crowd)), Counter(told)
    return [*(expected - actual), *(actual - expected)][:5]


@pytest.mark.parametrize(
    ("ask", "crowd"),
    [
        pytest.param(lambda: asyncio.run(crowd_of_tasks()), TASKS, id="loop"),
        pytest.param(crowd_of_threads, ON_THREADS, id="threads"),
    ],
)
def test_each_record_has_its_own(
    ask: Callable[[], None], crowd: list[str], captured_prompts: list[PromptRecord]
) -> None:
    """Each record has its own user, tags, thread, question and answer; none is missing."""
    ask()
    assert [] == differences(crowd, map(told_by, captured_prompts))
    assert len(crowd) == len({record.record_id for record in captured_prompts})
    assert ({}, {}) == (stats().noticed, stats().skipped)


def test_each_arrives_under_its_user(trubrics_server: IngestionServer) -> None:
    """Of a loop and threads at once the wire has each call once, under its own user."""
    configure(api_key=trubrics_server.api_key, host=trubrics_server.url)
    both_crowds()
    report = flush(timeout=DEADLINE_SECONDS)
    crowd = TASKS + ON_THREADS
    assert [] == differences(crowd, map(told_on_the_wire, trubrics_server.events))
    assert {1} == set(trubrics_server.record_ids.values())
    now = stats()
    assert (True, True, 0) == (report.complete, now.is_balanced, now.pending)
    assert (len(crowd), len(crowd)) == (now.accepted, now.delivered)
