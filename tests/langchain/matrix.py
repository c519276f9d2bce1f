"""Models that answer from what they are asked, in every shape that LangChain knows.

A model repeats the question and hums; it counts words as tokens. The first call of each
user waits for those of all the others, so that everybody's calls overlap.
"""

from __future__ import annotations

import asyncio
import json
import operator
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import pytest
from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
    Generation,
    GenerationChunk,
    LLMResult,
)
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import (
    Runnable,
    RunnableConfig,
    RunnableLambda,
    RunnableParallel,
)
from langchain_core.tools import StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel
from typing_extensions import TypedDict

DEADLINE_SECONDS = 30.0

Model = BaseChatModel | BaseLLM


class OverloadedError(Exception):
    """A model that cannot answer now."""


class Meeting:
    """Where certain questions wait for one another, once."""

    def __init__(self, questions: Sequence[str]) -> None:
        self._awaited = set(questions)
        self._all_are_here = threading.Event()

    def arrive(self, questions: Sequence[str]) -> None:
        """Wait, where these are awaited, until all the others have come."""
        if self._is_to_wait(questions):
            assert self._all_are_here.wait(DEADLINE_SECONDS)

    async def arrive_async(self, questions: Sequence[str]) -> None:
        """Wait likewise, and let the loop go on."""
        if self._is_to_wait(questions):
            deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
            while not self._all_are_here.is_set():
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.001)

    def _is_to_wait(self, questions: Sequence[str]) -> bool:
        awaited = self._awaited.intersection(questions)
        self._awaited.difference_update(awaited)
        if not self._awaited:
            self._all_are_here.set()
        return bool(awaited)


class Temper:
    """Whether a model answers: never, or not when it first hears a question."""

    def __init__(self, fails: Literal["never", "at first", "always"] = "never") -> None:
        self._fails = fails
        self._heard: set[str] = set()

    def hear(self, questions: Sequence[str]) -> None:
        """Fail, if this is what it does."""
        news = set(questions) - self._heard
        self._heard.update(news)
        if self._fails == "always" or (news and self._fails == "at first"):
            raise OverloadedError


def answer_to(question: str) -> str:
    """Return what every model here answers."""
    return f"{question}? Hm."


def pieces_of(text: str) -> list[str]:
    """Return a text word by word."""
    return re.findall(r"\S+\s*", text)


def usage_of(asked: str, answered: str, choices: int = 1) -> UsageMetadata:
    """Return the words of both, all choices together, as a chat model counts its tokens."""
    given, got = len(asked.split()), len(answered.split()) * choices
    return UsageMetadata(input_tokens=given, output_tokens=got, total_tokens=given + got)


class Chat(BaseChatModel):
    """A chat model that hums, or first calls the tool that it was given."""

    meeting: Meeting
    temper: Temper

    @property
    def _llm_type(self) -> str:
        return "chat"

    def bind_tools(self, tools: Any, **_: Any) -> Runnable[Any, AIMessage]:
        """Return this model with tools at hand."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools])

    def _generate(self, messages: list[BaseMessage], *_: Any, **said: Any) -> ChatResult:
        self.meeting.arrive([question_of(messages)])
        return self._answer(messages, said)

    async def _agenerate(
        self, messages: list[BaseMessage], *_: Any, **said: Any
    ) -> ChatResult:
        await self.meeting.arrive_async([question_of(messages)])
        return self._answer(messages, said)

    def _stream(
        self, messages: list[BaseMessage], *_: Any, **said: Any
    ) -> Iterator[ChatGenerationChunk]:
        yield from chunks_of(self._generate(messages, **said))

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, **said: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in chunks_of(await self._agenerate(messages, **said)):
            await asyncio.sleep(0)
            yield chunk

    def _answer(self, messages: list[BaseMessage], said: dict[str, Any]) -> ChatResult:
        question, choices = question_of(messages), said.get("n", 1)
        self.temper.hear([question])
        texts = [said.content for said in messages if isinstance(said.content, str)]
        asked = " ".join(texts)
        if said.get("tools") and messages[-1].type == "human":
            name = said["tools"][0]["function"]["name"]
            call = {"name": name, "args": {"question": question}, "id": f"id-{question}"}
            usage = usage_of(asked, question)
            answer = AIMessage("", tool_calls=[call], usage_metadata=usage)
        else:
            text = answer_to(question)
            usage = usage_of(asked, text, choices)
            answer = AIMessage(text, usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=answer)] * choices)


def question_of(messages: list[BaseMessage]) -> str:
    """Return what the user said last."""
    return next(str(said.content) for said in reversed(messages) if said.type == "human")


def chunks_of(result: ChatResult) -> Iterator[ChatGenerationChunk]:
    """Return an answer word by word, its usage at the end."""
    answer: Any = result.generations[0].message
    for piece in pieces_of(answer.content):
        yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
    calls = [
        tool_call_chunk(
            name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=0
        )
        for call in answer.tool_calls
    ]
    last = AIMessageChunk(
        content="", tool_call_chunks=calls, usage_metadata=answer.usage_metadata
    )
    yield ChatGenerationChunk(message=last)


class Completion(BaseLLM):
    """A completion model that hums; each of its answers counts its own tokens."""

    meeting: Meeting
    temper: Temper

    @property
    def _llm_type(self) -> str:
        return "completion"

    # Without a parameter of that name LangChain would say nothing more than the prompts.
    def _generate(
        self, prompts: list[str], *_: Any, run_manager: Any = None, **said: Any
    ) -> LLMResult:
        self.meeting.arrive([asked_in(prompt) for prompt in prompts])
        return self._answer(prompts, **said)

    async def _agenerate(
        self, prompts: list[str], *_: Any, run_manager: Any = None, **said: Any
    ) -> LLMResult:
        await self.meeting.arrive_async([asked_in(prompt) for prompt in prompts])
        return self._answer(prompts, **said)

    def _stream(self, prompt: str, *_: Any, **__: Any) -> Iterator[GenerationChunk]:
        yield from parts_of(self._generate([prompt]))

    async def _astream(
        self, prompt: str, *_: Any, **__: Any
    ) -> AsyncIterator[GenerationChunk]:
        for chunk in parts_of(await self._agenerate([prompt])):
            await asyncio.sleep(0)
            yield chunk

    def _answer(self, prompts: list[str], n: int = 1, **_: Any) -> LLMResult:
        self.temper.hear(prompts)
        generations = []
        for prompt in prompts:
            text = answer_to(asked_in(prompt))
            info = {"token_usage": dict(usage_of(prompt, text, n))}
            generations.append([Generation(text=text, generation_info=info)] * n)
        return LLMResult(generations=generations)


def asked_in(prompt: str) -> str:
    """Return what the user said last, of messages told as a text."""
    return prompt.rpartition("Human: ")[2]


def parts_of(result: LLMResult) -> Iterator[GenerationChunk]:
    """Return an answer word by word, its usage at the end."""
    answer = result.generations[0][0]
    for piece in pieces_of(answer.text):
        yield GenerationChunk(text=piece)
    yield GenerationChunk(text="", generation_info=answer.generation_info)


# Each shape is made of a maker of models, which takes what the model's temper is.
Make = Callable[..., Any]


def bare(make: Make) -> Any:
    """Return the model itself."""
    return make()


def chain(make: Make) -> Any:
    """Return a prompt, the model and a parser."""
    return _in_chain(make())


def parallel(make: Make) -> Any:
    """Return the model asked twice at once."""
    model = make()
    return RunnableParallel(first=model, second=RunnableLambda(again) | model)


def choices(make: Make) -> Any:
    """Return the model with two choices a call, each of which says the usage of both."""
    return make().bind(n=2)


def retry(make: Make) -> Any:
    """Return the model with a retry that is never needed."""
    return _retried(make())


def rescue(make: Make) -> Any:
    """Return the model with a retry, each question failing at first."""
    return _retried(make("at first"))


def rescue_in_chain(make: Make) -> Any:
    """Return the same between a prompt and a parser."""
    return _in_chain(rescue(make))


def fallback(make: Make) -> Any:
    """Return a model that always fails, with one that answers behind it."""
    return make("always").with_fallbacks([make()])


def fallback_in_chain(make: Make) -> Any:
    """Return the same between a prompt and a parser."""
    return _in_chain(fallback(make))


class Asked(BaseModel):
    """What somebody has asked."""

    question: str


def structured(make: Make) -> Any:
    """Return the model with structured output."""
    return make().with_structured_output(Asked)


def agent(make: Make) -> Any:
    """Return an agent that looks up before it answers."""

    def look_up(question: str) -> str:
        """Look it up."""
        return "Nothing found."

    async def look_up_async(question: str) -> str:
        return "Nothing found."

    tool = StructuredTool.from_function(look_up, look_up_async)
    return _maker_of_agents()(make(), [tool])


def send(make: Make) -> Any:
    """Return a graph that sends the question to one node twice."""
    graph, types = _langgraph("graph"), _langgraph("types")
    built = graph.StateGraph(State)
    built.add_node("ask", asking(make()))
    built.add_conditional_edges(
        graph.START,
        lambda state: [
            types.Send("ask", {"question": state["question"]}),
            types.Send("ask", {"question": again(state["question"])}),
        ],
        ["ask"],
    )
    return built.compile()


def subgraph(make: Make) -> Any:
    """Return a graph that asks, and has another graph ask again."""
    graph, model = _langgraph("graph"), make()
    inner = graph.StateGraph(State)
    inner.add_node("ask", asking(model, again))
    inner.add_edge(graph.START, "ask")
    outer = graph.StateGraph(State)
    outer.add_node("ask", asking(model))
    outer.add_node("inner", inner.compile())
    outer.add_edge(graph.START, "ask")
    outer.add_edge("ask", "inner")
    return outer.compile()


def interrupt(make: Make) -> Any:
    """Return a graph that asks, waits for a word to go on, and asks again."""
    graph, types, model = _langgraph("graph"), _langgraph("types"), make()
    memory = _langgraph("checkpoint.memory")

    def wait(state: State) -> State:
        return {"question": f"{state['question']} {types.interrupt('Go on?')}"}

    built = graph.StateGraph(State)
    built.add_node("ask", asking(model))
    built.add_node("wait", wait)
    built.add_node("ask_again", asking(model))
    built.add_edge(graph.START, "ask")
    built.add_edge("ask", "wait")
    built.add_edge("wait", "ask_again")
    return built.compile(checkpointer=memory.InMemorySaver())


class State(TypedDict, total=False):
    """What a graph knows."""

    question: str
    answers: Annotated[list[str], operator.add]


def asking(model: Any, ask: Callable[[str], str] = str) -> Any:
    """Return a node that asks the model, in a graph that is run either way."""

    def answer(state: State, config: RunnableConfig) -> State:
        return {"answers": [str(model.invoke(ask(state["question"]), config))]}

    # Until Python 3.11 a task has no context of its own, so that the config is handed on.
    async def answer_async(state: State, config: RunnableConfig) -> State:
        return {"answers": [str(await model.ainvoke(ask(state["question"]), config))]}

    return RunnableLambda(answer, answer_async)


def again(question: str) -> str:
    """Return the question with one word more."""
    return f"{question} again"


def go_on() -> Any:
    """Return what resumes a graph that was interrupted."""
    return _langgraph("types").Command(resume="again")


def _in_chain(model: Any) -> Any:
    said = [("system", "Wonder."), ("human", "{question}")]
    return ChatPromptTemplate.from_messages(said) | model | StrOutputParser()


def _retried(model: Any) -> Any:
    return model.with_retry(stop_after_attempt=3, wait_exponential_jitter=False)


def _langgraph(name: str) -> Any:
    return _found(f"langgraph.{name}", "LangGraph is not installed")


def _maker_of_agents() -> Any:
    """Return LangChain's since its 1.0, and LangGraph's before."""
    if hasattr(find_spec("langchain") and _found("langchain.agents"), "create_agent"):
        return _found("langchain.agents").create_agent
    return _langgraph("prebuilt").create_react_agent


def _found(name: str, why_not: str | None = None) -> Any:
    # One that does not fit what it is installed beside is not there either.
    return pytest.importorskip(name, reason=why_not, exc_type=ImportError)
