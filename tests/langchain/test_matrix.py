"""Every way to call, of every model, in every shape: one record a model call.

Three users ask one and the same runnable at once, and each call of theirs waits for one of
the others. What must be told is written down here.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from inspect import isawaitable
from typing import Any, NamedTuple

import pytest
from langchain_core.messages import HumanMessage

import trubrics_trace
from tests.langchain import matrix
from tests.langchain.matrix import Chat, Completion, Meeting, OverloadedError, Temper
from trubrics_trace import PromptRecord, trubrics_scope
from trubrics_trace.langchain._turns import turns

ASKED = {
    "alice": ["Why", "What is it"],
    "bob": ["Who goes", "Where does it end"],
    "carol": ["How far is that hill"],
}


class Told(NamedTuple):
    """What a record says of one call: the tokens asked, answered and in all."""

    user: str | None
    prompt: str
    generation: str | None
    tokens: tuple[int | None, int | None, int | None]
    status: str = "complete"
    attempts: int = 1
    errors: tuple[str, ...] | None = None
    tool_calls: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: PromptRecord) -> Told:
        """Return what a record says."""
        calls = [
            f"{call['name']}: {call['args']['question']}"
            for call in record.tool_calls or ()
        ]
        tokens = (record.input_tokens, record.output_tokens, record.total_tokens)
        errors = record.attempt_errors
        if record.status == "error":
            errors = (*(errors or ()), f"at last {record.error_type}")
        return cls(
            record.user_id,
            record.prompt,
            record.generation,
            tokens,
            record.status,
            record.attempts,
            errors,
            tuple(calls),
        )


ONCE = [
    Told("alice", "Why", "Why? Hm.", (1, 2, 3)),
    Told("alice", "What is it", "What is it? Hm.", (3, 4, 7)),
    Told("bob", "Who goes", "Who goes? Hm.", (2, 3, 5)),
    Told("bob", "Where does it end", "Where does it end? Hm.", (4, 5, 9)),
    Told("carol", "How far is that hill", "How far is that hill? Hm.", (5, 6, 11)),
]
AGAIN = [
    Told("alice", "Why again", "Why again? Hm.", (2, 3, 5)),
    Told("alice", "What is it again", "What is it again? Hm.", (4, 5, 9)),
    Told("bob", "Who goes again", "Who goes again? Hm.", (3, 4, 7)),
    Told("bob", "Where does it end again", "Where does it end again? Hm.", (5, 6, 11)),
    Told(
        "carol", "How far is that hill again", "How far is that hill again? Hm.", (6, 7, 13)
    ),
]
# The system says one word more.
CHAT_CHAIN = [
    Told("alice", "Why", "Why? Hm.", (2, 2, 4)),
    Told("alice", "What is it", "What is it? Hm.", (4, 4, 8)),
    Told("bob", "Who goes", "Who goes? Hm.", (3, 3, 6)),
    Told("bob", "Where does it end", "Where does it end? Hm.", (5, 5, 10)),
    Told("carol", "How far is that hill", "How far is that hill? Hm.", (6, 6, 12)),
]
# A completion model is told the roles as well.
ROLES = "System: Wonder.\nHuman: "
COMPLETION_CHAIN = [
    Told("alice", f"{ROLES}Why", "Why? Hm.", (4, 2, 6)),
    Told("alice", f"{ROLES}What is it", "What is it? Hm.", (6, 4, 10)),
    Told("bob", f"{ROLES}Who goes", "Who goes? Hm.", (5, 3, 8)),
    Told("bob", f"{ROLES}Where does it end", "Where does it end? Hm.", (7, 5, 12)),
    Told("carol", f"{ROLES}How far is that hill", "How far is that hill? Hm.", (8, 6, 14)),
]
# Both texts, and the usage of both, once.
CHOICES = [
    Told("alice", "Why", "Why? Hm.\n\nWhy? Hm.", (1, 4, 5)),
    Told("alice", "What is it", "What is it? Hm.\n\nWhat is it? Hm.", (3, 8, 11)),
    Told("bob", "Who goes", "Who goes? Hm.\n\nWho goes? Hm.", (2, 6, 8)),
    Told(
        "bob",
        "Where does it end",
        "Where does it end? Hm.\n\nWhere does it end? Hm.",
        (4, 10, 14),
    ),
    Told(
        "carol",
        "How far is that hill",
        "How far is that hill? Hm.\n\nHow far is that hill? Hm.",
        (5, 12, 17),
    ),
]
STRUCTURED = [
    Told("alice", "Why", None, (1, 1, 2), tool_calls=("Asked: Why",)),
    Told("alice", "What is it", None, (3, 3, 6), tool_calls=("Asked: What is it",)),
    Told("bob", "Who goes", None, (2, 2, 4), tool_calls=("Asked: Who goes",)),
    Told(
        "bob",
        "Where does it end",
        None,
        (4, 4, 8),
        tool_calls=("Asked: Where does it end",),
    ),
    Told(
        "carol",
        "How far is that hill",
        None,
        (5, 5, 10),
        tool_calls=("Asked: How far is that hill",),
    ),
]
# What the tool has found is two words more, at the second call.
AGENT = [
    Told("alice", "Why", None, (1, 1, 2), tool_calls=("look_up: Why",)),
    Told("alice", "Why", "Why? Hm.", (3, 2, 5)),
    Told("alice", "What is it", None, (3, 3, 6), tool_calls=("look_up: What is it",)),
    Told("alice", "What is it", "What is it? Hm.", (5, 4, 9)),
    Told("bob", "Who goes", None, (2, 2, 4), tool_calls=("look_up: Who goes",)),
    Told("bob", "Who goes", "Who goes? Hm.", (4, 3, 7)),
    Told(
        "bob",
        "Where does it end",
        None,
        (4, 4, 8),
        tool_calls=("look_up: Where does it end",),
    ),
    Told("bob", "Where does it end", "Where does it end? Hm.", (6, 5, 11)),
    Told(
        "carol",
        "How far is that hill",
        None,
        (5, 5, 10),
        tool_calls=("look_up: How far is that hill",),
    ),
    Told("carol", "How far is that hill", "How far is that hill? Hm.", (7, 6, 13)),
]


def at_second(rows: list[Told]) -> list[Told]:
    """Return the same, told at the second attempt."""
    return [row._replace(attempts=2, errors=("OverloadedError",)) for row in rows]


def failed(rows: list[Told]) -> list[Told]:
    """Return the same, never attempted again."""
    return [
        row._replace(
            generation=None,
            tokens=(None, None, None),
            status="error",
            attempts=1,
            errors=("at last OverloadedError",),
        )
        for row in rows
    ]


# What is told of each shape: of chat models, and of completion models where there are any.
EXPECTED: dict[str, tuple[list[Told], list[Told] | None]] = {
    "bare": (ONCE, ONCE),
    "chain": (CHAT_CHAIN, COMPLETION_CHAIN),
    "parallel": (ONCE + AGAIN, ONCE + AGAIN),
    "choices": (CHOICES, CHOICES),
    "retry": (ONCE, ONCE),
    "rescue": (at_second(ONCE), at_second(ONCE)),
    "rescue_in_chain": (at_second(CHAT_CHAIN), at_second(COMPLETION_CHAIN)),
    "fallback": (at_second(ONCE), at_second(ONCE)),
    "fallback_in_chain": (at_second(CHAT_CHAIN), at_second(COMPLETION_CHAIN)),
    "structured": (STRUCTURED, None),
    "agent": (AGENT, None),
    "send": (ONCE + AGAIN, ONCE + AGAIN),
    "subgraph": (ONCE + AGAIN, ONCE + AGAIN),
    "interrupt": (ONCE + AGAIN, ONCE + AGAIN),
}
GRAPHS = ("agent", "send", "subgraph", "interrupt")

SYNC: dict[str, Callable[..., object]] = {
    "invoke": lambda it, inputs, configs: list(map(it.invoke, inputs, configs)),
    "batch": lambda it, inputs, configs: it.batch(inputs, configs),
    "batch_as_completed": lambda it, inputs, configs: list(
        it.batch_as_completed(inputs, configs, return_exceptions=True)
    ),
    "generate": lambda it, inputs, _: it.generate(inputs),
}
ASYNC: dict[str, Callable[..., Any]] = {
    "ainvoke": lambda it, inputs, configs: one_by_one(map(it.ainvoke, inputs, configs)),
    "abatch": lambda it, inputs, configs: it.abatch(inputs, configs),
    "abatch_as_completed": lambda it, inputs, configs: to_the_end(
        it.abatch_as_completed(inputs, configs, return_exceptions=True)
    ),
    "agenerate": lambda it, inputs, _: it.agenerate(inputs),
}
SYNC_STREAMS: dict[str, Callable[..., Any]] = {
    "stream": lambda it, one, config: it.stream(one, config),
    "stream_events_v3": lambda it, *one: it.stream_events(*one, version="v3"),
}
ASYNC_STREAMS: dict[str, Callable[..., Any]] = {
    "astream": lambda it, one, config: it.astream(one, config),
    "astream_events_v1": lambda it, *one: it.astream_events(*one, version="v1"),
    "astream_events_v2": lambda it, *one: it.astream_events(*one, version="v2"),
    "astream_events_v3": lambda it, *one: it.astream_events(*one, version="v3"),
}
STREAMS = (*SYNC_STREAMS, *ASYNC_STREAMS)
WAYS = (*SYNC, *ASYNC, *STREAMS)

# LangChain's `with_retry` retries none of these: it hands them on to what it wraps.
NOT_RETRIED = {
    "rescue": (*STREAMS, "batch_as_completed", "abatch_as_completed"),
    "rescue_in_chain": STREAMS,
}


def is_there(shape: str, kind: type[Chat | Completion], way: str) -> bool:
    """Return whether LangChain has this way to call this shape of this model."""
    if EXPECTED[shape][kind is Completion] is None:
        return False
    if shape == "choices" and way in STREAMS:
        return False
    if way.endswith("v3"):
        is_model = kind is Chat and shape in ("bare", "retry", "rescue")
        return is_model or shape in GRAPHS
    return shape == "bare" or not way.endswith("generate")


CELLS = [
    pytest.param(shape, kind, way, id=f"{shape}-{kind.__name__}-{way}")
    for shape in EXPECTED
    for kind in (Chat, Completion)
    for way in WAYS
    if is_there(shape, kind, way)
]


# LangChain says of some ways that they are too old, and of others that they are too new.
@pytest.mark.filterwarnings("ignore:astream_events version='v1'")
@pytest.mark.filterwarnings("ignore:.*(in beta|experimental)")
@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
@pytest.mark.parametrize(("shape", "kind", "way"), CELLS)
def test_a_model_call_is_one_record(
    shape: str, kind: Any, way: str, captured_prompts: list[PromptRecord]
) -> None:
    """It says whose it is, what was asked, and what came of it, however it was made."""
    meeting = Meeting([questions[0] for questions in ASKED.values()])
    it = getattr(matrix, shape)(
        lambda fails="never": kind(meeting=meeting, temper=Temper(fails))
    )
    if way.endswith("v3") and not hasattr(it, "stream_events"):
        pytest.skip('this LangChain has no `version="v3"`')
    is_async = way in ASYNC or way in ASYNC_STREAMS
    if shape == "interrupt" and is_async and sys.version_info < (3, 11):
        pytest.skip("LangGraph interrupts no async graph before Python 3.11")
    is_gathered = kind is Completion and way in ("ainvoke", "abatch_as_completed")
    if sys.version_info < (3, 11) and is_gathered and shape.startswith("fallback"):
        pytest.skip("Python 3.10 does not tell a gathered task where it came from")

    asyncio.run(everybody_asks(it, shape, way))

    expected = EXPECTED[shape][kind is Completion] or []
    if way in NOT_RETRIED.get(shape, ()):
        expected = failed(expected)
    assert Counter(expected) == Counter(map(Told.of, captured_prompts))
    assert ({}, {}) == (trubrics_trace.stats().noticed, turns._turns)


async def everybody_asks(it: Any, shape: str, way: str) -> None:
    """Have each user ask the same, in a task or a thread of their own."""
    if way in ASYNC or way in ASYNC_STREAMS:
        await asyncio.gather(*(ask_async(it, shape, way, user) for user in ASKED))
        return
    with ThreadPoolExecutor(len(ASKED)) as pool:
        list(pool.map(lambda user: ask(it, shape, way, user), ASKED))


def ask(it: Any, shape: str, way: str, user: str) -> None:
    """Ask a user's questions; a stream is begun by the user, and read on by another."""
    for inputs, configs in rounds_of(it, shape, way, user):
        if way in SYNC:
            with trubrics_scope(user_id=user):
                SYNC[way](it, inputs, configs)
            continue
        for one, config in zip(inputs, configs, strict=True):
            with suppress(OverloadedError):
                with trubrics_scope(user_id=user):
                    parts = iter(SYNC_STREAMS[way](it, one, config))
                    next(parts)
                with trubrics_scope(user_id="reader"):
                    list(parts)


async def ask_async(it: Any, shape: str, way: str, user: str) -> None:
    """Ask a user's questions likewise, in a loop."""
    for inputs, configs in rounds_of(it, shape, way, user):
        if way in ASYNC:
            with trubrics_scope(user_id=user):
                await ASYNC[way](it, inputs, configs)
            continue
        for one, config in zip(inputs, configs, strict=True):
            with suppress(OverloadedError):
                with trubrics_scope(user_id=user):
                    begun = ASYNC_STREAMS[way](it, one, config)
                    parts = aiter(await begun if isawaitable(begun) else begun)
                    await anext(parts)
                with trubrics_scope(user_id="reader"):
                    await to_the_end(parts)


def rounds_of(
    it: Any, shape: str, way: str, user: str
) -> Iterator[tuple[list[Any], list[Any]]]:
    """Yield a user's questions as inputs and configs, and what resumes each, if need be."""
    questions = ASKED[user]
    configs = [{"configurable": {"thread_id": question}} for question in questions]
    yield [input_of(it, shape, way, question) for question in questions], configs
    if shape == "interrupt":
        yield [matrix.go_on() for _ in questions], configs


def input_of(it: Any, shape: str, way: str, question: str) -> Any:
    """Return a question as this shape takes it."""
    if shape == "agent":
        return {"messages": [HumanMessage(question)]}
    if "chain" in shape or shape in GRAPHS:
        return {"question": question}
    if way.endswith("generate") and isinstance(it, Chat):
        return [HumanMessage(question)]
    return question


async def one_by_one(calls: Iterable[Awaitable[object]]) -> None:
    """Await each call before the next is made."""
    for call in calls:
        await call


async def to_the_end(parts: AsyncIterator[object]) -> None:
    """Read what is left of an async stream."""
    async for _ in parts:
        pass
