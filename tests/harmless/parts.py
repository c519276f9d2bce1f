"""What these tests share: ways of calling a model, and faults to plant around them."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr
from typing import Any

import structlog
from langchain_core.language_models import FakeListChatModel

from trubrics_trace import TrubricsCallbackHandler, configure, trubrics_scope
from trubrics_trace import trubrics_trace as trace

ANSWER = "42"
WORDS = "words of the app's own"  # what its errors say, and no notice may repeat
NOTICE = "your code is running fine, with less telemetry: "


class OddError(BaseException):
    """An error of the app's own making that is no `Exception`."""


WISHES = [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError]


def model() -> FakeListChatModel:
    """Return a model that always answers the same."""
    return FakeListChatModel(responses=[ANSWER])


def invoke(**said: Any) -> str:
    """Ask inside a scope."""
    with trubrics_scope(**said):
        return str(model().invoke("Hi").content)


def ainvoke(**said: Any) -> str:
    """Ask inside a scope, in a loop."""

    async def main() -> str:
        async with trubrics_scope(**said):
            return str((await model().ainvoke("Hi")).content)

    return asyncio.run(main())


def stream(**said: Any) -> str:
    """Stream inside a scope."""
    with trubrics_scope(**said):
        return "".join(str(piece.content) for piece in model().stream("Hi"))


def astream(**said: Any) -> str:
    """Stream inside a scope, in a loop."""

    async def main() -> str:
        with trubrics_scope(**said):
            return "".join([str(piece.content) async for piece in model().astream("Hi")])

    return asyncio.run(main())


def decorated(**said: Any) -> str:
    """Ask in a traced function."""

    @trace(**said)
    def chat() -> str:
        return str(model().invoke("Hi").content)

    return chat()


def decorated_async(**said: Any) -> str:
    """Ask in a traced coroutine function."""

    @trace(**said)
    async def chat() -> str:
        return str((await model().ainvoke("Hi")).content)

    return asyncio.run(chat())


def decorated_stream(**said: Any) -> str:
    """Consume a traced generator."""

    @trace(**said)
    def chat() -> Iterator[str]:
        for piece in model().stream("Hi"):
            yield str(piece.content)

    return "".join(chat())


def decorated_astream(**said: Any) -> str:
    """Consume a traced async generator."""

    @trace(**said)
    async def chat() -> AsyncIterator[str]:
        async for piece in model().astream("Hi"):
            yield str(piece.content)

    async def main() -> str:
        return "".join([piece async for piece in chat()])

    return asyncio.run(main())


def by_hand(**said: Any) -> str:
    """Ask with a handler that is passed by hand."""
    handler = TrubricsCallbackHandler(**said)
    return str(model().invoke("Hi", config={"callbacks": [handler]}).content)


def by_hand_async(**said: Any) -> str:
    """Ask with a handler that is passed by hand, in a loop."""
    handler = TrubricsCallbackHandler(**said)
    answer = model().ainvoke("Hi", config={"callbacks": [handler]})
    return str(asyncio.run(answer_of(answer)).content)


async def answer_of(answer: Any) -> Any:
    """Await what may be any awaitable."""
    return await answer


Way = Callable[..., str]
WAYS: list[Way] = [
    invoke,
    ainvoke,
    stream,
    astream,
    decorated,
    decorated_async,
    decorated_stream,
    decorated_astream,
    by_hand,
    by_hand_async,
]


def raising(error: BaseException) -> Callable[..., Any]:
    """Return a function that raises this, whatever it is given."""

    def raise_it(*_: Any) -> Any:
        raise error

    return raise_it


ASKED_OF_A_VALUE = (
    "__bool__",
    "__contains__",
    "__eq__",
    "__float__",
    "__format__",
    "__getattr__",
    "__getitem__",
    "__int__",
    "__iter__",
    "__len__",
    "__lt__",
    "__repr__",
    "__str__",
)


def spoiled(error: BaseException, base: type = object, *arguments: Any) -> Any:
    """Return a value of a class below `base` that raises whatever it is asked."""

    def raise_it(*_: Any) -> Any:
        raise error

    members = {**dict.fromkeys(ASKED_OF_A_VALUE, raise_it), "__hash__": base.__hash__}
    if issubclass(base, BaseException):
        del members["__getattr__"]  # LangChain asks an error for its response
    kind = type("Spoiled", (base,), members)
    return kind(*arguments)


class RaisingStream(io.StringIO):
    """A stream that cannot be written to."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def write(self, text: str) -> int:
        """Raise."""
        raise self._error


class RaisingHandler(logging.Handler):
    """A handler of the app's that raises, and does not catch what it raises."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def emit(self, record: logging.LogRecord) -> None:
        """Raise."""
        raise self._error


@contextmanager
def raising_processor(error: BaseException) -> Iterator[None]:
    """Let the app's own structlog processors raise."""
    structlog.configure(processors=[raising(error)])
    try:
        yield
    finally:
        structlog.reset_defaults()


@contextmanager
def raising_handler(
    error: BaseException, level: int = logging.NOTSET, name: str = "trubrics_trace"
) -> Iterator[None]:
    """Let a handler of standard logging raise, for what is of a level, or any."""
    logger, handler = logging.getLogger(name), RaisingHandler(error)
    handler.addFilter(lambda record: level in (logging.NOTSET, record.levelno))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


@contextmanager
def raising_filter(
    error: BaseException, level: int = logging.NOTSET, name: str = "trubrics_trace"
) -> Iterator[None]:
    """Let a filter of standard logging raise, for what is of a level, or any."""
    logger = logging.getLogger(name)

    def filter_it(record: logging.LogRecord) -> bool:
        if level in (logging.NOTSET, record.levelno):
            raise error
        return True

    before = logger.level
    logger.addFilter(filter_it)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeFilter(filter_it)


@dataclasses.dataclass(frozen=True)
class Fault:
    """Something of the app's that raises, and what is then counted and said.

    Attributes:
        reason: Under what it is counted in `noticed`, and raised when strict.
        says: What the notice names: the value, its place, and the remedy.
        keywords: What the scope, the decorator or the handler is given.
        settings: What `configure` is given.
        around: What surrounds the calls.
        also: What is counted beside it.
        skipped: What is counted in `skipped`: then there is no record.
    """

    reason: str
    says: tuple[str, ...]
    keywords: Callable[[BaseException], dict[str, Any]] = lambda error: {}
    settings: Callable[[BaseException], dict[str, Any]] = lambda error: {}
    around: Callable[[BaseException], AbstractContextManager[Any]] = lambda _: nullcontext()
    also: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @contextmanager
    def planted(self, error: BaseException, **settings: Any) -> Iterator[dict[str, Any]]:
        """Yield what to say to a scope, while the fault is there."""
        configure(**{**self.settings(error), **settings})
        with self.around(error):
            yield {"user_id": "alice", **self.keywords(error)}


def _callable(name: str, *also: str) -> Fault:
    return Fault(
        f"{'metadata' if name == 'plan' else name}_failed",
        (f"{name}=", "parts.py:", "mend it"),
        keywords=lambda error: {name: raising(error)},
        also=also,
    )


FAULTS = {
    "user": _callable("user_id", "without_user"),
    "thread": _callable("thread_id"),
    "session": _callable("session_id"),
    "assistant": _callable("assistant_id"),
    "run name": _callable("run_name"),
    "tags": _callable("tags"),
    "metadata": _callable("metadata"),
    "one of metadata": _callable("plan"),
    "value of metadata": Fault(
        "untellable_value",
        ("Spoiled", "parts.py:", "mend"),
        keywords=lambda error: {"plan": spoiled(error)},
    ),
    "before_send": Fault(
        "before_send_failed",
        ("before_send=", "parts.py:", "mend"),
        settings=lambda error: {"before_send": raising(error)},
        skipped=("before_send_failed",),
    ),
    "redactor": Fault(
        "redactor_failed",
        ("raise_it", "parts.py:", "mend"),
        settings=lambda error: {"redact": raising(error)},
    ),
    "second redactor": Fault(
        "redactor_failed",
        ("raise_it", "parts.py:", "mend"),
        settings=lambda error: {"redact": [str.upper, raising(error)]},
    ),
    "processor": Fault(
        "log_failed",
        ("a record was not logged", "parts.py:", "mend"),
        around=raising_processor,
    ),
    "handler": Fault(
        "log_failed",
        ("a record was not logged", "parts.py:", "mend"),
        around=lambda error: raising_handler(error, logging.INFO),
    ),
    "filter": Fault(
        "log_failed",
        ("a record was not logged", "parts.py:", "mend"),
        around=lambda error: raising_filter(error, logging.INFO),
    ),
    "console": Fault(
        "console_failed",
        ("stderr", "parts.py:", "mend"),
        settings=lambda error: {"console": True},
        around=lambda error: redirect_stderr(RaisingStream(error)),
    ),
}


def notices(messages: Iterable[str]) -> list[str]:
    """Return those of the messages that tell of a fault."""
    return [message for message in messages if message.startswith(NOTICE)]
