"""A loopback server that speaks what LangChain's OpenAI clients ask for.

Its answers are echoes, and its token counts are words, so a test knows both beforehand.
A model named `broken` answers 500.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "echo-1"


def answer_to(prompt: str) -> str:
    """Return what the server answers to a prompt."""
    return f"You said: {prompt}"


def usage_of(prompts: list[str], answers: list[str]) -> dict[str, int]:
    """Return what the server counts for them."""
    asked = sum(len(prompt.split()) for prompt in prompts)
    answered = sum(len(answer.split()) for answer in answers)
    return {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
    }


@contextmanager
def serve_openai() -> Iterator[str]:
    """Serve on a free port of 127.0.0.1; yields the base URL for the clients."""
    http = _Server(("127.0.0.1", 0), _Request)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}/v1"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that left a stream."""


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer as OpenAI does; one model is broken, and leaks a key in its error."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["model"] == "broken":
            self._send({"error": {"message": "no sk-test-12345678 here"}}, status=500)
        elif self.path.endswith("/chat/completions"):
            self._chat(asked)
        else:
            self._complete(asked)

    def _chat(self, asked: dict[str, Any]) -> None:
        prompts = [str(message["content"]) for message in asked["messages"]]
        answer = answer_to(prompts[-1])
        choices = asked.get("n") or 1
        usage = usage_of(prompts, [answer] * choices)
        head = {"id": "chat-1", "created": 1, "model": MODEL}
        if not asked.get("stream"):
            self._send(
                {
                    **head,
                    "object": "chat.completion",
                    "choices": [
                        {
                            "index": index,
                            "finish_reason": "stop",
                            "message": {"role": "assistant", "content": answer},
                        }
                        for index in range(choices)
                    ],
                    "usage": usage,
                }
            )
            return
        head["object"] = "chat.completion.chunk"
        words = [f"{word} " for word in answer.split()]
        chunks: list[dict[str, Any]] = [
            {**head, "choices": [{"index": 0, "delta": {"content": word}}]}
            for word in [*words[:-1], words[-1].rstrip()]
        ]
        chunks.append(
            {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        )
        if (asked.get("stream_options") or {}).get("include_usage"):
            chunks.append({**head, "choices": [], "usage": usage})
        self._stream(chunks)

    def _complete(self, asked: dict[str, Any]) -> None:
        prompt = asked["prompt"]
        prompts = [prompt] if isinstance(prompt, str) else prompt
        answers = [answer_to(prompt) for prompt in prompts]
        self._send(
            {
                "id": "completion-1",
                "object": "text_completion",
                "created": 1,
                "model": MODEL,
                "choices": [
                    {"index": index, "text": answer, "finish_reason": "stop"}
                    for index, answer in enumerate(answers)
                ],
                "usage": usage_of(prompts, answers),
            }
        )

    def _send(self, body: dict[str, Any], *, status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, chunks: list[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing: a test has output of its own."""
