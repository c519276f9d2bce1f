"""What a model answered: text, calls of tools, tokens. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._record import Status
from ._asked import MODEL, first_of
from ._messages import answer_of, plain_text_of, tool_calls_of
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
    status: Status,
) -> None:
    """Add what was answered to what was asked, in the order of the fields.

    Args:
        pieces: What was heard of a stream, should nothing else be left of it.
        tries: Fields that tell of the attempts.
        model: Those of who was asked; where none names it, the answer may.
        status: How the call ended.
    """
    prompts = getattr(response, "generations", None)
    generations = list(prompts[0]) if prompts else []
    llm_output = getattr(response, "llm_output", None) or _NOTHING
    texts, infos, calls, is_cached = _read(generations)
    text = "\n\n".join(filter(None, texts))
    if pieces:
        text = _or_heard(text, pieces, status)
    if text:
        said["generation"] = text
    if calls:
        said["tool_calls"] = calls
    if reason := _reason_to_end(infos):
        said["finish_reason"] = reason
    if is_cached:
        said["cache_hit"] = True
    said.update(tries)
    infos.append(llm_output)  # it names the model at last
    if name := model.get("model") or first_of(infos, *MODEL):
        said["model"] = name
    if name := model.get("provider") or first_of(infos, "model_provider"):
        said["provider"] = name
    if "parameters" in model:
        said["parameters"] = model["parameters"]
    said.update(usage_of(generations, llm_output))


def _read(
    generations: Iterable[Any],
) -> tuple[list[str], list[Mapping[str, Any]], tuple[Any, ...], bool]:
    """Return texts, what is said beside each, calls, and if it was cached."""
    texts: list[str] = []
    infos: list[Mapping[str, Any]] = []
    calls: tuple[Any, ...] = ()
    is_cached = False
    for generation in generations:
        info = getattr(generation, "generation_info", None) or _NOTHING
        message = getattr(generation, "message", None)
        if message is None:
            texts.append(generation.text)
            infos.append(info)
            continue
        metadata = getattr(message, "response_metadata", None) or _NOTHING
        infos.append({**metadata, **info} if info else metadata)
        text = plain_text_of(message)
        if text is None:
            text = answer_of(message)
            calls += tool_calls_of(message)
        texts.append(text)
        # `BaseChatModel._convert_cached_generations` of langchain-core marks them so.
        usage = getattr(message, "usage_metadata", None)
        if isinstance(usage, dict) and usage.get("total_cost") == 0:
            is_cached = True
    return texts, infos, calls, is_cached


def _or_heard(text: str, pieces: Sequence[str], status: Status) -> str:
    """Return the answer, or what was heard of its stream where that is more."""
    heard = "".join(pieces)
    if status != "complete" and len(heard) > len(text):
        return heard  # of a stream that is left the last word may not be in the answer
    return text or heard


def _reason_to_end(infos: list[Mapping[str, Any]]) -> str | None:
    """Return why the model stopped; of a Response, what cut it, or its status."""
    reason = first_of(infos, "finish_reason", "stop_reason", "stopReason", "done_reason")
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
    return first_of(cut, "reason") or first_of(responses, "status")
