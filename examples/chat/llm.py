"""The language model that answers: a real small one, or a script, said aloud.

Either counts for itself what it was asked. That count knows nothing of LangChain's
callbacks, so it can bear witness against them.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr, SecretStr

from . import smollm2
from .screen import progress

ANSWER_TOKENS = 24
STOP_SECONDS = 5
WORD_SECONDS = 0.05


class ModelError(Exception):
    """The real model's server did not come up."""


@dataclass(frozen=True, slots=True)
class Llm:
    """A chat model, and the number of requests that it counted itself."""

    name: str
    witness: str
    chat: BaseChatModel
    requests: Callable[[], int]


@contextmanager
def real_llm(log: Path) -> Iterator[Llm]:
    """Run SmolLM2 in a process of its own, which is gone when the block is left."""
    with log.open("wb") as lines, _server(lines) as url:
        chat = ChatOpenAI(
            base_url=f"{url}/v1",
            api_key=SecretStr("none"),  # the server needs none, the client wants one
            model=smollm2.NAME,
            max_completion_tokens=ANSWER_TOKENS,
            max_retries=0,  # a second try would be a second request
            stream_usage=True,
        )
        yield Llm(
            "SmolLM2-135M", "in its server's own log", chat, lambda: _requests_in(log)
        )


@contextmanager
def scripted_llm() -> Iterator[Llm]:
    """Do without a model: the same words for everybody, at a model's pace."""
    chat = ScriptedChatModel()
    yield Llm("a script", "by its own count", chat, chat.requests)


class ScriptedChatModel(BaseChatModel):
    """langchain-core's chat model over a fixed answer, told a word at a time."""

    answer: str = "Nobody thought about this , somebody only wrote it down ."
    _asked: list[int] = PrivateAttr(default_factory=list)

    def requests(self) -> int:
        """Return how often it was asked."""
        return len(self._asked)

    def _stream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> Iterator[ChatGenerationChunk]:
        words_in = sum(len(str(message.content).split()) for message in messages)
        self._asked.append(words_in)
        for place, word in enumerate(self.answer.split()):
            time.sleep(WORD_SECONDS)
            told = words_in if place == 0 else 0
            usage = UsageMetadata(input_tokens=told, output_tokens=1, total_tokens=told + 1)
            chunk = AIMessageChunk(content=f"{word} ", usage_metadata=usage)
            yield ChatGenerationChunk(message=chunk)

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return generate_from_stream(self._stream(messages))

    @property
    def _llm_type(self) -> str:
        return "scripted"


@contextmanager
def _server(log: Any) -> Iterator[str]:
    command, pipe = [sys.executable, "-m", smollm2.__name__], subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=log, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            with progress("starting SmolLM2 on this machine"):
                url = server.stdout.readline().strip()
            if not url:
                message = f"the model's server {_fate(server.wait())}"
                raise ModelError(message)
            yield url
        finally:
            server.stdin.close()  # its sign to go
            try:
                server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()


def _fate(code: int) -> str:
    return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def _requests_in(log: Path) -> int:
    """Count one line a prompt, written when it is taken up, whatever comes of it."""
    return log.read_text(errors="replace").count("| processing task, is_child = 0")
