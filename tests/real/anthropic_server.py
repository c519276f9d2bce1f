"""Anthropic's Messages API in the shapes that a test hands in, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

from .openai_shapes_server import Json, Shape, words

MODEL = "claude-shape-1"
PATH = "/v1/messages"

# Anthropic counts what it has read from its cache, and written to it, beside the rest.
USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 3,
    "cache_read_input_tokens": 4,
    "output_tokens": 9,
    "service_tier": "standard",
}


def message(*blocks: Json, stop_reason: str = "end_turn", **usage: Any) -> Shape:
    """Return an answer of these blocks; keywords add to its usage."""
    begun: Json = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**USAGE, **usage, "output_tokens": 1},
    }
    ended = {"stop_reason": stop_reason, "stop_sequence": None}
    counted = {**USAGE, **usage}
    # The stream's last word counts all, and says less of how.
    totals = {
        key: count
        for key, count in counted.items()
        if key not in {"service_tier", "cache_creation"}
    }

    def events(asked: Json) -> list[Json]:
        told: list[Json] = [{"type": "message_start", "message": begun}, {"type": "ping"}]
        for index, block in enumerate(blocks):
            told += [{"index": index, **event} for event in _events_of(block)]
        told.append({"type": "message_delta", "delta": ended, "usage": totals})
        told.append({"type": "message_stop"})
        return told

    whole = {**begun, **ended, "content": list(blocks), "usage": counted}
    return Shape(PATH, whole, events)


def text(said: str) -> Json:
    """Return a block of text."""
    return {"type": "text", "text": said, "citations": None}


def thinking(thought: str) -> Json:
    """Return a block of thought, signed."""
    return {"type": "thinking", "thinking": thought, "signature": "c2lnbmVk"}


def tool_use(name: str, arguments: Json, call_id: str) -> Json:
    """Return a block that calls a tool."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def _events_of(block: Json) -> list[Json]:
    """Return the events in which one block is streamed."""
    stream = _STREAMED.get(block["type"])
    begun, deltas = stream(block) if stream else (block, [])
    return [
        {"type": "content_block_start", "content_block": begun},
        *({"type": "content_block_delta", "delta": delta} for delta in deltas),
        {"type": "content_block_stop"},
    ]


def _text(block: Json) -> tuple[Json, list[Json]]:
    pieces = words(block["text"])
    deltas: list[Json] = [{"type": "text_delta", "text": piece} for piece in pieces]
    return {**block, "text": ""}, deltas


def _thinking(block: Json) -> tuple[Json, list[Json]]:
    pieces = words(block["thinking"])
    deltas: list[Json] = [{"type": "thinking_delta", "thinking": one} for one in pieces]
    deltas.append({"type": "signature_delta", "signature": block["signature"]})
    return {**block, "thinking": "", "signature": ""}, deltas


def _tool_use(block: Json) -> tuple[Json, list[Json]]:
    pieces = ["", *words(json.dumps(block["input"]))]
    deltas: list[Json] = [{"type": "input_json_delta", "partial_json": p} for p in pieces]
    return {**block, "input": {}}, deltas


_STREAMED = {
    "text": _text,
    "thinking": _thinking,
    "tool_use": _tool_use,
    "server_tool_use": _tool_use,
}
