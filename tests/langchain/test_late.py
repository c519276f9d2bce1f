"""Work that was started and never awaited: begun in time, begun too late, or carried.

A run that has begun inside a scope keeps it to its last call, however late that is. What
begins only after the scope has closed is nobody's: it is counted, said once with the place
and the remedy, and never given to a scope around it that is open still.
"""

from __future__ import annotations

import asyncio
import importlib
import operator
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from importlib.util import find_spec
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel
from starlette.background import BackgroundTasks
from starlette.responses import Response

from tests.delivery.parts import wait_until
from trubrics_trace import PromptRecord, carry_scope, configure, stats, trubrics_scope
from trubrics_trace import trubrics_trace as trace
from trubrics_trace.errors import TelemetryError
from trubrics_trace.integrations.asgi import TrubricsMiddleware

DEADLINE_SECONDS = 30.0
ANSWER = ChatResult(generations=[ChatGeneration(message=AIMessage("42"))])


class Slow(BaseChatModel):
    """A model that answers when it may.

    Attributes:
        asked: How many calls have begun.
        may_answer: What each of them waits for.
    """

    asked: int = 0
    may_answer: Any

    @property
    def _llm_type(self) -> str:
        return "slow"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        self.asked += 1
        assert self.may_answer.wait(DEADLINE_SECONDS)
        return ANSWER

    async def _agenerate(self, *_: Any, **__: Any) -> ChatResult:
        self.asked += 1
        await until(self.may_answer.is_set)
        return ANSWER


@pytest.fixture
def model() -> Iterator[Slow]:
    """Yield a model that answers when it may, and at the test's end in any case."""
    slow = Slow(may_answer=threading.Event())
    yield slow
    slow.may_answer.set()


async def until(is_so: Callable[[], object]) -> None:
    """Let the loop go on until something is so."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
    while not is_so():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.001)


def told(records: list[PromptRecord]) -> list[tuple[str | None, str]]:
    """Return who asked, and how it ended."""
    return [(record.user_id, record.status) for record in records]


def late() -> int:
    """Return how many calls were counted as late."""
    return stats().noticed.get("late", 0)


# What is asked: something of LangChain's, how many calls it makes, and how many at once.
Asked = tuple[Callable[[Slow], Runnable[Any, Any]], int, int]


def chain(model: Slow) -> Runnable[Any, Any]:
    """Return a chain of two steps."""
    first: Runnable[str, str] = RunnableLambda(str.upper)
    return first | model


def two_in_a_row(model: Slow) -> Runnable[Any, Any]:
    """Return a chain that asks again with the answer."""
    text: Runnable[BaseMessage, str] = RunnableLambda(lambda answer: str(answer.content))
    return model | text | model


def two_at_once(model: Slow) -> Runnable[Any, Any]:
    """Return a chain of two branches."""
    return RunnableParallel(first=model, second=chain(model))


class Questions(TypedDict, total=False):
    """What a graph hands on."""

    questions: list[str]
    question: str
    answers: Annotated[list[str], operator.add]


def graph_of(model: Slow, *, is_async: bool) -> Runnable[Any, Any]:
    """Return a graph that sends each of three questions to a node of its own."""
    graph = importlib.import_module("langgraph.graph")
    types = importlib.import_module("langgraph.types")

    async def answer_later(state: Questions) -> Questions:
        return {"answers": [str((await model.ainvoke(state["question"])).content)]}

    def answer(state: Questions) -> Questions:
        return {"answers": [str(model.invoke(state["question"]).content)]}

    def fan_out(state: Questions) -> list[Any]:
        return [types.Send("answer", {"question": word}) for word in state["questions"]]

    builder = graph.StateGraph(Questions)
    builder.add_node("answer", answer_later if is_async else answer)
    builder.add_conditional_edges(graph.START, fan_out, ["answer"])
    builder.add_edge("answer", graph.END)
    compiled: Runnable[Any, Any] = builder.compile()
    return RunnableLambda(lambda _: {"questions": ["a", "b", "c"]}) | compiled


needs_langgraph = pytest.mark.skipif(
    find_spec("langgraph") is None, reason="LangGraph is not installed here"
)

ASKED: dict[str, Asked] = {
    "model": (lambda model: model, 1, 1),
    "chain": (chain, 1, 1),
    "two in a row": (two_in_a_row, 2, 1),
    "two at once": (two_at_once, 2, 1),
}
A_GRAPH: Asked = (lambda model: graph_of(model, is_async=True), 3, 1)
each_asked = pytest.mark.parametrize(
    "asked",
    [
        *(pytest.param(asked, id=name) for name, asked in ASKED.items()),
        pytest.param(A_GRAPH, id="graph with Send", marks=needs_langgraph),
    ],
)


# How it is started, and not awaited; what is returned ends when the work has.
Work = Coroutine[Any, Any, Any]
Start = Callable[[Work], Awaitable[object]]


def create_task(work: Work) -> Awaitable[object]:
    """Start a task."""
    return asyncio.create_task(work)


def gather(work: Work) -> Awaitable[object]:
    """Start it as one of several."""
    return asyncio.gather(work, asyncio.sleep(0))


def call_soon(work: Work) -> Awaitable[object]:
    """Have the loop start a task."""
    task: asyncio.Future[asyncio.Task[Any]] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()
    loop.call_soon(lambda: task.set_result(asyncio.create_task(work)))
    return ended(task)


def call_later(work: Work) -> Awaitable[object]:
    """Have the loop start a task a little later."""
    task: asyncio.Future[asyncio.Task[Any]] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()
    loop.call_later(0.001, lambda: task.set_result(asyncio.create_task(work)))
    return ended(task)


async def ended(task: Awaitable[Awaitable[object]]) -> object:
    """Wait for a task that has yet to be started."""
    return await (await task)


def from_a_thread(work: Work) -> Awaitable[object]:
    """Have a thread that has a copy of the context start it in the loop."""
    loop, context = asyncio.get_running_loop(), copy_context()
    with ThreadPoolExecutor(1) as pool:
        begin = asyncio.run_coroutine_threadsafe
        return asyncio.wrap_future(pool.submit(context.run, begin, work, loop).result())


STARTS: list[Start] = [create_task, gather, call_soon, call_later, from_a_thread]

if sys.version_info >= (3, 11):

    def task_group(work: Work) -> Awaitable[object]:
        """Start a task of a group, which ends with it."""
        group = asyncio.TaskGroup()
        entered = group.__aenter__()
        with pytest.raises(StopIteration):
            entered.send(None)  # nothing of it waits
        group.create_task(work)
        return group.__aexit__(None, None, None)

    STARTS.append(task_group)

each_start = pytest.mark.parametrize("start", STARTS, ids=lambda start: start.__name__)


@each_start
@each_asked
class TestInALoop:
    """`chain.ainvoke()`, started inside a scope, and left to itself.

    No frame of the app's stands below it any more: it is placed where its scope opened.
    """

    def test_begun_in_time(
        self, start: Start, asked: Asked, model: Slow, captured_prompts: list[PromptRecord]
    ) -> None:
        """What has begun is the scope's to its last call, though the scope has closed."""
        make, calls, at_once = asked

        async def main() -> None:
            with trubrics_scope(user_id="operator"):
                with trubrics_scope(user_id="alice"):
                    work = start(make(model).ainvoke("Hi"))
                    await until(lambda: model.asked >= at_once)
                model.may_answer.set()
                await work

        asyncio.run(main())
        assert [("alice", "complete")] * calls == told(captured_prompts)
        assert 0 == late()

    def test_begun_too_late(
        self,
        start: Start,
        asked: Asked,
        model: Slow,
        captured_prompts: list[PromptRecord],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """What begins later is counted, said once, and given to nobody."""
        make, calls, _ = asked
        model.may_answer.set()

        async def main() -> None:
            with trubrics_scope(user_id="operator"):
                with trubrics_scope(user_id="alice"):
                    work = start(make(model).ainvoke("Hi"))
                await work

        asyncio.run(main())
        assert [] == told(captured_prompts)
        assert (calls, calls) == (model.asked, late())
        [notice] = caplog.messages
        assert "test_late.py:" in notice
        assert "carry_scope(...)" in notice
        assert "middleware" in notice

    def test_carried(
        self, start: Start, asked: Asked, model: Slow, captured_prompts: list[PromptRecord]
    ) -> None:
        """Carried, what begins later is the scope's."""
        make, calls, _ = asked
        model.may_answer.set()

        async def main() -> None:
            with trubrics_scope(user_id="operator"):
                with trubrics_scope(user_id="alice"):
                    work = start(carry_scope(make(model).ainvoke("Hi")))
                await work

        asyncio.run(main())
        assert [("alice", "complete")] * calls == told(captured_prompts)
        assert 0 == late()


async def several(model: Slow) -> None:
    """Ask twice at once."""
    await model.abatch(["a", "b"])


async def chain_of_several(model: Slow) -> None:
    """Have a chain ask twice at once."""
    await chain(model).abatch(["a", "b"])


@pytest.mark.parametrize("ask", [several, chain_of_several])
class TestAbatch:
    """`abatch` starts a task for each of its calls."""

    def test_begun_in_time(
        self,
        ask: Callable[[Slow], Work],
        model: Slow,
        captured_prompts: list[PromptRecord],
    ) -> None:
        """Those that have begun are the scope's, though the scope has closed."""

        async def main() -> None:
            with trubrics_scope(user_id="alice"):
                work = asyncio.create_task(ask(model))
                await until(lambda: model.asked == 2)
            model.may_answer.set()
            await work

        asyncio.run(main())
        assert [("alice", "complete")] * 2 == told(captured_prompts)

    @pytest.mark.parametrize("is_carried", [False, True])
    def test_begun_too_late(
        self,
        is_carried: bool,
        ask: Callable[[Slow], Work],
        model: Slow,
        captured_prompts: list[PromptRecord],
    ) -> None:
        """Those that begin later are late, each of them, unless they are carried."""
        model.may_answer.set()

        async def main() -> None:
            with trubrics_scope(user_id="alice"):
                work = carry_scope(ask(model)) if is_carried else ask(model)
                task = asyncio.create_task(work)
            await task

        asyncio.run(main())
        expected = [("alice", "complete")] * 2 if is_carried else []
        assert expected == told(captured_prompts)
        assert (0 if is_carried else 2) == late()


# What is asked on threads, and how many calls that makes: all of them begin at once.
ASKED_ON_THREADS: dict[str, tuple[Callable[[Slow], object], int]] = {
    "model": (lambda model: model.invoke("Hi"), 1),
    "chain": (lambda model: chain(model).invoke("Hi"), 1),
    "batch": (lambda model: model.batch(["a", "b"]), 2),
    "batch of a chain": (lambda model: chain(model).batch(["a", "b"]), 2),
    "two at once": (lambda model: two_at_once(model).invoke("Hi"), 2),
}


def ask_a_graph(model: Slow) -> object:
    """Ask a graph."""
    return graph_of(model, is_async=False).invoke("Hi")


Submit = Callable[[ThreadPoolExecutor, Callable[[], object]], "Future[object]"]


def with_context(pool: ThreadPoolExecutor, work: Callable[[], object]) -> Future[object]:
    """Start it in a copy of the context."""
    return pool.submit(copy_context().run, work)


def without(pool: ThreadPoolExecutor, work: Callable[[], object]) -> Future[object]:
    """Start it in the thread's own context, which knows of nothing."""
    return pool.submit(work)


def carried(pool: ThreadPoolExecutor, work: Callable[[], object]) -> Future[object]:
    """Start it with the scope."""
    return pool.submit(carry_scope(work))


def carrying(pool: ThreadPoolExecutor, work: Callable[[], object]) -> Future[object]:
    """Start it on an executor that carries."""
    return carry_scope(pool).submit(work)


@pytest.mark.parametrize(
    ("ask", "calls"),
    [
        *(pytest.param(*asked, id=name) for name, asked in ASKED_ON_THREADS.items()),
        pytest.param(ask_a_graph, 3, id="graph with Send", marks=needs_langgraph),
    ],
)
class TestOnThreads:
    """`chain.invoke()`, handed to a thread inside a scope, and left to itself."""

    @pytest.mark.parametrize("submit", [with_context, carried, carrying])
    def test_begun_in_time(
        self,
        submit: Submit,
        ask: Callable[[Slow], object],
        calls: int,
        model: Slow,
        captured_prompts: list[PromptRecord],
    ) -> None:
        """What has begun is the scope's to its last call, though the scope has closed."""
        with ThreadPoolExecutor(1) as pool, trubrics_scope(user_id="operator"):
            with trubrics_scope(user_id="alice"):
                work = submit(pool, lambda: ask(model))
                wait_until(lambda: model.asked == calls, DEADLINE_SECONDS)
            model.may_answer.set()
            work.result(DEADLINE_SECONDS)
        assert [("alice", "complete")] * calls == told(captured_prompts)
        assert 0 == late()

    @pytest.mark.parametrize(
        ("submit", "is_recorded", "is_late"),
        [
            (with_context, False, True),
            (without, False, False),
            (carried, True, False),
            (carrying, True, False),
        ],
    )
    def test_begun_too_late(
        self,
        submit: Submit,
        is_recorded: bool,
        is_late: bool,
        ask: Callable[[Slow], object],
        calls: int,
        model: Slow,
        captured_prompts: list[PromptRecord],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """What begins later is late, or knows of no scope; carried, it is the scope's."""
        model.may_answer.set()
        may_begin = threading.Event()
        with ThreadPoolExecutor(1) as pool, trubrics_scope(user_id="operator"):
            pool.submit(may_begin.wait, DEADLINE_SECONDS)
            with trubrics_scope(user_id="alice"):
                work = submit(pool, lambda: ask(model))
            may_begin.set()
            work.result(DEADLINE_SECONDS)
        assert [("alice", "complete")] * (calls * is_recorded) == told(captured_prompts)
        assert calls * is_late == late()
        assert is_late == any("carry_scope(...)" in said for said in caplog.messages)


class TestExecutorsOfTheLoop:
    """`to_thread` takes the context along, `run_in_executor` does not."""

    @staticmethod
    async def to_thread(work: Callable[[], object]) -> object:
        """Run it on a thread, with the context."""
        return await asyncio.to_thread(work)

    @staticmethod
    async def run_in_executor(work: Callable[[], object]) -> object:
        """Run it on a thread, without."""
        return await asyncio.get_running_loop().run_in_executor(None, work)

    @pytest.mark.parametrize("way", ["to_thread", "run_in_executor"])
    @pytest.mark.parametrize("is_carried", [False, True])
    @pytest.mark.parametrize("is_in_time", [False, True])
    def test_each(
        self,
        way: str,
        is_carried: bool,
        is_in_time: bool,
        model: Slow,
        captured_prompts: list[PromptRecord],
    ) -> None:
        """Begun in time, or carried, it is the scope's where the context went along."""

        def ask() -> object:
            return model.invoke("Hi")

        async def main() -> None:
            with trubrics_scope(user_id="operator"):
                with trubrics_scope(user_id="alice"):
                    work = carry_scope(ask) if is_carried else ask
                    task = asyncio.create_task(getattr(self, way)(work))
                    if is_in_time:
                        await until(lambda: model.asked)
                model.may_answer.set()
                await task

        asyncio.run(main())
        takes_context = way == "to_thread"
        is_recorded = is_carried or (takes_context and is_in_time)
        assert [("alice", "complete")] * is_recorded == told(captured_prompts)
        assert (takes_context and not is_recorded) == late()


def in_a_chain(work: Callable[[], object]) -> None:
    """Do the work in a step of a chain."""

    def step(_: str) -> None:
        work()

    RunnableLambda(step).invoke("go")


class TestInsideAChain:
    """Work that a step of a running chain has started, and nobody awaits."""

    @pytest.mark.parametrize(
        ("inner", "expected"),
        [
            ({}, [("alice", "complete")]),
            ({"tags": "inner"}, [("alice", "complete")]),
            ({"user_id": "alice"}, [("alice", "complete")]),
            ({"user_id": "bob"}, []),
            ({"user_id": "bob", "fresh": True}, []),
            ({"user_id": None}, []),
        ],
    )
    def test_of_a_scope_that_has_closed(
        self,
        inner: dict[str, Any],
        expected: list[tuple[str, str]],
        model: Slow,
        captured_prompts: list[PromptRecord],
    ) -> None:
        """It is the chain's if it was of the chain's user, and else it is late."""
        model.may_answer.set()

        def step() -> None:
            with trubrics_scope(**inner):
                context = copy_context()
            context.run(model.invoke, "Hi")

        with trubrics_scope(user_id="alice"):
            in_a_chain(step)
        assert expected == told(captured_prompts)
        assert (not expected) == late()

    @pytest.mark.parametrize("is_open", [True, False])
    def test_of_carried_work(
        self, is_open: bool, model: Slow, captured_prompts: list[PromptRecord]
    ) -> None:
        """What bob's carried work leaves behind is bob's or late, in alice's chain too."""
        model.may_answer.set()
        left: list[Any] = []
        bob = trubrics_scope(user_id="bob", fresh=True)
        with bob as scope:
            work: Callable[[], object] = carry_scope(lambda: left.append(copy_context()))

            def step() -> None:
                work()
                if not is_open:
                    bob.__exit__(None, None, None)
                left[0].run(model.invoke, "Hi")

            with trubrics_scope(user_id="alice", fresh=True):
                in_a_chain(step)
            assert is_open == scope.is_open
        assert [("bob", "complete")] * is_open == told(captured_prompts)
        assert (not is_open) == late()

    def test_of_a_scope_whose_outer_one_has_closed(
        self, model: Slow, captured_prompts: list[PromptRecord]
    ) -> None:
        """An open scope is current, though what it stands in was closed elsewhere."""
        model.may_answer.set()

        def step() -> None:
            carol = trubrics_scope(user_id="carol", fresh=True)
            carol.__enter__()
            elsewhere = copy_context()
            with trubrics_scope(user_id="bob", fresh=True):
                elsewhere.run(carol.__exit__, None, None, None)
                model.invoke("Hi")

        with trubrics_scope(user_id="alice"):
            in_a_chain(step)
        assert [("bob", "complete")] == told(captured_prompts)

    @pytest.mark.parametrize(
        ("opens", "expected"), [({"user_id": "bob"}, [("bob", "complete")]), (None, [])]
    )
    def test_carried_from_nowhere(
        self,
        opens: dict[str, Any] | None,
        expected: list[tuple[str, str]],
        model: Slow,
        captured_prompts: list[PromptRecord],
    ) -> None:
        """Work that was carried from outside is not the chain's that it runs in."""
        model.may_answer.set()

        def ask() -> None:
            if opens is None:
                model.invoke("Hi")
            else:
                with trubrics_scope(**opens):
                    model.invoke("Hi")

        work = carry_scope(ask)
        with trubrics_scope(user_id="alice"):
            in_a_chain(work)
        assert expected == told(captured_prompts)

    def test_carried_too_late(
        self, model: Slow, captured_prompts: list[PromptRecord]
    ) -> None:
        """Work that is carried only after its scope has closed is late, and counted."""
        model.may_answer.set()
        with trubrics_scope(user_id="alice"):
            context = copy_context()
        work: Callable[[], object] = context.run(carry_scope, lambda: model.invoke("Hi"))
        work()
        assert ([], 1) == (told(captured_prompts), late())


def test_late_when_strict(model: Slow, captured_prompts: list[PromptRecord]) -> None:
    """In strict mode a late call raises, with its reason."""
    configure(strict=True)
    with trubrics_scope(user_id="alice"):
        context = copy_context()
    with pytest.raises(TelemetryError, match="late"):
        context.run(model.invoke, "Hi")
    assert 0 == model.asked


class TestBackgroundTasks:
    """Starlette's background tasks, which begin when the response has been sent."""

    @staticmethod
    def answered(app: Any) -> None:
        """Let an app answer one request."""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request"}

        async def send(_: object) -> None:
            pass

        asyncio.run(app({"type": "http", "headers": []}, receive, send))

    @pytest.fixture(params=[False, True], ids=["function", "coroutine"])
    def ask(self, request: pytest.FixtureRequest, model: Slow) -> Callable[[], Any]:
        """Return a task to be added, of both kinds."""
        model.may_answer.set()

        async def ask_later() -> None:
            await model.ainvoke("Hi")

        def ask() -> None:
            model.invoke("Hi")

        return ask_later if request.param else ask

    @staticmethod
    async def respond(work: Callable[[], Any], *connection: Any) -> None:
        """Answer, and have the work done behind that."""
        tasks = BackgroundTasks()
        tasks.add_task(work)
        await Response("", background=tasks)(*connection)

    def test_behind_the_middleware(
        self, ask: Callable[[], Any], captured_prompts: list[PromptRecord]
    ) -> None:
        """Under the middleware they are the request's."""

        async def app(*connection: Any) -> None:
            await self.respond(ask, *connection)

        self.answered(TrubricsMiddleware(app, user_id="alice"))
        assert ([("alice", "complete")], 0) == (told(captured_prompts), late())

    @pytest.mark.parametrize("is_traced", [False, True])
    @pytest.mark.parametrize("is_carried", [False, True])
    def test_behind_an_endpoint(
        self,
        is_carried: bool,
        is_traced: bool,
        ask: Callable[[], Any],
        captured_prompts: list[PromptRecord],
    ) -> None:
        """They are late for an endpoint's own block; what it returns is followed."""

        def endpoint() -> Response:
            tasks = BackgroundTasks()
            tasks.add_task(carry_scope(ask) if is_carried else ask)
            return Response("", background=tasks)

        async def app(*connection: Any) -> None:
            if is_traced:
                response = trace(user_id="alice")(endpoint)()
            else:
                with trubrics_scope(user_id="alice"):
                    response = endpoint()
            await response(*connection)

        self.answered(app)
        is_recorded = is_carried or is_traced
        assert [("alice", "complete")] * is_recorded == told(captured_prompts)
        assert (not is_recorded) == late()
