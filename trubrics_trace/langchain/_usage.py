"""Every provider's token words, told plainly. Pure.

LangChain's own `usage_metadata` is believed first; where a model gives none, what the
provider said stands in `llm_output` or beside the generation, in words of its own. To add
a provider is to add its words to the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

_WORDS: Mapping[str, tuple[str, ...]] = {
    # OpenAI says prompt_tokens and, in the Responses API, input_tokens; Ollama counts
    # what it evaluated; Gemini, Bedrock (Converse, then any stream's last word) and
    # watsonx have cases and words of their own.
    "input_tokens": (
        "input_tokens",
        "prompt_tokens",
        "prompt_token_count",
        "promptTokenCount",
        "inputTokens",
        "inputTokenCount",
        "input_token_count",
        "prompt_eval_count",
    ),
    "output_tokens": (
        "output_tokens",
        "completion_tokens",
        "candidates_token_count",
        "candidatesTokenCount",
        "outputTokens",
        "outputTokenCount",
        "generated_token_count",
        "eval_count",
    ),
    "total_tokens": (
        "total_tokens",
        "total_token_count",
        "totalTokenCount",
        "totalTokens",
    ),
}

# Where a detail stands: the key of the details, then its own; or beside the others.
_DETAILS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "cached_tokens": (
        ("input_token_details", "cache_read"),
        ("input_token_details", "flex_cache_read"),  # langchain-openai, by service tier
        ("input_token_details", "priority_cache_read"),
        ("prompt_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cached_tokens"),
        ("prompt_cache_hit_tokens",),  # DeepSeek
        ("cache_read_input_tokens",),  # Anthropic
        ("cacheReadInputTokens",),  # Bedrock
        ("cacheReadInputTokenCount",),
        ("cached_content_token_count",),  # Gemini
        ("cachedContentTokenCount",),
    ),
    "reasoning_tokens": (
        ("output_token_details", "reasoning"),
        ("output_token_details", "flex_reasoning"),
        ("output_token_details", "priority_reasoning"),
        ("completion_tokens_details", "reasoning_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
        ("output_tokens_details", "thinking_tokens"),  # Anthropic
        ("thoughts_token_count",),  # Gemini
        ("thoughtsTokenCount",),
    ),
}

# What Anthropic and Bedrock count beside their input, and others, as LangChain, within.
_BESIDE_INPUT: Mapping[str, tuple[str, ...]] = {
    "input_tokens": ("cache_read_input_tokens", "cache_creation_input_tokens"),
    "inputTokens": ("cacheReadInputTokens", "cacheWriteInputTokens"),
    "inputTokenCount": ("cacheReadInputTokenCount", "cacheWriteInputTokenCount"),
}

_NOTHING: Mapping[str, Any] = {}

# Where a usage stands in what a model says of its answer.
_KEYS = ("token_usage", "usage", "usage_metadata", "amazon-bedrock-invocationMetrics")


def usage_of(generations: Sequence[Any], llm_output: Any) -> dict[str, int]:
    """Return the token counts of one call, those that somebody said.

    Args:
        generations: The choices of one prompt. Each may repeat the usage of them all, so
            the first that says anything is believed, and none are added up.
        llm_output: What the model said of the call as a whole.
    """
    for generation in generations:  # where LangChain has it, of most models
        usage = getattr(getattr(generation, "message", None), "usage_metadata", None)
        if type(usage) is not dict:
            usage = _mapping(usage)
        if usage and (counts := _counts(usage)):
            return counts
    for usage in _candidates(generations, llm_output):
        if usage and (counts := _counts(usage)):
            return counts
    return {}


def _candidates(generations: Sequence[Any], llm_output: Any) -> Iterator[Mapping[str, Any]]:
    for key in _KEYS:
        yield _mapping(_mapping(llm_output).get(key))
    for generation in generations:
        message = getattr(generation, "message", None)
        for said in (
            _mapping(getattr(message, "response_metadata", None)),
            _mapping(getattr(generation, "generation_info", None)),
        ):
            for key in _KEYS:
                yield _mapping(said.get(key))
            yield said  # Ollama counts beside everything else


_DETAIL_KEYS = frozenset(place[0] for places in _DETAILS.values() for place in places)


def _counts(usage: Mapping[str, Any]) -> dict[str, int]:
    read: Any = usage.get("input_tokens")
    written: Any = usage.get("output_tokens")
    total = usage.get("total_tokens")
    # LangChain's own words, most often; the sum shows that nothing stands beside them.
    are_whole = type(read) is type(written) is type(total) is int
    if are_whole and read >= 0 <= written and total == read + written:
        counts = {"input_tokens": read, "output_tokens": written, "total_tokens": total}
    else:
        counts = _counts_in_any_words(usage)
    if counts and not _DETAIL_KEYS.isdisjoint(usage):
        counts.update(_details(usage))
    return counts


def _counts_in_any_words(usage: Mapping[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name, words in _WORDS.items():
        for word in words:
            if _is_count(count := usage.get(word)):
                counts[name] = count
                break
    if not counts:
        return {}
    if "input_tokens" in counts:
        counts["input_tokens"] += _beside_input(usage, counts)
    if (
        not counts.get("total_tokens")
        and {"input_tokens", "output_tokens"} <= counts.keys()
    ):
        counts["total_tokens"] = counts["input_tokens"] + counts["output_tokens"]
    return counts


def _details(usage: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield what of the counts was cached, and what was thought."""
    for name, places in _DETAILS.items():
        for place in places:
            if place[0] in usage and _is_count(detail := _detail(usage, place)):
                yield name, detail
                break


def _detail(usage: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    detail: Any = usage
    for key in place:
        detail = _mapping(detail).get(key)
    return detail


def _beside_input(usage: Mapping[str, Any], counts: Mapping[str, int]) -> int:
    """Return the cached tokens that the input leaves out."""
    if counts.get("total_tokens") == counts["input_tokens"] + counts.get(
        "output_tokens", 0
    ):
        return 0
    words = next((beside for word, beside in _BESIDE_INPUT.items() if word in usage), ())
    return sum(usage[word] for word in words if _is_count(usage.get(word)))


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and value >= 0  # what is more than one may raise


def _mapping(value: Any) -> Mapping[str, Any]:
    # `Mapping` asks long of what it does not know: most often it is a dict, or nothing.
    if type(value) is dict or value is None:
        return value or _NOTHING
    return value if isinstance(value, Mapping) else _NOTHING
