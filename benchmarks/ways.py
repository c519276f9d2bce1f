"""The ways of recording that are measured against one another, around one fake model."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import structlog
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from trubrics_trace import configure, flush, trubrics_trace
from trubrics_trace.testing import capture_prompts

QUESTION = "Where is my parcel? It was to be here on Tuesday."
ANSWER = "It left Lyon this morning, and reaches you today before six."

# Who is asked, and in what order a record goes through more hands. A traced function is
# handed the user, and names it by a callable.
STAGES = (
    "nothing",
    "no-op handler",
    "switched off",
    "scope and record",
    "and structlog to a file",
    "and a durable spool",
    "and delivery",
)


class Model(BaseChatModel):
    """Answers at once, and counts its tokens."""

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        message = AIMessage(
            content=ANSWER,
            usage_metadata={"input_tokens": 14, "output_tokens": 15, "total_tokens": 29},
            response_metadata={"model_name": "fake-1", "finish_reason": "stop"},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, *_: Any, **__: Any) -> ChatResult:
        return self._generate()

    @property
    def _llm_type(self) -> str:
        return "fake"


class Recording:
    """One way of recording: how a user is answered, and how its records are awaited."""

    def __init__(
        self, *handlers: Any, model: Model | None = None, question: str = QUESTION
    ) -> None:
        config: Any = {"callbacks": list(handlers)} if handlers else None
        asked = model or Model()

        def ask(user: str) -> str:
            return str(asked.invoke(question, config).content)

        async def aask(user: str) -> str:
            return str((await asked.ainvoke(question, config)).content)

        self.ask, self.aask = ask, aask
        self.finish: Callable[[], object] = lambda: None

    def traced(self, tags: Sequence[str] = ("support",)) -> None:
        """Record by the decorator."""
        trace = trubrics_trace(user_id=lambda user: user, tags=tags)
        self.ask, self.aask = trace(self.ask), trace(self.aask)

    def tracked(self, track: Callable[[str, str], object]) -> None:
        """Record by hand, after each call."""
        ask, aask = self.ask, self.aask

        def asked(user: str) -> str:
            answer = ask(user)
            track(user, answer)
            return answer

        async def aasked(user: str) -> str:
            answer = await aask(user)
            track(user, answer)
            return answer

        self.ask, self.aask = asked, aasked


class NoOp(BaseCallbackHandler):
    """Hears of everything, and does nothing: what no handler can be cheaper than."""

    run_inline = True


@contextlib.contextmanager
def recording(name: str, url: str) -> Iterator[Recording]:
    """Yield what records in one way."""
    if name == "nothing":
        yield Recording()
    elif name == "no-op handler":
        yield Recording(NoOp())
    elif name in STAGES:
        with traced_up_to(STAGES.index(name), url) as way:
            yield way
    else:
        yield PEERS[name](url)


@contextlib.contextmanager
def traced_up_to(stage: int, url: str) -> Iterator[Recording]:
    """Yield what records with ours, through so many hands."""
    way = Recording()
    way.traced()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as around:
        logging.getLogger("trubrics_trace").setLevel(logging.ERROR)  # where it lies
        if stage >= STAGES.index("and structlog to a file"):
            path = Path(folder, "app.log")
            log_json_to(around.enter_context(path.open("wb")))
        if stage < STAGES.index("and a durable spool"):
            around.enter_context(capture_prompts())
        is_sent = stage == STAGES.index("and delivery")
        configure(
            enabled=stage > STAGES.index("switched off"),
            spool_dir=Path(folder, "spool"),
            api_key="key" if is_sent else None,
            host=url,
        )
        if is_sent:
            way.finish = lambda: flush(timeout=30) or sys.exit("not all was delivered")
        yield way


def log_json_to(file: BinaryIO) -> None:
    """Configure structlog, word for word, as its page on performance has it."""
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        logger_factory=structlog.BytesLoggerFactory(file),
    )


def by_hand(url: str) -> Recording:
    """Return what tracks with the official client."""
    from trubrics import Trubrics

    client, way = Trubrics(api_key="key", host=url), Recording()
    way.tracked(lambda user, answer: client.track_llm(user, QUESTION, answer))
    way.finish = client.flush
    return way


def langfuse(url: str) -> Recording:
    """Return what records with Langfuse's handler."""
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler

    client = Langfuse(public_key="key", secret_key="key", base_url=url)  # noqa: S106 - none
    way = Recording(CallbackHandler())
    way.finish = client.flush
    return way


def lunary(url: str) -> Recording:
    """Return what records with Lunary's handler."""
    from lunary import LunaryCallbackHandler

    return Recording(LunaryCallbackHandler(app_id="key", api_url=url))


PEERS: dict[str, Callable[[str], Recording]] = {
    "track_llm by hand": by_hand,
    "langfuse": langfuse,
    "lunary": lunary,
}
