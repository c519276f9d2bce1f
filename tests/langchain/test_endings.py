"""How calls end, hundreds of times each: told once, and nothing of them is left behind.

`stopped`: the consumer left a stream; `cancelled`: the task was cancelled; and a call that
did finish is `complete`, whatever came after. Each test runs in one loop, which goes on:
what has ended is told there, and not only when the loop or the process is over.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models import LLM, BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
    GenerationChunk,
)
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from starlette.responses import StreamingResponse

from trubrics_trace import PromptRecord, trubrics_scope
from trubrics_trace.integrations.asgi import TrubricsMiddleware
from trubrics_trace.langchain._turns import turns

RUNS = 200  # of each; a thousand take half a minute, and are told the same
DEADLINE_SECONDS = 50.0

WORDS = ("One", " two", " three")
READ = "One two"  # what a consumer has read that leaves after the second
ANSWER = "One two three"

# By question: set when its call has begun to wait for what never comes.
Held = defaultdict[str, asyncio.Event]


async def hold(held: Held, question: str) -> None:
    """Wait for ever, where the question says so."""
    if question.startswith("Hold"):
        held[question].set()
        await asyncio.get_running_loop().create_future()


class Chat(BaseChatModel):
    """A chat model that is fast, or waits for ever after its second word."""

    held: Any

    @property
    def _llm_type(self) -> str:
        return "chat"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(ANSWER))])

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Any:
        await hold(self.held, str(messages[0].content))
        return self._generate()

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        for word in WORDS:
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for word in WORDS:
            if word == WORDS[2]:
                await hold(self.held, str(messages[0].content))
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))


class Completion(LLM):
    """A completion model that is fast, or waits for ever after its second word."""

    held: Any

    @property
    def _llm_type(self) -> str:
        return "completion"

    def _call(self, *_: Any, **__: Any) -> str:
        return ANSWER

    async def _acall(self, prompt: str, *_: Any, **__: Any) -> str:
        await hold(self.held, prompt)
        return ANSWER

    # Of a completion's words LangChain tells nobody; models that stream do so themselves.
    def _stream(
        self, *_: Any, run_manager: Any = None, **__: Any
    ) -> Iterator[GenerationChunk]:
        for word in WORDS:
            run_manager.on_llm_new_token(word)
            yield GenerationChunk(text=word)

    async def _astream(
        self, prompt: str, *_: Any, run_manager: Any = None, **__: Any
    ) -> AsyncIterator[GenerationChunk]:
        for word in WORDS:
            if word == WORDS[2]:
                await hold(self.held, prompt)
            await run_manager.on_llm_new_token(word)
            yield GenerationChunk(text=word)


class Models:
    """A chat model, a completion model, and a chain, asked by turns."""

    def __init__(self) -> None:
        self.held: Held = defaultdict(asyncio.Event)
        chat, same = Chat(held=self.held), RunnableLambda[str, str](str)
        self.kinds: list[Runnable[Any, Any]] = [
            chat,
            Completion(held=self.held),
            same | chat,
        ]

    def of(self, number: int) -> Runnable[Any, Any]:
        """Return what this run asks."""
        return self.kinds[number % len(self.kinds)]


@pytest.fixture
def models() -> Models:
    """Return models that hold nobody yet, where nothing is left of another test."""
    turns.clear()
    return Models()


def told(records: list[PromptRecord]) -> Counter[tuple[str, str | None, bool]]:
    """Return how often it ended how, with what text, and whether under its own user."""
    return Counter(
        (
            record.status,
            record.generation,
            record.prompt.split()[-1] == record.user_id,
        )
        for record in records
    )


def users(records: list[PromptRecord]) -> int:
    """Return of how many users there are records."""
    return len({record.user_id for record in records})


def left() -> tuple[int, int, int]:
    """Return how many notes there are after a collection, and one more scope's end."""
    gc.collect()
    with trubrics_scope():
        pass
    return len(turns._turns), len(turns._runs), len(turns._orphans)


async def until(is_so: Callable[[], object]) -> None:
    """Let the loop go on until something is so, or it is plainly not going to be."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_SECONDS
    while not is_so() and loop.time() < deadline:
        await asyncio.sleep(0.001)


async def all_told(records: list[PromptRecord], calls: int = RUNS) -> None:
    """Let the loop go on until each call is told: nobody flushes, no scope closes."""
    if len(records) < calls:
        gc.collect()
    await until(lambda: len(records) >= calls)
    for _ in range(10):  # should more come than have been made
        await asyncio.sleep(0)


async def each(run: Callable[[int], Awaitable[object]], runs: int = RUNS) -> None:
    """Await so many runs at once, each in the scope of a user of its own."""

    async def one(number: int) -> None:
        with trubrics_scope(user_id=str(number)):
            await run(number)

    await asyncio.gather(*(one(number) for number in range(runs)))


# A stream is left after its second word.


def read_and_break(stream: Iterator[Any]) -> None:
    """Leave a loop over the stream."""
    for count, _ in enumerate(stream, 1):
        if count == 2:
            break


def read_and_close(stream: Any) -> None:
    """Close the stream."""
    next(stream)
    next(stream)
    stream.close()


def read_and_drop(stream: Iterator[Any]) -> None:
    """Forget the stream."""
    next(stream)
    next(stream)


def read_and_drop_in_a_cycle(stream: Iterator[Any]) -> None:
    """Leave the stream to the garbage collector."""
    cycle: list[Any] = [stream]
    cycle.append(cycle)
    next(stream)
    next(stream)


@pytest.mark.parametrize(
    "leave", [read_and_break, read_and_close, read_and_drop, read_and_drop_in_a_cycle]
)
def test_a_stream_that_is_left(
    leave: Callable[[Iterator[Any]], None],
    models: Models,
    captured_prompts: list[PromptRecord],
) -> None:
    """It is stopped, with what was read of it, however its consumer leaves it."""

    async def main() -> None:
        for number in range(RUNS):
            with trubrics_scope(user_id=str(number)):
                leave(models.of(number).stream(f"Say {number}"))
        await all_told(captured_prompts)
        assert (0, 0, 0) == left()

    asyncio.run(main())
    assert {("stopped", READ, True): RUNS} == told(captured_prompts)
    assert RUNS == users(captured_prompts)


async def aread_and_break(stream: AsyncIterator[Any]) -> None:
    """Leave a loop over the stream."""
    count = 0
    async for _ in stream:
        count += 1
        if count == 2:
            break


async def aread_and_close(stream: Any) -> None:
    """Close the stream."""
    await stream.__anext__()
    await stream.__anext__()
    await stream.aclose()


async def aread_and_drop(stream: AsyncIterator[Any]) -> None:
    """Forget the stream."""
    await stream.__anext__()
    await stream.__anext__()


async def aread_and_drop_in_a_cycle(stream: AsyncIterator[Any]) -> None:
    """Leave the stream to the garbage collector."""
    cycle: list[Any] = [stream]
    cycle.append(cycle)
    await stream.__anext__()
    await stream.__anext__()


each_way_to_leave = pytest.mark.parametrize(
    "leave", [aread_and_break, aread_and_close, aread_and_drop, aread_and_drop_in_a_cycle]
)


@each_way_to_leave
def test_an_async_stream_that_is_left(
    leave: Callable[[AsyncIterator[Any]], Awaitable[None]],
    models: Models,
    captured_prompts: list[PromptRecord],
) -> None:
    """It is stopped, with what was read of it, however its consumer leaves it."""

    async def main() -> None:
        await each(lambda n: leave(models.of(n).astream(f"Hold {n}")))
        await all_told(captured_prompts)
        assert (0, 0, 0) == left()

    asyncio.run(main())
    assert {("stopped", READ, True): RUNS} == told(captured_prompts)
    assert RUNS == users(captured_prompts)


def test_streams_that_are_never_begun(
    models: Models, captured_prompts: list[PromptRecord]
) -> None:
    """Nobody was asked, so nothing is told and nothing noted."""

    async def main() -> None:
        with trubrics_scope(user_id="alice"):
            for number in range(RUNS):
                models.of(number).stream(f"Say {number}")
                models.of(number).astream(f"Say {number}")
                models.of(number).ainvoke(f"Say {number}").close()
        assert (0, 0, 0) == left()

    asyncio.run(main())
    assert [] == captured_prompts


def test_an_async_stream_that_the_end_of_the_loop_finds(
    models: Models, captured_prompts: list[PromptRecord]
) -> None:
    """A stream that somebody keeps half read is stopped when the loop shuts down."""
    kept: list[AsyncIterator[Any]] = []

    async def begin(number: int) -> None:
        kept.append(models.of(number).astream(f"Hold {number}"))
        await aread_and_drop(kept[-1])

    asyncio.run(each(begin))
    kept.clear()
    assert (0, 0, 0) == left()
    assert {("stopped", READ, True): RUNS} == told(captured_prompts)


# A task is cancelled while the model is busy.


async def read(stream: AsyncIterator[Any]) -> None:
    """Read a stream to its end."""
    async for _ in stream:
        pass


async def cancel(task: asyncio.Future[Any]) -> BaseException:
    """Cancel a task, and return what it ends with."""
    task.cancel()
    try:
        await task
    except asyncio.CancelledError as error:
        return error
    raise AssertionError


def test_a_stream_whose_task_is_cancelled(
    models: Models, captured_prompts: list[PromptRecord]
) -> None:
    """It is cancelled, with what had come."""

    async def run(number: int) -> None:
        question = f"Hold {number}"
        task = asyncio.create_task(read(models.of(number).astream(question)))
        await models.held[question].wait()
        await cancel(task)

    async def main() -> None:
        await each(run)
        await all_told(captured_prompts)
        assert (0, 0, 0) == left()

    asyncio.run(main())
    assert {("cancelled", READ, True): RUNS} == told(captured_prompts)
    assert RUNS == users(captured_prompts)


class KeepsIds(BaseCallbackHandler):
    """Somebody else's handler, which remembers each run by its id."""

    def __init__(self) -> None:
        self.ids: list[UUID] = []

    def on_chat_model_start(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Remember a run."""
        self.ids.append(run_id)

    def on_llm_start(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Remember a run."""
        self.ids.append(run_id)


@pytest.mark.parametrize("scope_closes", ["before", "after"])
def test_a_call_that_is_cancelled(
    scope_closes: str, models: Models, captured_prompts: list[PromptRecord]
) -> None:
    """It is cancelled, whatever the app keeps of it, and whenever its scope closes.

    LangChain reports no end of it at all. By turns the app keeps nothing, the error, the
    task, and the id of the run.
    """
    kept: list[Any] = []
    handler = KeepsIds()

    async def end(number: int, task: asyncio.Task[Any]) -> None:
        error = await cancel(task)
        kept.append([None, error, task, None][number // 3 % 4])

    async def run(number: int) -> None:
        question = f"Hold {number}"
        config = RunnableConfig(callbacks=[handler]) if number // 3 % 4 == 3 else None
        with trubrics_scope(user_id=str(number)):
            task = asyncio.create_task(models.of(number).ainvoke(question, config))
            await models.held[question].wait()
            if scope_closes == "after":
                await end(number, task)
        if scope_closes == "before":
            await end(number, task)

    async def main() -> None:
        await asyncio.gather(*(run(number) for number in range(RUNS)))
        await all_told(captured_prompts)
        assert 0 == len(turns._turns)
        kept.clear()
        handler.ids.clear()
        # A thread of it holds what it has run a moment longer than its future says.
        await asyncio.get_running_loop().shutdown_default_executor()
        assert (0, 0, 0) == left()

    asyncio.run(main())
    assert {("cancelled", None, True): RUNS} == told(captured_prompts)
    assert RUNS == users(captured_prompts)


def test_a_call_whose_task_cancels_itself_and_goes_on(
    models: Models, captured_prompts: list[PromptRecord]
) -> None:
    """A worker that keeps the error of each call, and never ends, has each told in time."""
    kept: list[BaseException] = []
    asking: list[asyncio.Task[None]] = []

    async def worker() -> None:
        for number in range(RUNS):
            with trubrics_scope(user_id=str(number)):
                try:
                    await models.of(number).ainvoke(f"Hold {number}")
                except asyncio.CancelledError as error:
                    kept.append(error)
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        asking.append(asyncio.create_task(worker()))
        for number in range(RUNS):
            await models.held[f"Hold {number}"].wait()
            asking[0].cancel()
        await all_told(captured_prompts)
        assert not asking[0].done()
        assert 0 == len(turns._turns)
        kept.append(await cancel(asking[0]))

    asyncio.run(main())
    kept.clear()
    assert (0, 0, 0) == left()
    assert {("cancelled", None, True): RUNS} == told(captured_prompts)
    assert RUNS == users(captured_prompts)


# Who is asked, and how its two calls end that are made at once.
BATCHES: list[tuple[int, dict[tuple[str, str | None, bool], int]]] = [
    (0, {("complete", ANSWER, True): RUNS, ("cancelled", None, True): RUNS}),
    # A completion model is asked for all at once, and reports none before the last.
    (1, {("cancelled", None, True): 2 * RUNS}),
    (2, {("complete", ANSWER, True): RUNS, ("cancelled", None, True): RUNS}),
]


@pytest.mark.parametrize(("kind", "expected"), BATCHES, ids=["chat", "completion", "chain"])
def test_abatch_cancelled_half_way(
    kind: int,
    expected: dict[tuple[str, str | None, bool], int],
    models: Models,
    captured_prompts: list[PromptRecord],
) -> None:
    """What had its answer is complete, the rest cancelled; every other error is kept."""
    kept: list[BaseException] = []
    finished = expected.get(("complete", ANSWER, True), 0)

    async def run(number: int) -> None:
        questions = [f"Say {number}", f"Hold {number}"]
        task = asyncio.create_task(models.of(kind).abatch(questions))
        await models.held[questions[1]].wait()
        await until(lambda: len(captured_prompts) >= finished)
        error = await cancel(task)
        kept.extend([error] * (number % 2))

    async def main() -> None:
        await each(run)
        await all_told(captured_prompts, 2 * RUNS)
        assert 0 == len(turns._turns)
        kept.clear()
        assert (0, 0, 0) == left()

    asyncio.run(main())
    assert expected == told(captured_prompts)
    assert RUNS == users(captured_prompts)


# A time is up. No time passes: the limit is drawn when the model has begun to wait.


async def within_wait_for(work: Awaitable[Any], held: asyncio.Event) -> None:
    """Await it within `asyncio.wait_for`."""
    task = asyncio.ensure_future(work)
    await held.wait()
    await asyncio.wait_for(task, 0)


LIMITS: list[Callable[[Awaitable[Any], asyncio.Event], Awaitable[None]]] = [within_wait_for]

if sys.version_info >= (3, 11):

    async def within_timeout(work: Awaitable[Any], held: asyncio.Event) -> None:
        """Await it within `asyncio.timeout`."""
        async with asyncio.timeout(None) as limit:

            async def draw() -> None:
                await held.wait()
                limit.reschedule(asyncio.get_running_loop().time())

            drawing = asyncio.create_task(draw())
            await work
            await drawing

    LIMITS.append(within_timeout)


@pytest.mark.parametrize("limited", LIMITS)
@pytest.mark.parametrize(("is_stream", "text"), [(False, None), (True, READ)])
def test_a_time_that_is_up(
    is_stream: bool,
    text: str | None,
    limited: Callable[[Awaitable[Any], asyncio.Event], Awaitable[None]],
    models: Models,
    captured_prompts: list[PromptRecord],
) -> None:
    """The call is cancelled, with what had come; every other error is kept."""
    kept: list[BaseException] = []

    async def run(number: int) -> None:
        model, question = models.of(number), f"Hold {number}"
        work = read(model.astream(question)) if is_stream else model.ainvoke(question)
        try:
            await limited(work, models.held[question])
        except asyncio.TimeoutError as error:
            kept.extend([error] * (number % 2))

    async def main() -> None:
        await each(run)
        await all_told(captured_prompts)
        assert 0 == len(turns._turns)
        kept.clear()
        assert (0, 0, 0) == left()

    asyncio.run(main())
    assert {("cancelled", text, True): RUNS} == told(captured_prompts)
    assert RUNS == users(captured_prompts)


# A client disconnects.


class Client:
    """A client that goes when it has read two parts.

    Args:
        path: What it asks for: a slash and a number.
        model_waits: Set when there is no more to be read.
    """

    def __init__(self, path: str, model_waits: asyncio.Event) -> None:
        self.scope = {"type": "http", "path": path, "headers": []}
        self._model_waits = model_waits
        self._has_asked = False
        self._parts = 0

    async def receive(self) -> MutableMapping[str, Any]:
        """Ask, and then say that it has gone."""
        if not self._has_asked:
            self._has_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._model_waits.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take what the app sends."""

    async def refuse(self, message: MutableMapping[str, Any]) -> None:
        """Take the first part, and refuse what follows, as servers may by ASGI 2.4."""
        self._parts += bool(message.get("body"))
        if self._parts == 2:
            raise OSError("the client has gone")


async def texts(parts: AsyncIterator[Any]) -> AsyncIterator[str]:
    """Yield the text of each part."""
    async for part in parts:
        yield str(getattr(part, "content", part))


def user_of(scope: Any) -> str:
    """Return the number in the path."""
    return str(scope["path"][1:])


def test_a_client_that_disconnects(
    models: Models, captured_prompts: list[PromptRecord]
) -> None:
    """Starlette hears of it, and cancels the task that streams."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        number = int(user_of(scope))
        body = texts(models.of(number).astream(f"Hold {number}"))
        await StreamingResponse(body)(scope, receive, send)

    traced = TrubricsMiddleware(app, user_id=user_of)

    async def request(number: int) -> None:
        client = Client(f"/{number}", models.held[f"Hold {number}"])
        await traced(client.scope, client.receive, client.send)

    async def main() -> None:
        await asyncio.gather(*(request(number) for number in range(RUNS)))
        await all_told(captured_prompts)
        assert (0, 0, 0) == left()

    asyncio.run(main())
    assert {("cancelled", READ, True): RUNS} == told(captured_prompts)
    assert RUNS == users(captured_prompts)


def test_a_client_that_takes_no_more(
    models: Models, captured_prompts: list[PromptRecord]
) -> None:
    """An app that cannot send leaves its stream, which is stopped."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        number = int(user_of(scope))
        async for text in texts(models.of(number).astream(f"Hold {number}")):
            await send({"type": "http.response.body", "body": text, "more_body": True})

    traced = TrubricsMiddleware(app, user_id=user_of)

    async def request(number: int) -> None:
        client = Client(f"/{number}", asyncio.Event())
        with pytest.raises(OSError, match="gone"):
            await traced(client.scope, client.receive, client.refuse)

    async def main() -> None:
        await asyncio.gather(*(request(number) for number in range(RUNS)))
        await all_told(captured_prompts)
        assert (0, 0, 0) == left()

    asyncio.run(main())
    assert {("stopped", READ, True): RUNS} == told(captured_prompts)
    assert RUNS == users(captured_prompts)


# A task is never awaited.


def test_a_task_that_nobody_awaits(
    models: Models, captured_prompts: list[PromptRecord]
) -> None:
    """It is complete when it is, though its scope has closed."""

    async def run(number: int) -> None:
        asyncio.create_task(models.of(number).ainvoke(f"Say {number}"))  # noqa: RUF006 - what is tested
        await asyncio.sleep(0.01)

    async def main() -> None:
        await each(run)
        await all_told(captured_prompts)
        assert (0, 0, 0) == left()

    asyncio.run(main())
    assert {("complete", ANSWER, True): RUNS} == told(captured_prompts)
    assert RUNS == users(captured_prompts)


def test_a_task_that_the_end_of_the_loop_finds(
    models: Models, captured_prompts: list[PromptRecord]
) -> None:
    """`asyncio.run` cancels what nobody has awaited, and so it is told."""
    kept: list[asyncio.Task[Any]] = []

    async def run(number: int) -> None:
        question = f"Hold {number}"
        kept.append(asyncio.create_task(models.of(number).ainvoke(question)))
        await models.held[question].wait()

    asyncio.run(each(run))
    kept.clear()
    assert (0, 0, 0) == left()
    assert {("cancelled", None, True): RUNS} == told(captured_prompts)
    assert RUNS == users(captured_prompts)


# A call finishes after all.


class Slow(AsyncCallbackHandler):
    """Somebody else's handler, which takes its time to hear of an end."""

    def __init__(self) -> None:
        self.is_told, self.may_go = asyncio.Event(), asyncio.Event()

    async def on_llm_end(self, *_: Any, **__: Any) -> None:
        """Hear of an end."""
        self.is_told.set()
        await self.may_go.wait()


def test_a_task_that_is_cancelled_after_the_answer(
    models: Models, captured_prompts: list[PromptRecord]
) -> None:
    """A call that has its answer is complete, though others still hear of its end."""

    async def run(number: int) -> None:
        slow = Slow()
        config = RunnableConfig(callbacks=[slow])
        task = asyncio.create_task(models.of(number).ainvoke(f"Say {number}", config))
        await slow.is_told.wait()
        await cancel(task)
        slow.may_go.set()

    async def main() -> None:
        await each(run)
        await all_told(captured_prompts)
        assert (0, 0, 0) == left()

    asyncio.run(main())
    assert {("complete", ANSWER, True): RUNS} == told(captured_prompts)
    assert RUNS == users(captured_prompts)


class Hears(AsyncCallbackHandler):
    """Somebody else's handler, which takes four turns to hear of an end."""

    run_inline = True

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []

    async def on_chat_model_start(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Hear of a start."""
        self.begun.append(str(run_id))

    async def on_llm_start(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Hear of a start."""
        self.begun.append(str(run_id))

    async def on_llm_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Hear of an end, which goes on though the task is cancelled meanwhile."""
        for _turn in range(4):
            await asyncio.sleep(0)
        self.ended.append(str(run_id))


def test_a_task_that_is_cancelled_at_any_turn_of_the_loop(
    models: Models, captured_prompts: list[PromptRecord]
) -> None:
    """A call is complete if LangChain reports its end, and else it is cancelled."""
    hears = Hears()
    config = RunnableConfig(callbacks=[hears])

    async def run(number: int) -> None:
        work = models.of(number).ainvoke(f"Say {number}", config)
        task = asyncio.ensure_future(work)
        for _ in range(number // 3 % 25):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def main() -> None:
        await each(run)
        await all_told(captured_prompts, len(hears.begun))
        assert (0, 0, 0) == left()

    asyncio.run(main())
    expected = dict.fromkeys(hears.begun, "cancelled") | dict.fromkeys(
        hears.ended, "complete"
    )
    assert {"cancelled", "complete"} == set(expected.values())
    assert expected == {record.record_id: record.status for record in captured_prompts}
    assert len(expected) == len(captured_prompts)
