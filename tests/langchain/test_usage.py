"""Every provider's token words, told plainly."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation

from trubrics_trace.langchain._usage import usage_of

LANGCHAIN: Any = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
TEN_AND_FIVE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


def said_on_message(**fields: Any) -> list[ChatGeneration]:
    """Return the one choice of a chat model that says this on its message."""
    return [ChatGeneration(message=AIMessage(content="42", **fields))]


def said_beside(info: dict[str, Any]) -> list[Generation]:
    """Return the one choice of a completion model that says this beside its text."""
    return [Generation(text="42", generation_info=info)]


SILENT = said_on_message()


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (LANGCHAIN, TEN_AND_FIVE),
        (
            {
                **LANGCHAIN,
                "input_token_details": {"audio": 1, "cache_creation": 2, "cache_read": 4},
                "output_token_details": {"audio": 1, "reasoning": 3},
            },
            {**TEN_AND_FIVE, "cached_tokens": 4, "reasoning_tokens": 3},
        ),
        (
            {
                **LANGCHAIN,
                "input_token_details": {"flex": 6, "flex_cache_read": 4},
                "output_token_details": {"flex": 2, "flex_reasoning": 3},
            },
            {**TEN_AND_FIVE, "cached_tokens": 4, "reasoning_tokens": 3},
        ),
        (
            {
                **LANGCHAIN,
                "input_token_details": {"priority": 6, "priority_cache_read": 4},
                "output_token_details": {"priority": 2, "priority_reasoning": 3},
            },
            {**TEN_AND_FIVE, "cached_tokens": 4, "reasoning_tokens": 3},
        ),
        (
            {**LANGCHAIN, "input_token_details": {}, "output_token_details": {}},
            TEN_AND_FIVE,
        ),
    ],
)
def test_langchains_words(usage: Any, counts: dict[str, int]) -> None:
    """The message's own `usage_metadata` is told, with its details."""
    assert counts == usage_of(said_on_message(usage_metadata=usage), None)


@pytest.mark.parametrize(
    ("llm_output", "counts"),
    [
        pytest.param(
            {
                "token_usage": {
                    "prompt_tokens": 10,
                    "completion_tokens": 5,
                    "total_tokens": 15,
                    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 3},
                }
            },
            {**TEN_AND_FIVE, "cached_tokens": 4, "reasoning_tokens": 3},
            id="OpenAI chat completions",
        ),
        pytest.param(
            {
                "usage": {
                    "input_tokens": 10,
                    "output_tokens": 5,
                    "total_tokens": 15,
                    "input_tokens_details": {"cached_tokens": 4},
                    "output_tokens_details": {"reasoning_tokens": 3},
                }
            },
            {**TEN_AND_FIVE, "cached_tokens": 4, "reasoning_tokens": 3},
            id="OpenAI responses",
        ),
        pytest.param(
            {
                "token_usage": {
                    "prompt_tokens": 10,
                    "completion_tokens": 5,
                    "total_tokens": 15,
                    "prompt_tokens_details": None,
                    "completion_tokens_details": None,
                }
            },
            TEN_AND_FIVE,
            id="OpenAI completions",
        ),
        pytest.param(
            {"usage": {"input_tokens": 10, "output_tokens": 5, "service_tier": "standard"}},
            TEN_AND_FIVE,
            id="Anthropic",
        ),
        pytest.param(
            {
                "usage_metadata": {
                    "prompt_token_count": 10,
                    "candidates_token_count": 5,
                    "total_token_count": 18,  # thoughts count too
                }
            },
            {"input_tokens": 10, "output_tokens": 5, "total_tokens": 18},
            id="Gemini",
        ),
        pytest.param(
            {
                "usage_metadata": {
                    "prompt_token_count": 10,
                    "candidates_token_count": 5,
                    "thoughts_token_count": 3,
                    "cached_content_token_count": 4,
                    "total_token_count": 18,
                }
            },
            {
                "input_tokens": 10,
                "output_tokens": 5,
                "total_tokens": 18,
                "cached_tokens": 4,
                "reasoning_tokens": 3,
            },
            id="Gemini with thoughts",
        ),
        pytest.param(
            {
                "usage": {
                    "input_tokens": 4,
                    "cache_read_input_tokens": 5,
                    "cache_creation_input_tokens": 1,
                    "output_tokens": 5,
                    "output_tokens_details": {"thinking_tokens": 3},
                }
            },
            {**TEN_AND_FIVE, "cached_tokens": 5, "reasoning_tokens": 3},
            id="Anthropic with a cache",
        ),
        pytest.param(
            {
                "usage": {
                    "inputTokens": 4,
                    "cacheReadInputTokens": 5,
                    "cacheWriteInputTokens": 1,
                    "outputTokens": 5,
                    "totalTokens": 15,
                }
            },
            {**TEN_AND_FIVE, "cached_tokens": 5},
            id="Bedrock with a cache",
        ),
        pytest.param(
            {
                "token_usage": {
                    "prompt_tokens": 10,
                    "cache_read_input_tokens": 4,
                    "completion_tokens": 5,
                    "total_tokens": 15,
                }
            },
            {**TEN_AND_FIVE, "cached_tokens": 4},
            id="LiteLLM",
        ),
        pytest.param(
            {
                "usage": {
                    "input_tokens": 10,
                    "cache_read_input_tokens": 4,
                    "output_tokens": 5,
                    "total_tokens": 15,
                }
            },
            {**TEN_AND_FIVE, "cached_tokens": 4},
            id="a total that has the cache within",
        ),
        pytest.param(
            {
                "token_usage": {
                    "prompt_tokens": 10,
                    "completion_tokens": 5,
                    "prompt_cache_hit_tokens": 4,
                    "prompt_cache_miss_tokens": 6,
                }
            },
            {**TEN_AND_FIVE, "cached_tokens": 4},
            id="DeepSeek",
        ),
        pytest.param(
            {
                "token_usage": {
                    "completion_time": 0.1,
                    "completion_tokens": 5,
                    "prompt_time": 0.1,
                    "prompt_tokens": 10,
                    "prompt_tokens_details": {"cached_tokens": 4},
                    "total_tokens": 15,
                }
            },
            {**TEN_AND_FIVE, "cached_tokens": 4},
            id="Groq",
        ),
        pytest.param(
            {
                "token_usage": {
                    "prompt_tokens": 10,
                    "completion_tokens": 5,
                    "total_tokens": 0,
                }
            },
            TEN_AND_FIVE,
            id="a total that nobody said",
        ),
        pytest.param(
            {"token_usage": {"input_token_count": 10, "generated_token_count": 5}},
            TEN_AND_FIVE,
            id="watsonx",
        ),
        pytest.param(
            {
                "usage_metadata": {
                    "promptTokenCount": 10,
                    "candidatesTokenCount": 5,
                    "totalTokenCount": 15,
                }
            },
            TEN_AND_FIVE,
            id="Gemini over HTTP",
        ),
        pytest.param(
            {"usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}},
            TEN_AND_FIVE,
            id="Bedrock",
        ),
        pytest.param({"token_usage": {}}, {}, id="nobody"),
        pytest.param({"token_usage": {"cost": 0.1}}, {}, id="somebody else"),
        pytest.param(None, {}, id="nothing"),
        pytest.param("15 tokens", {}, id="text"),
    ],
)
def test_words_of_the_call(llm_output: Any, counts: dict[str, int]) -> None:
    """What the provider said of the call is told, where the message says nothing."""
    assert counts == usage_of(SILENT, llm_output)


OLLAMA = {"done": True, "prompt_eval_count": 10, "eval_count": 5, "eval_duration": 99}
OPENAI = {"token_usage": {"prompt_tokens": 10, "completion_tokens": 5}}
GEMINI = {
    "finish_reason": "STOP",
    "usage_metadata": {"prompt_token_count": 10, "candidates_token_count": 5},
}
ANTHROPIC = {"usage": {"input_tokens": 10, "output_tokens": 5}}
BEDROCK = {
    "amazon-bedrock-invocationMetrics": {
        "inputTokenCount": 10,
        "outputTokenCount": 5,
        "invocationLatency": 99,
    }
}


@pytest.mark.parametrize("said", [OLLAMA, OPENAI, GEMINI, ANTHROPIC, BEDROCK])
def test_words_beside_the_answer(said: dict[str, Any]) -> None:
    """They are heard in the message's `response_metadata` and beside a generation."""
    assert TEN_AND_FIVE == usage_of(said_on_message(response_metadata=said), None)
    assert TEN_AND_FIVE == usage_of(said_beside(said), None)


def test_whom_to_believe() -> None:
    """The message is believed before the call, and the call before what stands beside."""
    message = said_on_message(
        usage_metadata=LANGCHAIN, response_metadata={"usage": {"input_tokens": 3}}
    )
    call = {"token_usage": {"prompt_tokens": 2}}
    beside = said_on_message(response_metadata={"usage": {"input_tokens": 3}})

    assert TEN_AND_FIVE == usage_of(message, call)
    assert {"input_tokens": 2} == usage_of(beside, call)
    assert {"input_tokens": 3} == usage_of(beside, {"token_usage": {}})


def test_two_choices() -> None:
    """Choices that each repeat the usage of them all are not added up."""
    choices = [*SILENT, *said_on_message(usage_metadata=LANGCHAIN) * 2]

    assert TEN_AND_FIVE == usage_of(choices, None)


def test_usage_of_no_kind() -> None:
    """What is no mapping is not asked whether it is empty: an array would raise."""

    class Array:
        def __bool__(self) -> bool:
            raise ValueError

    message = AIMessage(content="42")
    object.__setattr__(message, "usage_metadata", Array())
    assert {} == usage_of([ChatGeneration(message=message)], {})


def test_no_answer() -> None:
    """A call that failed has no choice, and counts nothing."""
    assert {} == usage_of([], None)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 10}, {"input_tokens": 10}),
        ({"completion_tokens": 5}, {"output_tokens": 5}),
        ({"total_tokens": 15}, {"total_tokens": 15}),
        ({"prompt_tokens": 0, "completion_tokens": 0}, dict.fromkeys(TEN_AND_FIVE, 0)),
        ({"prompt_tokens": -1, "completion_tokens": 5}, {"output_tokens": 5}),
        ({"prompt_tokens": True, "completion_tokens": 5}, {"output_tokens": 5}),
        ({"prompt_tokens": "10", "completion_tokens": 5.0}, {}),
        (
            {"input_tokens": 6, "cache_read_input_tokens": 4},
            {"input_tokens": 10, "cached_tokens": 4},
        ),
        (
            {"input_tokens": 10, "cache_read_input_tokens": None},
            {"input_tokens": 10},
        ),
        ({"prompt_tokens": 10, "prompt_tokens_details": [4]}, {"input_tokens": 10}),
        (
            {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": None}},
            {"input_tokens": 10},
        ),
        (
            {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 0}},
            {"input_tokens": 10, "cached_tokens": 0},
        ),
        (
            {
                "input_tokens": 10,
                "input_token_details": {"cache_read": 3},
                "prompt_tokens_details": {"cached_tokens": 4},
            },
            {"input_tokens": 10, "cached_tokens": 3},
        ),
        ({"prompt_tokens_details": {"cached_tokens": 4}}, {}),
    ],
    ids=repr,
)
def test_counts(usage: dict[str, Any], counts: dict[str, int]) -> None:
    """Only whole numbers count, the first of each, and a total needs both its parts."""
    assert counts == usage_of(SILENT, {"token_usage": usage})
