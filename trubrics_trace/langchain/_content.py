"""A message's content told as text, whatever provider's shape it has.

Of a block its text is told, or a note left; thoughts and calls of tools are not text.
Nothing is changed, and all is bounded whatever is handed in. All here is pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from .._frozen import FrozenDict
from ..pipeline._redact import media_note, told_by_itself

Block: TypeAlias = Mapping[str, Any]

_MAX_DEPTH = 32  # of blocks in blocks: deeper is a mistake, or a cycle in disguise
_MAX_BLOCKS = 100_000  # of a message: an answer may have been streamed in as many pieces
_MEDIA_COST = 10  # in blocks of text: so much longer it takes to read any other

# What a message's own `tool_calls` tell, or `invalid_tool_calls`.
CALLS = frozenset(
    (
        "tool_use",
        "tool_call",
        "tool_call_chunk",
        "invalid_tool_call",
        "input_json_delta",
        "function_call",
        "function_call_signature",
        "custom_tool_call",
        "server_tool_call_chunk",
    )
)
# The provider's own tools have a type each: OpenAI's web_search_call, Anthropic's
# server_tool_use and mcp_tool_use, Gemini's executable_code; and what they gave back.
SERVER_CALLS = ("_call", "_tool_use", "executable_code")
_SERVER_RESULTS = ("_tool_result", "code_execution_result", "tool_search_output")
# Thoughts, and words of the protocol, are no part of a text either.
_SILENT = frozenset(
    (
        "thinking",
        "redacted_thinking",
        "reasoning",
        "reasoning_content",
        "compaction",
        "cache_point",
        "mcp_list_tools",
        "mcp_approval_request",
    )
)
# The app's tools' results, where a provider has them in the user's message.
RESULTS = frozenset(("tool_result", "function_call_output", "custom_tool_call_output"))

# Where the parts of a block stand, if not beside its type nor under its name.
_INSIDE = ("source", "file", "image_url", "data", "text", "s3Location", "s3_location")
_MEDIA_TYPE = ("media_type", "mime_type", "mimeType", "format", "output_format")
_DATA = (
    "data",
    "base64",
    "file_data",
    "bytes",
    "url",
    "image_url",
    "file_url",
    "file_uri",
    "fileUri",
    "uri",
    "result",
)
_NOUNS = {
    "inline_data": "file",
    "file_data": "file",
    "image_generation_call": "image",
}

# Media in the middle of a text, of which no more is read than must be; what is shorter
# than a few lines may be what is talked of.
_DATA_URL = re.compile(
    r"data:(?P<type>[\w.+-]{1,100}/[\w.+-]{1,100})?(?:;[\w.+=-]{1,100}){0,5};base64,"
    r"(?P<data>[A-Za-z0-9+/_=-]{256,})"
)
_NUMBERS = frozenset({int, float, bool})
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def text_of(content: Any, *, between: str = "\n") -> str:
    """Return a message's content as text; blocks of media leave a note."""
    return _Contents().text_of(content, between)


def kept(value: Any) -> Any:
    """Return a parameter or an argument, frozen."""
    return value if type(value) in _NUMBERS else _Contents().kept(value)


def without_media(text: str) -> str:
    """Return a text with a note where a data URL stands in it."""
    return _DATA_URL.sub(_note_of_data_url, text) if ";base64," in text else text


class _Contents:
    """A message's content as text, and how many blocks may still be read."""

    def __init__(self) -> None:
        self._left = _MAX_BLOCKS

    def text_of(self, content: Any, between: str, depth: int = 0) -> str:
        """Return it as text, its blocks with this between them."""
        kind = type(content)  # what a proxy says of its class is not true of it
        if issubclass(kind, str):
            return without_media(str.__str__(content))
        if issubclass(kind, (bytes, bytearray, memoryview)):
            return media_note("bytes", None, _size_of(content))
        if issubclass(kind, Mapping):
            content = (content,)
        elif not issubclass(kind, (list, tuple)):
            return "" if content is None else told_by_itself(content)
        return between.join(text for text in self._texts_of(content, depth) if text)

    def _texts_of(self, blocks: Sequence[Any], depth: int) -> Iterator[str]:
        if depth > _MAX_DEPTH:
            yield f"[deeper than {_MAX_DEPTH} levels]"
            return
        for block in blocks:
            if self._left <= 0:
                yield f"[cut, {len(blocks):,} blocks in all]"
                return
            self._left -= 1
            if isinstance(block, Mapping):
                yield told_by_itself(block, lambda one: self._text_of_block(one, depth))
            elif isinstance(block, (str, bytes, list, tuple)):
                yield self.text_of(block, "\n", depth + 1)

    def _text_of_block(self, block: Block, depth: int) -> str:
        name, kind = name_and_kind_of(block)
        if kind == "text" and type(block.get("text")) is str and not block.get("thought"):
            return without_media(block["text"])
        self._left -= _MEDIA_COST
        if kind == "non_standard" and isinstance(block.get("value"), Mapping):
            return self.text_of(block["value"], "\n", depth + 1)
        if kind == "json":
            return told_by_itself(block.get(name), _json_of)
        if _is_silent(kind) or block.get("thought"):
            return ""
        places = places_in(block, name)
        text = self._text_in(places, depth)
        if text is None:
            return "" if kind in RESULTS else note_of_media(kind, places, name)
        return text

    def _text_in(self, places: Sequence[Block], depth: int) -> str | None:
        """Return the text that stands in a block; None: none does."""
        if (text := first_text(places, "text", "refusal")) is not None:
            return without_media(text)
        for place in places:
            if place.get("type") == "text":  # a document of Anthropic's, as it is
                return first_text([place], "data")
            for key in ("content", "output"):
                if isinstance(place.get(key), (str, list, tuple, Mapping)):
                    return self.text_of(place[key], "\n", depth + 1)
        return None

    def kept(self, value: Any, depth: int = 0) -> Any:
        """Return it frozen; beyond the bounds it stays the app's own."""
        kind = type(value)
        if kind is str:
            return without_media(value)
        if depth > _MAX_DEPTH or self._left <= 0:
            return value
        self._left -= 1
        if kind is dict:
            return FrozenDict(
                {key: self.kept(item, depth + 1) for key, item in value.items()}
            )
        if kind in (list, tuple):
            return tuple(self.kept(item, depth + 1) for item in value)
        return value


def name_and_kind_of(block: Block) -> tuple[str, str]:
    """Return the key that names a block, and its type in one way of writing."""
    name = block.get("type")
    if not isinstance(name, str):  # as Bedrock and Gemini have it: {"image": {...}}
        named = (key for key, value in block.items() if isinstance(value, Mapping))
        name = "text" if "text" in block else next(named, None) or next(iter(block), "")
    name = str.__str__(name) if isinstance(name, str) else "content"
    return name, name if name.islower() else _HUMP.sub("_", name).lower()


def _is_silent(kind: str) -> bool:
    if kind in _SILENT or kind in CALLS:
        return True
    return kind.endswith(SERVER_CALLS + _SERVER_RESULTS) and kind not in _NOUNS


def places_in(block: Block, name: str) -> list[Block]:
    """Return where the parts of a block may stand, the innermost first.

    Under its name (OpenAI, Bedrock), under "source" (Anthropic) or "file", or beside the
    type (LangChain).
    """
    places = [block]
    for _ in range(4):  # Bedrock's image of S3 is the deepest
        place = places[0]
        inside = (place.get(key) for key in (name, *_INSIDE))
        found = next((one for one in inside if isinstance(one, dict)), None)
        if found is None:
            break
        places.insert(0, found)
    return places


def note_of_media(kind: str, places: Sequence[Block], name: str) -> str:
    """Return the note for an image, sound or file, in any provider's shape."""
    noun = _NOUNS.get(kind) or kind.removesuffix("_url").removeprefix("input_") or "content"
    media_type = first_text(places, *_MEDIA_TYPE)
    keys = (*_DATA, name)
    found = (place[key] for place in places for key in keys if _is_data(place.get(key)))
    data = next(found, None)
    if not isinstance(data, str):
        return media_note(noun, media_type, None if data is None else _size_of(data))
    data = str.__str__(data)
    comma = data.find(",", 0, 1_000) if data.startswith("data:") else -1
    if comma >= 0:
        head = data[5:comma]
        media_type = head.partition(";")[0] or media_type
        is_base64 = head.endswith(";base64")
        size = _size_of_base64(data, comma + 1) if is_base64 else len(data) - comma - 1
        return media_note(noun, media_type, size)
    if "://" in data[:12]:
        return media_note(noun, _place_of(data) or media_type, None)
    return media_note(noun, media_type, _size_of_base64(data))


def _note_of_data_url(found: re.Match[str]) -> str:
    kind = (found["type"] or "").partition("/")[0]
    noun = kind if kind in ("image", "audio", "video") else "file"
    size = _size_of_base64(found.string, found.start("data"), found.end("data"))
    return media_note(noun, found["type"], size)


def _json_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=text_of)


def _place_of(url: str) -> str | None:
    """Return a URL without what may hold a secret; None for one that is none."""
    try:
        where = urlsplit(url)
    except ValueError:  # such as half an IPv6 address
        return None
    return f"{where.scheme}://{where.hostname or ''}{where.path}"


def _is_data(value: Any) -> bool:
    return isinstance(value, (str, bytes, bytearray, memoryview))


def _size_of(data: bytes | bytearray | memoryview) -> int:
    return data.nbytes if isinstance(data, memoryview) else len(data)


def _size_of_base64(data: str, start: int = 0, end: int | None = None) -> int:
    """Return how many bytes a part of a text stands for, uncopied."""
    end = len(data) if end is None else end
    return (end - start) * 3 // 4 - data.count("=", max(start, end - 2), end)


def first_text(places: Iterable[Block], *keys: str) -> str | None:
    """Return the first text that stands under one of these keys."""
    for place in places:
        for key in keys:
            if isinstance(found := place.get(key), str):
                return str.__str__(found)
    return None
