"""Every provider's token words, told plainly. Pure.

LangChain's own `usage_metadata` is believed first; where a model gives none, what the
provider said stands in `llm_output` or beside the generation, in words of its own. To add
a provider is to add its words to the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

_WORDS: Mapping[str, tuple[str, ...]] = {
    # OpenAI says prompt_tokens and, in the Responses API, input_tokens; Ollama counts
    # what it evaluated; Gemini and Bedrock write their own case.
    "input_tokens": (
        "input_tokens",
        "prompt_tokens",
        "prompt_token_count",
        "promptTokenCount",
        "inputTokens",
        "prompt_eval_count",
    ),
    "output_tokens": (
        "output_tokens",
        "completion_tokens",
        "candidates_token_count",
        "candidatesTokenCount",
        "outputTokens",
        "eval_count",
    ),
    "total_tokens": (
        "total_tokens",
        "total_token_count",
        "totalTokenCount",
        "totalTokens",
    ),
}

# Where a detail stands: the key of the details, then its own.
_DETAILS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "cached_tokens": (
        ("input_token_details", "cache_read"),
        ("prompt_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cached_tokens"),
    ),
    "reasoning_tokens": (
        ("output_token_details", "reasoning"),
        ("completion_tokens_details", "reasoning_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
    ),
}


def usage_of(generations: list[Any], llm_output: Any) -> dict[str, int]:
    """Return the token counts of one call, those that somebody said.

    Args:
        generations: The choices of one prompt. Each may repeat the usage of them all, so
            the first that says anything is believed, and none are added up.
        llm_output: What the model said of the call as a whole.
    """
    for usage in _candidates(generations, llm_output):
        counts = _counts(usage) if usage else None
        if counts:
            return counts
    return {}


def _candidates(generations: list[Any], llm_output: Any) -> Iterator[Mapping[str, Any]]:
    for generation in generations:
        yield _mapping(getattr(_message(generation), "usage_metadata", None))
    for key in ("token_usage", "usage", "usage_metadata"):
        yield _mapping(_mapping(llm_output).get(key))
    for generation in generations:
        for said in (
            _mapping(getattr(_message(generation), "response_metadata", None)),
            _mapping(getattr(generation, "generation_info", None)),
        ):
            for key in ("token_usage", "usage", "usage_metadata"):
                yield _mapping(said.get(key))
            yield said  # Ollama counts beside everything else


def _counts(usage: Mapping[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name, words in _WORDS.items():
        count = next((usage[word] for word in words if _is_count(usage.get(word))), None)
        if count is not None:
            counts[name] = count
    if not counts:
        return {}
    if "total_tokens" not in counts and len(counts) == 2:
        counts["total_tokens"] = counts["input_tokens"] + counts["output_tokens"]
    for name, places in _DETAILS.items():
        for outer, inner in places:
            detail = _mapping(usage.get(outer)).get(inner)
            if _is_count(detail):
                counts[name] = detail
                break
    return counts


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _message(generation: Any) -> Any:
    return getattr(generation, "message", None)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
