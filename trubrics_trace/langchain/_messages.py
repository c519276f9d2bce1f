"""Messages told plainly: roles, texts, tool calls, and notes for media.

A message is read by its attributes, and never changed. Of a content block, in whatever
provider's shape, its text is told or a note left; thoughts and calls of tools are not text.
All here is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from .._frozen import FrozenDict
from ..pipeline._redact import media_note

_ROLES = {
    "human": "user",
    "ai": "assistant",
    "system": "system",
    "developer": "developer",
    "tool": "tool",
    "function": "tool",
}

# Thoughts are no part of the answer, and calls of tools are told as `tool_calls`.
_SILENT_BLOCKS = frozenset(
    (
        "thinking",
        "redacted_thinking",
        "reasoning",
        "reasoning_content",
        "tool_use",
        "tool_call",
        "tool_call_chunk",
        "function_call",
        "input_json_delta",
        # The provider's own tools: Anthropic's, LangChain's word for them, OpenAI's.
        "server_tool_use",
        "server_tool_call",
        "server_tool_call_chunk",
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "computer_call",
        "mcp_call",
    )
)


def tell_messages(messages: Iterable[Any]) -> tuple[dict[str, Any], ...]:
    """Return each message as its role and its content, as text."""
    return tuple(_tell(message) for message in messages)


def prompt_of(told: Sequence[Mapping[str, Any]]) -> str:
    """Return what the user asked: the last user's message, else the last one."""
    for message in reversed(told):
        if message["role"] == "user":
            return str(message["content"])
    return str(told[-1]["content"]) if told else ""


def text_of(content: Any, *, between: str = "\n") -> str:
    """Return a message's content as text; blocks of media leave a note."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, Iterable):
        return "" if content is None else str(content)
    texts = (_text_of_block(block) for block in content)
    return between.join(text for text in texts if text)


def answer_of(message: Any) -> str:
    """Return the text of a model's message, its blocks joined without a gap."""
    return text_of(getattr(message, "content", ""), between="")


def tool_calls_of(message: Any) -> tuple[dict[str, Any], ...]:
    """Return the tools that a model's message calls: name, arguments and id."""
    calls = [
        *(getattr(message, "tool_calls", None) or ()),
        *(getattr(message, "invalid_tool_calls", None) or ()),
    ]
    return tuple(
        FrozenDict({name: call.get(name) for name in ("name", "args", "id")})
        for call in calls
        if isinstance(call, Mapping)
    )


def _tell(message: Any) -> dict[str, Any]:
    role = _role_of(message)
    between = "" if role == "assistant" else "\n"
    content = text_of(getattr(message, "content", message), between=between)
    told: dict[str, Any] = {"role": role, "content": content}
    if calls := tool_calls_of(message):
        told["tool_calls"] = calls
    return FrozenDict(told)


def _role_of(message: Any) -> str:
    # A streamed chunk is of the type "AIMessageChunk".
    kind = str(getattr(message, "type", "human")).removesuffix("MessageChunk").lower()
    if kind == "chat":
        kind = str(getattr(message, "role", "user")).lower()
    extra = getattr(message, "additional_kwargs", None)
    if isinstance(extra, Mapping) and extra.get("__openai_role__") == "developer":
        return "developer"
    return _ROLES.get(kind, kind)


def _text_of_block(block: Any) -> str:
    if isinstance(block, str):
        return block
    if not isinstance(block, Mapping):
        return ""
    kind = str(block.get("type", "text" if "text" in block else "content"))
    for key in ("text", "refusal"):
        if isinstance(block.get(key), str) and kind not in _SILENT_BLOCKS:
            return str(block[key])
    if kind in _SILENT_BLOCKS:
        return ""
    if kind == "tool_result":
        return text_of(block.get("content"))
    return _note_of_media(kind, block)


def _note_of_media(kind: str, block: Mapping[str, Any]) -> str:
    """Return the note for an image, sound or file, in any provider's shape."""
    noun = kind.removesuffix("_url").removeprefix("input_")
    # Under the type's own name (OpenAI), under "source" (Anthropic), under "file", or
    # beside the type (LangChain).
    inner = next(
        (
            block[key]
            for key in (kind, "source", "file", "image_url")
            if isinstance(block.get(key), (Mapping, str))
        ),
        block,
    )
    parts: Mapping[str, Any] = inner if isinstance(inner, Mapping) else {"url": inner}
    media_type = _first_text(parts, "media_type", "mime_type", "format") or _first_text(
        block, "mime_type", "media_type"
    )
    data = _first_text(parts, "data", "base64", "file_data", "url")
    if data is None:
        return media_note(noun, media_type, None)
    if data.startswith("data:"):
        head, _, data = data.partition(",")
        media_type = head.removeprefix("data:").partition(";")[0] or media_type
    elif "://" in data[:12]:
        return media_note(noun, _place_of(data) or media_type, None)
    return media_note(noun, media_type, _size_of_base64(data))


def _place_of(url: str) -> str | None:
    """Return a URL without what may hold a secret; None for one that is none."""
    try:
        where = urlsplit(url)
    except ValueError:  # such as half an IPv6 address
        return None
    return f"{where.scheme}://{where.hostname or ''}{where.path}"


def _size_of_base64(data: str) -> int:
    return len(data) * 3 // 4 - data[-2:].count("=")


def _first_text(parts: Mapping[str, Any], *keys: str) -> str | None:
    return next((parts[key] for key in keys if isinstance(parts.get(key), str)), None)
