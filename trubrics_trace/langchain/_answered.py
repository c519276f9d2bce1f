"""What a model answered: text, calls of tools, tokens. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ._asked import MODEL, first_text
from ._messages import answer_of, tool_calls_of
from ._usage import usage_of

# The words of most: no others need a look whether they are several in one.
_REASONS = frozenset(
    ("stop", "length", "tool_calls", "content_filter", "end_turn", "max_tokens", "STOP")
)
_NOTHING: Mapping[str, Any] = {}


def tell_answer(
    said: dict[str, Any],
    response: Any,
    pieces: Sequence[str],
    tries: Mapping[str, Any],
    model: Mapping[str, Any],
    *,
    is_complete: bool,
) -> None:
    """Add what was answered to what was asked, in the order of the fields.

    Args:
        pieces: What was heard of a stream, should nothing else be left of it.
        tries: Fields that tell of the attempts.
        model: Those of who was asked; where none names it, the answer may.
    """
    generations = _generations(response)
    llm_output = getattr(response, "llm_output", None) or _NOTHING
    texts: list[str] = []
    is_cached = False
    infos: list[Mapping[str, Any]] = []
    calls: tuple[Any, ...] = ()
    for generation in generations:
        message = getattr(generation, "message", None)
        texts.append(generation.text if message is None else answer_of(message))
        infos.append(_info_of(generation, message))
        if message is not None:
            calls += tool_calls_of(message)
            is_cached = is_cached or _is_from_cache(message)
    if text := _text_of(texts, pieces, is_complete=is_complete):
        said["generation"] = text
    if calls:
        said["tool_calls"] = calls
    if reason := _reason_to_end(infos):
        said["finish_reason"] = reason
    if is_cached:
        said["cache_hit"] = True
    said.update(tries)
    infos.append(llm_output)  # it names the model at last
    for field, words in _NAMED:
        if name := model.get(field) or _first_of(infos, *words):
            said[field] = name
    if "parameters" in model:
        said["parameters"] = model["parameters"]
    said.update(usage_of(generations, llm_output))


_NAMED = (("model", MODEL), ("provider", ("model_provider",)))


def _text_of(texts: list[str], pieces: Sequence[str], *, is_complete: bool) -> str:
    text = "\n\n".join(filter(None, texts))
    heard = "".join(pieces)
    if not is_complete and len(heard) > len(text):
        return heard  # of a stream that is left the last word may not be in the answer
    return text or heard


def _generations(response: Any) -> list[Any]:
    prompts = getattr(response, "generations", None)
    return list(prompts[0]) if prompts else []


def _info_of(generation: Any, message: Any) -> Mapping[str, Any]:
    info = getattr(generation, "generation_info", None)
    metadata = getattr(message, "response_metadata", None)
    return {**(metadata or _NOTHING), **info} if info else metadata or _NOTHING


def _reason_to_end(infos: list[Mapping[str, Any]]) -> str | None:
    """Return why the model stopped; of a Response, what cut it, or its status."""
    reason = _first_of(infos, "finish_reason", "stop_reason", "stopReason", "done_reason")
    if reason is not None:
        if reason in _REASONS:
            return reason
        # LangChain glues the reasons of a stream's choices: "stopstop".
        glued = re.fullmatch(r"(\w{2,40}?)\1+", reason)
        return glued[1] if glued else reason
    responses = [info for info in infos if info.get("object") == "response"]
    if not responses:
        return None
    details = [info.get("incomplete_details") for info in responses]
    cut = [one for one in details if isinstance(one, Mapping)]
    return _first_of(cut, "reason") or _first_of(responses, "status")


def _is_from_cache(message: Any) -> bool:
    # `BaseChatModel._convert_cached_generations` of langchain-core marks them so.
    usage = getattr(message, "usage_metadata", None)
    return isinstance(usage, dict) and usage.get("total_cost") == 0


def _first_of(infos: Iterable[Mapping[str, Any]], *keys: str) -> str | None:
    for info in infos:
        if info and (text := first_text(info, *keys)) is not None:
            return text
    return None
