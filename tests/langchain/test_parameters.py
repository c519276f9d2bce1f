"""Model, provider, parameters and the reason to end, from wherever they stand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from langchain_core.language_models import LLM, BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
    LLMResult,
)
from pydantic import Field

from trubrics_trace import PromptRecord, trubrics_scope

HOWS = ["invoke", "stream"]
SAID = {"model": "tea-1", "temperature": 0.5, "max_tokens": 7}


class ChatTea(BaseChatModel):
    """A chat model that says of itself, and of its answer, what a test hands in.

    Attributes:
        standard: What it says in LangChain's own words, for tracing.
        said: What it says that it is called with.
        of_message, beside, of_call: What it says of its answer, in three places.
    """

    standard: dict[str, Any] = Field(default_factory=dict)
    said: dict[str, Any] = Field(default_factory=dict)
    of_message: dict[str, Any] = Field(default_factory=dict)
    beside: dict[str, Any] = Field(default_factory=dict)
    of_call: dict[str, Any] = Field(default_factory=dict)

    @property
    def _llm_type(self) -> str:
        return "tea-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return self.said

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return self.standard

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        if stop is not None:
            stop.append("changed")
        message = AIMessage("Yes.", response_metadata=self.of_message)
        choice = ChatGeneration(message=message, generation_info=self.beside)
        return ChatResult(generations=[choice], llm_output=self.of_call)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk(content="Ye"))
        last = AIMessageChunk(content="s.", response_metadata=self.of_message)
        yield ChatGenerationChunk(message=last, generation_info=self.beside or None)


class TeaLLM(LLM):
    """A completion model that says what it is called with, and no more."""

    model: str = "tea-1"
    temperature: float = 0.5
    max_tokens: int = 7

    @property
    def _llm_type(self) -> str:
        return "tea"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model}

    def _call(self, prompt: str, stop: Any = None, *_: Any, **__: Any) -> str:
        return "Yes."


def told_of(
    model: Any, how: str, captured_prompts: list[PromptRecord], **options: Any
) -> PromptRecord:
    """Return the record of one call, however it is asked."""
    with trubrics_scope(user_id="alice"):
        answer = getattr(model, how)("Tea?", **options)
        if how == "stream":
            list(answer)
    (record,) = captured_prompts
    assert "Yes." == record.generation
    return record


@pytest.mark.parametrize("how", HOWS)
def test_standard_words(how: str, captured_prompts: list[PromptRecord]) -> None:
    """What LangChain tells its tracers is told; it alone knows some models' parameters."""
    standard = {
        "ls_provider": "teahouse",
        "ls_model_name": "tea-1",
        "ls_model_type": "chat",
        "ls_temperature": 0.5,
        "ls_max_tokens": 7,
        "ls_stop": ["END"],
    }

    record = told_of(ChatTea(standard=standard), how, captured_prompts)

    assert ("tea-1", "teahouse") == (record.model, record.provider)
    assert {"temperature": 0.5, "max_tokens": 7, "stop": ("END",)} == record.parameters
    assert {} == record.metadata


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    "word", ["max_completion_tokens", "max_output_tokens", "num_predict"]
)
def test_word_of_the_provider(
    word: str, how: str, captured_prompts: list[PromptRecord]
) -> None:
    """A parameter is told in the provider's word, and not in LangChain's besides."""
    model = ChatTea(standard={"ls_max_tokens": 7}, said={word: 7})

    assert {word: 7} == told_of(model, how, captured_prompts).parameters


@pytest.mark.parametrize("how", HOWS)
def test_standard_model_of_a_completion(
    how: str, captured_prompts: list[PromptRecord]
) -> None:
    """A completion model's name and parameters are LangChain's to tell."""
    record = told_of(TeaLLM(), how, captured_prompts)

    assert "tea-1" == record.model
    assert record.provider
    assert {"temperature": 0.5, "max_tokens": 7} == record.parameters


def test_provider_by_type(captured_prompts: list[PromptRecord]) -> None:
    """Where nobody names the provider, its type does: `generate` tells no more."""
    with trubrics_scope(user_id="alice"):
        answer = TeaLLM().generate(["Tea?"])

    assert isinstance(answer, LLMResult)
    (record,) = captured_prompts
    assert ("tea-1", "tea") == (record.model, record.provider)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("word", ["model", "model_name", "model_id"])
def test_model_that_is_called(
    word: str, how: str, captured_prompts: list[PromptRecord]
) -> None:
    """A model that has no standard words is known by what it is called with."""
    assert "tea-1" == told_of(ChatTea(said={word: "tea-1"}), how, captured_prompts).model


@pytest.mark.parametrize("how", HOWS)
def test_parameters(how: str, captured_prompts: list[PromptRecord]) -> None:
    """Known parameters are told, those that nobody set are not, and no key ever."""
    said = {
        **SAID,
        "temperature": 0,  # which is something
        "top_p": None,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "api_key": "sk-secret",
        "default_headers": {"Authorization": "Bearer secret"},
    }
    model = ChatTea(said=said).bind(seed=7, temperature=0.9)

    record = told_of(model, how, captured_prompts, stop=["END"], top_k=3)

    assert {
        "temperature": 0.9,
        "top_k": 3,
        "max_tokens": 7,
        "stop": ("END",),
        "seed": 7,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    } == record.parameters
    assert "secret" not in repr(record.to_dict())


def test_no_parameters(captured_prompts: list[PromptRecord]) -> None:
    """A model that says nothing has no parameters, and no name."""
    record = told_of(ChatTea(), "invoke", captured_prompts)

    assert (None, None) == (record.model, record.parameters)


def test_parameters_that_change(captured_prompts: list[PromptRecord]) -> None:
    """What a model does to its parameters while it runs is not told."""
    record = told_of(ChatTea(), "invoke", captured_prompts, stop=["END"])

    assert {"stop": ("END",)} == record.parameters


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("word", ["model", "model_name", "model_id"])
@pytest.mark.parametrize("place", ["of_message", "beside", "of_call"])
def test_model_of_the_answer(
    place: str, word: str, how: str, captured_prompts: list[PromptRecord]
) -> None:
    """A model that says only in its answer who it is is known by that."""
    if how == "stream" and place == "of_call":
        place = "of_message"  # a stream has no words for the whole call
    said: dict[str, Any] = {place: {word: "tea-1", "model_provider": "teahouse"}}

    record = told_of(ChatTea(**said), how, captured_prompts)

    assert ("tea-1", "teahouse") == (record.model, record.provider)


def test_whom_to_believe(captured_prompts: list[PromptRecord]) -> None:
    """The standard words go before the call's, and those before the answer's."""
    words = {"ls_provider": "teahouse", "ls_model_name": "standard"}
    answer = {"model_name": "answer", "model_provider": "somebody"}

    told_of(ChatTea(standard=words, said=SAID), "invoke", captured_prompts)
    with trubrics_scope(user_id="alice"):
        ChatTea(said=SAID, of_message=answer).invoke("Tea?")

    first, second = captured_prompts
    assert ("standard", "teahouse") == (first.model, first.provider)
    assert ("tea-1", "somebody") == (second.model, second.provider)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("place", ["of_message", "beside"])
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"finish_reason": "length"}, "length"),  # OpenAI, Gemini, Groq, Mistral, Cohere
        ({"stop_reason": "max_tokens"}, "max_tokens"),  # Anthropic
        ({"stopReason": "end_turn"}, "end_turn"),  # Bedrock
        ({"done_reason": "stop", "done": True}, "stop"),  # Ollama
        ({"object": "response", "status": "completed"}, "completed"),
        (
            {
                "object": "response",
                "status": "incomplete",
                "incomplete_details": {"reason": "content_filter"},
            },
            "content_filter",
        ),
        (
            {"object": "response", "status": "incomplete", "incomplete_details": None},
            "incomplete",
        ),
        ({"status": "completed"}, None),
        ({"finish_reason": "STOPSTOP"}, "STOP"),  # as LangChain adds up what is repeated
        ({"finish_reason": None}, None),
        ({"finish_reason": 1}, None),
        ({}, None),
    ],
    ids=repr,
)
def test_reason_to_end(
    said: dict[str, Any],
    reason: str | None,
    place: str,
    how: str,
    captured_prompts: list[PromptRecord],
) -> None:
    """Why an answer ended is told in the provider's word, of streams too."""
    places: dict[str, Any] = {place: said}

    record = told_of(ChatTea(**places), how, captured_prompts)

    assert reason == record.finish_reason


def chat_completion(request: httpx.Request) -> httpx.Response:
    """Answer as Azure's chat completions do, whole or as a stream."""
    asked = json.loads(request.content)
    message = {"role": "assistant", "content": "Yes."}
    choice = {"index": 0, "finish_reason": "stop"}
    answer = {"id": "1", "created": 1, "model": "gpt-4o-2024-08-06"}
    if not asked.get("stream"):
        answer |= {"object": "chat.completion", "choices": [{**choice, "message": message}]}
        return httpx.Response(200, json=answer)
    answer |= {
        "object": "chat.completion.chunk",
        "choices": [{**choice, "delta": message}],
    }
    return httpx.Response(200, text=f"data: {json.dumps(answer)}\n\ndata: [DONE]\n\n")


@pytest.mark.parametrize("how", HOWS)
def test_azure(how: str, captured_prompts: list[PromptRecord]) -> None:
    """A deployment of Azure's has the model that it was named, and Azure as provider."""
    openai = pytest.importorskip("langchain_openai")
    with httpx.Client(transport=httpx.MockTransport(chat_completion)) as client:
        model = openai.AzureChatOpenAI(
            azure_endpoint="https://tea.example",
            azure_deployment="teapot",
            api_version="2024-06-01",
            api_key="sk-secret",
            model="gpt-4o",
            temperature=0.5,
            http_client=client,
        )
        record = told_of(model, how, captured_prompts)

    assert ("gpt-4o", "azure") == (record.model, record.provider)
    assert ({"temperature": 0.5}, "stop") == (record.parameters, record.finish_reason)
    assert "secret" not in repr(record.to_dict())
