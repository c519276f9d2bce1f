"""`record="root"`: all that one question of a user's led to, told as one record."""

from __future__ import annotations

import asyncio
import gc
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation, LLMResult
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import tool

from trubrics_trace import (
    PromptRecord,
    TrubricsCallbackHandler,
    configure,
    trubrics_scope,
)
from trubrics_trace import trubrics_trace as trace

USAGE = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
QUESTION = "What is 1 + 2?"


@pytest.fixture(autouse=True)
def one_record_a_turn() -> None:
    """Have each user's turn told as one record."""
    configure(record="root")


@tool
def search(question: str) -> str:
    """Return what is found."""
    return f"found {question}"


@tool
def add(a: int, b: int) -> int:
    """Return the sum."""
    return a + b


class Thinks(BaseChatModel):
    """A model that calls each of its tools in turn, and then answers."""

    calls: list[tuple[str, dict[str, Any]]]
    answer: str = "It is 3."

    @property
    def _llm_type(self) -> str:
        return "thinks"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        turn = sum(message.type == "ai" for message in messages)
        message = AIMessage(self.answer, usage_metadata=USAGE)
        if turn < len(self.calls):
            name, arguments = self.calls[turn]
            call: Any = {"name": name, "args": arguments, "id": f"call-{turn}"}
            message = AIMessage("", tool_calls=[call], usage_metadata=USAGE)
        return ChatResult(generations=[ChatGeneration(message=message)])


def agent(model: BaseChatModel, *tools: Any) -> Runnable[str, str]:
    """Return an agent of the plainest kind: it asks until no tool is called."""
    known = {each.name: each for each in tools}

    def run(question: str) -> str:
        messages: list[BaseMessage] = [HumanMessage(question)]
        while True:
            answer = model.invoke(messages)
            messages.append(answer)
            if not answer.tool_calls:
                return str(answer.content)
            for call in answer.tool_calls:
                result = known[call["name"]].invoke(call["args"])
                messages.append(ToolMessage(str(result), tool_call_id=call["id"] or ""))

    return RunnableLambda(run).with_config(run_name="agent")


def adds() -> Runnable[str, str]:
    """Return an agent that asks its model three times and uses two tools."""
    calls: list[Any] = [("search", {"question": "1 + 2"}), ("add", {"a": 1, "b": 2})]
    return agent(Thinks(calls=calls), search, add)


def test_an_agent(captured_prompts: list[PromptRecord]) -> None:
    """Three calls and two tools are one record: first question, last answer, sums."""
    with trubrics_scope(user_id="alice", thread_id="t-1", plan="free"):
        adds().invoke(QUESTION)

    (record,) = captured_prompts
    assert ("alice", "t-1", "complete") == (record.user_id, record.thread_id, record.status)
    assert (QUESTION, "It is 3.") == (record.prompt, record.generation)
    assert "agent" == record.run_name
    assert (30, 6, 36) == (record.input_tokens, record.output_tokens, record.total_tokens)
    calls = [(call["name"], call["args"]) for call in record.tool_calls or ()]
    assert [("search", {"question": "1 + 2"}), ("add", {"a": 1, "b": 2})] == calls
    turn = {"calls": 3, "tools": ("search", "add")}
    assert {"plan": "free", "turn": turn} == record.metadata
    assert None is record.parent_run_id


def test_nested_agents(captured_prompts: list[PromptRecord]) -> None:
    """Of agents in agents the outermost is told, with all that lay inside."""

    @tool
    def ask_another(question: str) -> str:
        """Return what another agent says."""
        return adds().invoke(question)

    outer = Thinks(calls=[("ask_another", {"question": QUESTION})], answer="Three.")
    with trubrics_scope(user_id="alice"):
        agent(outer, ask_another).invoke("Do the sum")

    (record,) = captured_prompts
    assert ("Do the sum", "Three.") == (record.prompt, record.generation)
    tools = ("ask_another", "search", "add")
    assert {"calls": 5, "tools": tools} == record.metadata["turn"]
    assert 60 == record.total_tokens


def test_a_graph(captured_prompts: list[PromptRecord]) -> None:
    """An agent of LangChain's own is one record, sync, async and streamed."""
    agents = pytest.importorskip("langchain.agents", exc_type=ImportError)
    if not hasattr(agents, "create_agent"):
        pytest.skip("this langchain has no create_agent")

    class Binds(Thinks):
        def bind_tools(self, *_: Any, **__: Any) -> Any:
            return self

    calls: list[Any] = [("search", {"question": "1 + 2"}), ("add", {"a": 1, "b": 2})]
    graph = agents.create_agent(Binds(calls=calls), [search, add])
    question: Any = {"messages": [("user", QUESTION)]}

    async def main() -> None:
        await graph.ainvoke(question)
        async for _ in graph.astream(question):
            pass

    with trubrics_scope(user_id="alice"):
        graph.invoke(question)
        asyncio.run(main())
    expected = ("alice", QUESTION, "It is 3.", 36)
    assert [expected] * 3 == [
        (record.user_id, record.prompt, record.generation, record.total_tokens)
        for record in captured_prompts
    ]


def test_a_call_alone(captured_prompts: list[PromptRecord]) -> None:
    """A call that no run is around is a record as ever."""
    with trubrics_scope(user_id="alice"):
        Thinks(calls=[]).invoke(QUESTION)
    (record,) = captured_prompts
    assert {} == record.metadata
    assert 12 == record.total_tokens


def test_no_call(captured_prompts: list[PromptRecord]) -> None:
    """A run that asks no model is no record."""
    with trubrics_scope(user_id="alice"):
        RunnableLambda(str.upper).invoke("hi")
    assert [] == captured_prompts


def test_an_error(captured_prompts: list[PromptRecord]) -> None:
    """A turn that fails says how, with what it had cost by then."""

    def fail(_: object) -> None:
        message = "no bread"
        raise LookupError(message)

    failing = Thinks(calls=[]) | RunnableLambda(fail)
    with trubrics_scope(user_id="alice"), pytest.raises(LookupError):
        failing.invoke(QUESTION)
    (record,) = captured_prompts
    assert ("error", "LookupError") == (record.status, record.error_type)
    assert "no bread" in (record.error_message or "")
    assert 12 == record.total_tokens


def test_a_stream_that_is_left(captured_prompts: list[PromptRecord]) -> None:
    """A turn whose stream is left is stopped, with what had come."""
    model = FakeListChatModel(responses=["It is 3."])
    with trubrics_scope(user_id="alice"):
        for _ in (RunnableLambda(str) | model).stream(QUESTION):
            break
        gc.collect()
    (record,) = captured_prompts
    assert ("stopped", "I") == (record.status, record.generation)


def test_a_run_that_is_abandoned(captured_prompts: list[PromptRecord]) -> None:
    """A turn whose end nobody can report any more is cancelled, with what had come."""
    handler = TrubricsCallbackHandler()
    root, call = uuid4(), uuid4()
    with trubrics_scope(user_id="alice"):
        handler.on_chain_start({}, QUESTION, run_id=root, name="agent")
        handler.on_llm_start({}, [QUESTION], run_id=call, parent_run_id=root)
        answer = LLMResult(generations=[[Generation(text="It is 3.")]])
        handler.on_llm_end(answer, run_id=call)
        assert [] == captured_prompts
        del root
        gc.collect()
    (record,) = captured_prompts
    assert ("cancelled", "It is 3.") == (record.status, record.generation)


def test_a_cancelled_turn(captured_prompts: list[PromptRecord]) -> None:
    """A turn that is cancelled between two calls is cancelled, with the first one."""

    async def wait(_: object) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        chain = Thinks(calls=[]) | RunnableLambda(wait)
        with trubrics_scope(user_id="alice"):
            await asyncio.wait_for(chain.ainvoke(QUESTION), 0.05)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(main())
    (record,) = captured_prompts
    assert ("cancelled", "It is 3.") == (record.status, record.generation)


def test_somebody_else_inside(captured_prompts: list[PromptRecord]) -> None:
    """A call that is somebody else's stays a record of its own."""

    @trace(user_id="bob")
    def ask_as_bob(question: str) -> str:
        return str(Thinks(calls=[], answer="Bob's.").invoke(question).content)

    with trubrics_scope(user_id="alice"):
        (Thinks(calls=[]) | RunnableLambda(lambda _: ask_as_bob("Hi"))).invoke(QUESTION)
    told = {record.user_id: record.generation for record in captured_prompts}
    assert {"alice": "It is 3.", "bob": "Bob's."} == told


def test_several_at_once(captured_prompts: list[PromptRecord]) -> None:
    """Turns of many users at once are each told by itself."""

    async def ask(user: str) -> None:
        with trubrics_scope(user_id=user):
            await asyncio.to_thread(adds().invoke, f"{QUESTION} asks {user}")

    async def main() -> None:
        await asyncio.gather(*(ask(f"user-{number}") for number in range(20)))

    asyncio.run(main())
    expected = {
        (f"user-{number}", f"{QUESTION} asks user-{number}") for number in range(20)
    }
    assert expected == {(record.user_id, record.prompt) for record in captured_prompts}
    assert {36} == {record.total_tokens for record in captured_prompts}
    assert 20 == len(captured_prompts)


def test_a_tool_that_asks(captured_prompts: list[PromptRecord]) -> None:
    """What a tool asks of a model, in a run of nobody's, is the tool's turn."""

    @tool
    def joke(about: str) -> str:
        """Return a joke."""
        return str(FakeListChatModel(responses=["Ha"]).invoke(about).content)

    with trubrics_scope(user_id="alice"):
        joke.invoke({"about": "cats"})
    (record,) = captured_prompts
    assert ("joke", "cats", "Ha") == (record.run_name, record.prompt, record.generation)
