"""Messages told plainly: roles, texts and tool calls.

A message is read by its attributes, and never changed; what is told of it is our own. All
here is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .._frozen import FrozenDict
from ._content import (
    CALLS,
    RESULTS,
    SERVER_CALLS,
    Block,
    first_text,
    kept,
    name_and_kind_of,
    note_of_media,
    places_in,
    text_of,
    without_media,
)

_ROLES = {
    "human": "user",
    "ai": "assistant",
    "system": "system",
    "developer": "developer",
    "tool": "tool",
    "function": "tool",
}
# Of these kinds a message that holds a text, and nothing beside it, is told at once.
_PLAIN_ROLES = {kind: _ROLES[kind] for kind in ("human", "ai", "system")}

_ARGUMENTS = (
    "partial_json",  # what was streamed, where "input" is still as it began
    "input",
    "args",
    "arguments",
    "action",
    "queries",
    "code",
    "executable_code",
)


def tell_messages(messages: Iterable[Any]) -> tuple[dict[str, Any], ...]:
    """Return each message as its role and its content, as text."""
    told = []
    for message in messages:
        kind: Any = getattr(message, "type", None)
        role = _PLAIN_ROLES.get(kind) if type(kind) is str else None
        text = None if role is None else plain_text_of(message, kind)
        told.append(_tell(message) if text is None else FrozenDict(role=role, content=text))
    return tuple(told)


def plain_text_of(message: Any, kind: str = "ai") -> str | None:
    """Return a message's text, if of this kind it holds nothing else."""
    text = getattr(message, "content", None)
    if type(text) is not str or getattr(message, "additional_kwargs", None):
        return None
    # Only there: what a message does not have pydantic looks for at length.
    if kind == "ai" and (
        getattr(message, "tool_calls", None) or getattr(message, "invalid_tool_calls", None)
    ):
        return None
    return without_media(text)


def prompt_of(told: Sequence[Mapping[str, Any]]) -> str:
    """Return what the user asked: the last user's message, else the last one."""
    for message in reversed(told):
        if message["role"] == "user":
            return str(message["content"])
    return str(told[-1]["content"]) if told else ""


def answer_of(message: Any) -> str:
    """Return the text of a model's message, its blocks joined without a gap."""
    content = getattr(message, "content", "")
    if type(content) is str and content:
        return without_media(content)
    text = text_of(content, between="")
    return text or _said_beside(_extra_of(message))


def tool_calls_of(message: Any) -> tuple[dict[str, Any], ...]:
    """Return the tools that a model's message calls: name, arguments and id.

    Those that the app shall run, the broken ones, then those that the provider has run.
    """
    return tuple(
        FrozenDict({key: kept(value) for key, value in call.items()})
        for call in _calls_of(message)
    )


def _tell(message: Any) -> dict[str, Any]:
    role, content = _role_of(message), getattr(message, "content", message)
    text = answer_of(message) if role == "assistant" else text_of(content)
    told: dict[str, Any] = {"role": role, "content": text}
    if role == "assistant" and (calls := tool_calls_of(message)):
        told["tool_calls"] = calls
    if role == "tool":
        told.update(_answered_by(message, content))
    return FrozenDict(told)


def _role_of(message: Any) -> str:
    # A streamed chunk is of the type "AIMessageChunk".
    kind = str(getattr(message, "type", "human")).removesuffix("MessageChunk").lower()
    if kind == "chat":
        kind = str(getattr(message, "role", "user")).lower()
    if _extra_of(message).get("__openai_role__") == "developer":
        return "developer"
    role = _ROLES.get(kind, kind)
    if role == "user" and _results_in(getattr(message, "content", None)):
        return "tool"
    return role


def _answered_by(message: Any, content: Any) -> Iterator[tuple[str, str]]:
    """Yield which call a tool's message answers, and the tool's name."""
    call_id, name = (getattr(message, key, None) for key in ("tool_call_id", "name"))
    results = _results_in(content)
    if len(results) == 1 and not call_id:
        places = places_in(results[0], name_and_kind_of(results[0])[0])
        call_id = first_text(places, "tool_use_id", "toolUseId", "call_id")
    if isinstance(call_id, str) and call_id:
        yield "tool_call_id", call_id
    if isinstance(name, str) and name:
        yield "name", name


def _results_in(content: Any) -> list[Block]:
    """Return the tools' results that a content holds, if nothing else."""
    blocks: list[Any] = content if isinstance(content, list) else []
    are_results = all(
        type(block) is dict and name_and_kind_of(block)[1] in RESULTS for block in blocks
    )
    return blocks if are_results else []


def _calls_of(message: Any) -> Iterator[dict[str, Any]]:
    for name in ("tool_calls", "invalid_tool_calls"):
        calls = getattr(message, name, None)
        for call in calls if isinstance(calls, (list, tuple)) else ():
            if type(call) is dict:
                yield {key: call.get(key) for key in ("name", "args", "id")}
    function = _extra_of(message).get("function_call")  # OpenAI's, before it had tools
    if isinstance(function, dict):
        yield {"name": function.get("name"), "args": function.get("arguments"), "id": None}
    content = getattr(message, "content", None)
    for block in content if isinstance(content, list) else ():
        if type(block) is dict:
            yield from _server_calls_in(block)


def _server_calls_in(block: Block) -> Iterator[dict[str, Any]]:
    _, kind = name_and_kind_of(block)
    if kind == "non_standard" and isinstance(block.get("value"), dict):
        block = block["value"]
        _, kind = name_and_kind_of(block)
    if kind.endswith(SERVER_CALLS) and kind not in CALLS:
        said = (block[key] for key in _ARGUMENTS if block.get(key) is not None)
        yield {
            "name": first_text([block], "name") or kind.removesuffix("_call"),
            "args": next(said, None),
            "id": first_text([block], "call_id", "id"),
        }


def _said_beside(extra: Mapping[str, Any]) -> str:
    """Return what stands beside an empty content: a refusal, or speech."""
    audio = extra.get("audio")
    spoken = audio if isinstance(audio, dict) else {}
    text = first_text([extra], "refusal") or first_text([spoken], "transcript")
    if text or not audio:
        return text or ""
    return note_of_media("audio", [spoken or extra], "audio")


def _extra_of(message: Any) -> Mapping[str, Any]:
    extra = getattr(message, "additional_kwargs", None)
    return extra if isinstance(extra, dict) else {}
