"""A loopback server that answers as it is told to, in all shapes of OpenAI's API.

What it answers is what a test hands in, whole or as a stream, as the client asks for; it
may refuse, or break off half-way. A test holds each shape against the SDK's own types.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Json = dict[str, Any]

MODEL = "shape-1"
USAGE = {
    "prompt_tokens": 14,
    "completion_tokens": 9,
    "total_tokens": 23,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 2},
}
RESPONSES_USAGE = {
    "input_tokens": 14,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 23,
}


class Shape(NamedTuple):
    """One answer: the body of it, and its events should the client want a stream.

    Attributes:
        path: How the path ends that this is an answer of.
        events: The stream's events, given the body of the request.
        end: What comes behind the events.
    """

    path: str
    whole: Json
    events: Callable[[Json], list[Json]]
    end: bytes = b""
    status: int = 200
    breaks_off: bool = False

    def broken_off(self) -> Shape:
        """Return the same answer, whose connection is closed half-way."""
        return self._replace(breaks_off=True)


def chat(
    *messages: Json, finish_reason: str = "stop", usage: Json | None = None, **fields: Any
) -> Shape:
    """Return the answer of chat completions, a choice for each of the messages."""
    head = {"id": "chatcmpl-1", "created": 1, "model": MODEL, **fields}
    whole = {
        **head,
        "object": "chat.completion",
        "choices": [
            {
                "index": index,
                "finish_reason": finish_reason,
                "logprobs": None,
                "message": {"role": "assistant", "content": None, "refusal": None} | said,
            }
            for index, said in enumerate(messages)
        ],
        "usage": usage or USAGE,
    }

    def events(asked: Json) -> list[Json]:
        deltas = [
            (index, delta)
            for index, said in enumerate(messages)
            for delta in [
                {"role": "assistant", "content": "", "refusal": None},
                *_deltas(said),
            ]
        ]
        chunks: list[Json] = [{"index": index, "delta": said} for index, said in deltas]
        chunks += [
            {"index": index, "delta": {}, "finish_reason": finish_reason}
            for index in range(len(messages))
        ]
        head["object"] = "chat.completion.chunk"
        told: list[Json] = [
            {**head, "choices": [{"finish_reason": None, "logprobs": None} | chunk]}
            for chunk in chunks
        ]
        if (asked.get("stream_options") or {}).get("include_usage"):
            told = [{**chunk, "usage": None} for chunk in told]
            told.append({**head, "choices": [], "usage": usage or USAGE})
        return told

    return Shape("/chat/completions", whole, events, b"data: [DONE]\n\n")


def completion(*texts: str, finish_reason: str = "stop") -> Shape:
    """Return the answer of legacy completions, a choice for each of the texts."""
    head = {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": MODEL,
    }
    usage = {key: count for key, count in USAGE.items() if isinstance(count, int)}

    def choice(index: int, text: str, finish_reason: str | None) -> Json:
        return {
            "index": index,
            "text": text,
            "finish_reason": finish_reason,
            "logprobs": None,
        }

    def events(asked: Json) -> list[Json]:
        said = [(index, word) for index, text in enumerate(texts) for word in words(text)]
        choices = [
            *(choice(index, word, None) for index, word in said),
            *(choice(index, "", finish_reason) for index in range(len(texts))),
        ]
        told: list[Json] = [{**head, "choices": [one]} for one in choices]
        if (asked.get("stream_options") or {}).get("include_usage"):
            told.append({**head, "choices": [], "usage": usage})
        return told

    choices = [choice(index, text, finish_reason) for index, text in enumerate(texts)]
    whole = {**head, "choices": choices, "usage": usage}
    return Shape("/completions", whole, events, b"data: [DONE]\n\n")


def response(*items: Json, incomplete: str | None = None) -> Shape:
    """Return the answer of the Responses API, with these items of output."""
    status = "incomplete" if incomplete else "completed"
    begun: Json = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "in_progress",
        "model": MODEL,
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    whole = {
        **begun,
        "status": status,
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "output": list(items),
        "usage": RESPONSES_USAGE,
    }

    def events(asked: Json) -> list[Json]:
        told: list[Json] = [
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
        ]
        for index, item in enumerate(items):
            told += [{"output_index": index, **event} for event in _events_of(item)]
        told.append({"type": f"response.{status}", "response": whole})
        return [{**event, "sequence_number": n} for n, event in enumerate(told)]

    return Shape("/responses", whole, events)


def output_message(*content: Json) -> Json:
    """Return an item of output with this content."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": list(content),
    }


def output_text(text: str) -> Json:
    """Return the content of an item that says this."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def failure(path: str, status: int, message: str) -> Shape:
    """Return a refusal; in its message, `{key}` is how the client has signed in."""
    error = {"message": message, "type": "error", "param": None, "code": None}
    return Shape(path, {"type": "error", "error": error}, lambda asked: [], status=status)


def words(text: str) -> list[str]:
    """Return a text in the pieces that it is streamed in."""
    return re.findall(r"\S+\s*", text)


class ShapesServer:
    """Answers each request with the next of its answers, and the last one for ever.

    Attributes:
        address: Where it is: host and port.
        asked: The body of each request.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: list[Json] = []
        self._answers: list[Shape] = []

    def will_answer(self, *answers: Shape) -> None:
        """Answer these from now on."""
        self._answers = list(answers)
        self.asked.clear()

    def next_answer(self, asked: Json) -> Shape:
        """Return what this request is answered."""
        self.asked.append(asked)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@contextmanager
def serve_shapes() -> Iterator[ShapesServer]:
    """Serve on a free port of 127.0.0.1."""
    http = _Server(("127.0.0.1", 0), _Request)
    http.shapes = ShapesServer(f"127.0.0.1:{http.server_address[1]}")
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield http.shapes
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    shapes: ShapesServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that left a stream."""


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        """Give the next answer that was planned, whole or as a stream."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = self.server.shapes.next_answer(asked)
        if not self.path.endswith(answer.path):
            self.send_error(404)
        elif answer.status == 200 and asked.get("stream"):
            self._stream(answer, asked)
        else:
            self._send(answer)

    def _send(self, answer: Shape) -> None:
        signed = self.headers["Authorization"] or self.headers["x-api-key"] or ""
        body = json.dumps(answer.whole).replace("{key}", signed).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if answer.status != 200:
            self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if answer.breaks_off else body)
        self.close_connection = answer.breaks_off

    def _stream(self, answer: Shape, asked: Json) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        events = answer.events(asked)
        for event in events[: len(events) // 2] if answer.breaks_off else events:
            name = f"event: {event['type']}\n" if "type" in event else ""
            self._send_chunk(f"{name}data: {json.dumps(event)}\n\n".encode())
        if not answer.breaks_off:
            if answer.end:
                self._send_chunk(answer.end)
            self._send_chunk(b"")
        self.close_connection = answer.breaks_off

    def _send_chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Say nothing: a test has output of its own."""


def _deltas(message: Json) -> list[Json]:
    """Return the deltas in which chat completions stream a message."""
    deltas: list[Json] = [
        {key: word}
        for key in ("content", "refusal")
        for word in words(message.get(key) or "")
    ]
    for index, call in enumerate(message.get("tool_calls", ())):
        function = call["function"]
        begun = {**call, "index": index, "function": {**function, "arguments": ""}}
        deltas.append({"tool_calls": [begun]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
            for piece in words(function["arguments"])
        ]
    return deltas


def _events_of(item: Json) -> list[Json]:
    """Return the events in which the Responses API streams one item of output."""
    at = {"item_id": item["id"]}
    if item["type"] == "message":
        begun = {**item, "status": "in_progress", "content": []}
        inside = [
            {**at, "content_index": index, **event}
            for index, part in enumerate(item["content"])
            for event in _events_of_part(part)
        ]
    elif item["type"] == "function_call":
        arguments, kind = item["arguments"], "response.function_call_arguments"
        begun = {**item, "status": "in_progress", "arguments": ""}
        inside = [
            {**at, "type": f"{kind}.delta", "delta": word} for word in words(arguments)
        ]
        inside.append({**at, "type": f"{kind}.done", "arguments": arguments, "name": "f"})
    elif item["type"] == "reasoning":
        begun = {**item, "summary": []}
        inside = [
            {**at, "summary_index": index, **event}
            for index, part in enumerate(item["summary"])
            for event in _events_of_summary(part)
        ]
    else:
        kind = f"response.{item['type']}"
        begun = {**item, "status": "in_progress"}
        inside = [{**at, "type": f"{kind}.{step}"} for step in ("in_progress", "completed")]
    return [
        {"type": "response.output_item.added", "item": begun},
        *inside,
        {"type": "response.output_item.done", "item": item},
    ]


def _events_of_part(part: Json) -> list[Json]:
    key = "text" if part["type"] == "output_text" else "refusal"
    kind = f"response.{part['type']}"
    more: Json = {"logprobs": []} if key == "text" else {}
    return [
        {"type": "response.content_part.added", "part": {**part, key: ""}},
        *({"type": f"{kind}.delta", "delta": word, **more} for word in words(part[key])),
        {"type": f"{kind}.done", key: part[key], **more},
        {"type": "response.content_part.done", "part": part},
    ]


def _events_of_summary(part: Json) -> list[Json]:
    kind = "response.reasoning_summary"
    return [
        {"type": f"{kind}_part.added", "part": {**part, "text": ""}},
        *({"type": f"{kind}_text.delta", "delta": word} for word in words(part["text"])),
        {"type": f"{kind}_text.done", "text": part["text"]},
        {"type": f"{kind}_part.done", "part": part},
    ]
