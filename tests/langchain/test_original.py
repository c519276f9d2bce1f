"""What the original handler did wrong, once for all: `langchain_community`'s, of 2024.

Each of its defects is one test, which fails with the original's code; the table below says
where. The handler is used as its users use it: by hand, outside any scope.
"""

from __future__ import annotations

import ast
import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import (
    BaseChatModel,
    FakeListChatModel,
    FakeListLLM,
    GenericFakeChatModel,
    LangSmithParams,
)
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from pydantic import PrivateAttr

from tests.delivery.parts import wait_until
from tests.delivery.servers import answer, serve_raw
from trubrics_trace import PromptRecord, TrubricsCallbackHandler, flush, stats

NAMES = ("alice", "bob", "carol")
PATIENCE_SECONDS = 30.0

DEFECTS = {
    "cannot be constructed with today's client": "test_construction",
    "pairs the joke with the poem's prompt": "test_two_prompts",
    "two tags raise": "test_two_tags",
    "a string tag is split into letters": "test_string_as_tags",
    "user and tags only on the first call": "test_second_call",
    "concurrent calls pair Bob's prompt with Alice's answer": "test_calls_at_once",
    "a ToolMessage loses the event": "test_tool_message",
    "a content-block list loses the event": "test_content_blocks",
    "another call's messages leak in": "test_completion_after_a_chat",
    "tool calls invisible": "test_tool_calls",
    "errors ignored": "test_error",
    "config tags and metadata ignored": "test_config",
    'model "NA" on every stream': "test_model_of_a_stream",
    "each call waits for a full HTTP round trip": "test_server_that_hangs",
}

each_way = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


def with_handler(**keywords: Any) -> RunnableConfig:
    """Return the config of a call with a handler of its own."""
    return {"callbacks": [TrubricsCallbackHandler(**keywords)]}


def only(records: Sequence[PromptRecord]) -> PromptRecord:
    """Return the one record; fails where there are none, or more."""
    (record,) = records
    return record


def test_each_defect_has_its_test() -> None:
    """The fourteen defects are fourteen tests of this file."""
    body = ast.parse(Path(__file__).read_text()).body
    names = {one.name for one in body if isinstance(one, ast.FunctionDef)}
    assert 14 == len(DEFECTS) == len(set(DEFECTS.values()) & names)


def test_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made as ever, with credentials given, in the environment, or nowhere."""
    assert TrubricsCallbackHandler("default", "alice@example.com", "correct horse")
    monkeypatch.setenv("TRUBRICS_EMAIL", "alice@example.com")
    monkeypatch.setenv("TRUBRICS_PASSWORD", "correct horse")
    assert TrubricsCallbackHandler(project="default", tags=["chat model"], some={"a": [1]})
    monkeypatch.delenv("TRUBRICS_EMAIL")
    monkeypatch.delenv("TRUBRICS_PASSWORD")
    assert TrubricsCallbackHandler()


@each_way
def test_two_prompts(is_async: bool, captured_prompts: list[PromptRecord]) -> None:
    """Of several prompts at once each keeps its own generation."""
    llm = FakeListLLM(responses=["a joke", "a poem"], callbacks=[TrubricsCallbackHandler()])
    asked = ["Tell me a joke", "Write me a poem"]
    if is_async:
        asyncio.run(llm.agenerate(asked))
    else:
        llm.generate(asked)

    told = {(record.prompt, record.generation) for record in captured_prompts}
    assert {("Tell me a joke", "a joke"), ("Write me a poem", "a poem")} == told
    assert 2 == len({record.record_id for record in captured_prompts})


def test_two_tags(captured_prompts: list[PromptRecord]) -> None:
    """Several tags are several tags, and none is lost."""
    model().invoke("Hello", with_handler(tags=["chat", "beta"]))

    assert ("langchain", "chat", "beta") == only(captured_prompts).tags


def test_string_as_tags(captured_prompts: list[PromptRecord]) -> None:
    """A text is one tag."""
    model().invoke("Hello", with_handler(tags="chat"))

    assert ("langchain", "chat") == only(captured_prompts).tags


def test_second_call(captured_prompts: list[PromptRecord]) -> None:
    """What the handler was given holds for each of its calls."""
    given = {"tags": ["chat"], "user_id": "alice", "session_id": "s-1", "plan": "pro"}
    config = with_handler(**given)
    for question in ("one", "two", "three"):
        model().invoke(question, config)

    told = [
        (record.tags, record.user_id, record.session_id, record.metadata)
        for record in captured_prompts
    ]
    assert [(("langchain", "chat"), "alice", "s-1", {"plan": "pro"})] * 3 == told


@each_way
def test_calls_at_once(is_async: bool, captured_prompts: list[PromptRecord]) -> None:
    """Each of the calls that one handler hears at once keeps its prompt and its answer."""
    llm = Together(callbacks=[TrubricsCallbackHandler()])
    if is_async:

        async def main() -> None:
            await asyncio.gather(*(llm.ainvoke(f"of {name}") for name in NAMES))

        asyncio.run(main())
    else:
        with ThreadPoolExecutor(len(NAMES)) as pool:
            list(pool.map(llm.invoke, [f"of {name}" for name in NAMES]))

    told = {(record.prompt, record.generation) for record in captured_prompts}
    assert {(f"of {name}", f"answer of {name}") for name in NAMES} == told
    messages = {record.prompt: record.messages for record in captured_prompts}
    assert {
        prompt: ({"role": "user", "content": prompt},) for prompt in messages
    } == messages


def test_tool_message(captured_prompts: list[PromptRecord]) -> None:
    """A conversation with a tool's answer in it is told, with its roles."""
    call = {"name": "tea", "args": {}, "id": "c1", "type": "tool_call"}
    conversation = [
        HumanMessage("Find tea"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("Darjeeling", tool_call_id="c1"),
    ]
    model("Here it is").invoke(conversation, with_handler(user_id="alice"))

    record = only(captured_prompts)
    roles = [message["role"] for message in record.messages or ()]
    assert ["user", "assistant", "tool"] == roles
    assert ("Find tea", "Here it is") == (record.prompt, record.generation)


def test_content_blocks(captured_prompts: list[PromptRecord]) -> None:
    """A message of several blocks is told as the text that they are."""
    image = {"type": "image_url", "image_url": {"url": "https://example.com/tea.png"}}
    message = HumanMessage([{"type": "text", "text": "What is this?"}, image])
    model("Tea").invoke([message], with_handler(user_id="alice"))

    record = only(captured_prompts)
    assert record.prompt.startswith("What is this?\n")
    assert "Tea" == record.generation


def test_completion_after_a_chat(captured_prompts: list[PromptRecord]) -> None:
    """A completion has no messages, whatever chat the same handler heard before it."""
    config = with_handler(user_id="alice")
    model().invoke([SystemMessage("Be brief."), HumanMessage("Hello")], config)
    FakeListLLM(responses=["a poem"]).invoke("Write me a poem", config)

    chat, completion = captured_prompts
    assert ["system", "user"] == [message["role"] for message in chat.messages or ()]
    assert ("Write me a poem", None) == (completion.prompt, completion.messages)


def test_tool_calls(captured_prompts: list[PromptRecord]) -> None:
    """An answer that only calls a tool says which, with what."""
    call = {"name": "search", "args": {"q": "tea"}, "id": "c1", "type": "tool_call"}
    llm = GenericFakeChatModel(messages=iter([AIMessage("", tool_calls=[call])]))
    llm.invoke("Find tea", with_handler(user_id="alice"))

    said = [dict(call) for call in only(captured_prompts).tool_calls or ()]
    assert [{"name": "search", "args": {"q": "tea"}, "id": "c1"}] == said


def test_error(captured_prompts: list[PromptRecord]) -> None:
    """A call that fails is told as one that failed, with what was asked."""
    with pytest.raises(ValueError, match="no luck"):
        Unlucky(responses=[]).invoke("Any luck?", with_handler(user_id="alice"))

    record = only(captured_prompts)
    assert ("Any luck?", "alice") == (record.prompt, record.user_id)
    assert ("error", "ValueError") == (record.status, record.error_type)


def test_config(captured_prompts: list[PromptRecord]) -> None:
    """Tags and metadata of a call's config join those of the handler."""
    config = with_handler(tags=["chat"], plan="pro")
    model().invoke("Hello", {**config, "tags": ["beta"], "metadata": {"tenant": "t-9"}})

    record = only(captured_prompts)
    assert ("langchain", "chat", "beta") == record.tags
    assert {"plan": "pro", "tenant": "t-9"} == record.metadata


@each_way
def test_model_of_a_stream(is_async: bool, captured_prompts: list[PromptRecord]) -> None:
    """A stream is told with its model, and with all that was read of it."""
    llm, config = Named(responses=["Once upon"]), with_handler(user_id="alice")
    if is_async:

        async def main() -> None:
            async for _ in llm.astream("Tell me", config):
                pass

        asyncio.run(main())
    else:
        list(llm.stream("Tell me", config))

    record = only(captured_prompts)
    assert ("tale-1", "Once upon") == (record.model, record.generation)


def test_server_that_hangs() -> None:
    """A call has its answer while the platform gives none, and its record is kept."""
    gate = threading.Event()
    body = answer("200 OK", b"{}")
    with serve_raw(body, before_each=gate.wait) as server, ThreadPoolExecutor(1) as worker:
        config = with_handler(api_key="a-key", host=server.url, user_id="alice")
        try:
            asked = worker.submit(model().invoke, "Hello", config)
            assert "42" == asked.result(PATIENCE_SECONDS).content
            assert not flush(0.1)
            wait_until(lambda: server.requests, PATIENCE_SECONDS)
            assert 1 == stats().pending
        finally:
            gate.set()
        assert 1 == flush(PATIENCE_SECONDS).delivered


def model(text: str = "42") -> FakeListChatModel:
    """Return a chat model that always answers the same."""
    return FakeListChatModel(responses=[text])


class Together(BaseChatModel):
    """Answers nobody before everybody has asked."""

    _everybody: threading.Barrier = PrivateAttr(
        default_factory=lambda: threading.Barrier(len(NAMES), timeout=PATIENCE_SECONDS)
    )

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self._everybody.wait()
        message = AIMessage(f"answer {messages[-1].content}")
        return ChatResult(generations=[ChatGeneration(message=message)])

    @property
    def _llm_type(self) -> str:
        return "together"


class Unlucky(FakeListChatModel):
    """Fails each time."""

    def _call(self, *_: Any, **__: Any) -> str:
        raise ValueError("no luck")


class Named(FakeListChatModel):
    """Tells LangChain which model it is."""

    def _get_ls_params(self, *args: Any, **kwargs: Any) -> LangSmithParams:
        return {**super()._get_ls_params(*args, **kwargs), "ls_model_name": "tale-1"}
