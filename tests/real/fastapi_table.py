"""Who is known where in FastAPI: each way to say the user, each way to call a model.

python -m tests.real.fastapi_table      writes the table into the documentation
"""

from __future__ import annotations

import asyncio
import enum
import functools
import inspect
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from fastapi import BackgroundTasks, Depends, FastAPI, Header, Response, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from starlette.background import BackgroundTask

from trubrics_trace import arg, carry_scope, identify, trubrics_scope, trubrics_trace
from trubrics_trace.integrations.asgi import TrubricsMiddleware, header
from trubrics_trace.integrations.fastapi import trubrics_dependency

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "fastapi.md"
BEGIN, END = "<!-- begin: what is covered -->", "<!-- end: what is covered -->"

CALLS = 2  # of each user, in each cell

Endpoint = Callable[..., Any]
Bind = Callable[[Any], Any]
User = Annotated[str, Header(alias="x-user-id")]


class Phase(enum.IntEnum):
    """When work begins; and the last that a scope is open for."""

    IN_THE_ENDPOINT = 1
    IN_WHAT_IT_RETURNED = 2
    AFTER_THE_RESPONSE = 3  # started by the framework, handed to nobody


@dataclass(frozen=True, slots=True)
class Work:
    """One way to call a model, as an endpoint: a line of the table."""

    title: str
    begins: Phase
    endpoint: Endpoint

    @property
    def path(self) -> str:
        """Where it is served."""
        return f"/{self.endpoint.__name__}"


@dataclass(frozen=True, slots=True)
class Door:
    """One way to say who the user is: a column of the table.

    Attributes:
        name: Short, for paths and tests.
        title: As the documentation has it.
        reaches: The last phase that its scope is open for.
        dependencies: The app's, each a function.
        around: What stands around each endpoint.
        outside: What stands around the app.
    """

    name: str
    title: str
    reaches: Phase
    dependencies: tuple[Callable[..., Any], ...] = ()
    around: Callable[[Endpoint], Endpoint] = lambda endpoint: endpoint
    outside: Callable[[Any], Any] = lambda app: app


class Cell(NamedTuple):
    """One door, and one work behind it."""

    door: Door
    work: Work

    @property
    def is_late(self) -> bool:
        """Whether the door's scope has closed before the work begins."""
        return self.work.begins > self.door.reaches


class Meeting:
    """Where two users wait for each other, so that neither works alone."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2, timeout=30)
        self.left: list[str] = []

    def begin(self) -> None:
        """Let two others come."""
        self._barrier.reset()
        self.left.clear()

    def wait(self) -> None:
        """Return once the other is here too."""
        self._barrier.wait()

    async def wait_soon(self) -> None:
        """Do so in a coroutine."""
        await asyncio.to_thread(self.wait)


meeting = Meeting()
llm = FakeListChatModel(responses=["42"])
chain = RunnableLambda[str, str](lambda user: f"I am {user}") | llm


def ask(user: str) -> None:
    """Call the model, always beside the other user's call."""
    for _ in range(CALLS):
        meeting.wait()
        chain.invoke(user)
    meeting.left.append(user)


async def ask_soon(user: str) -> None:
    """Do so in a coroutine."""
    for _ in range(CALLS):
        await meeting.wait_soon()
        await chain.ainvoke(user)
    meeting.left.append(user)


def parts(user: User) -> Iterator[str]:
    """Call the model while a body is streamed, and meet at each part."""
    for _ in range(CALLS):
        for chunk in chain.stream(user):
            meeting.wait()
            yield str(chunk.content)
    meeting.left.append(user)


async def parts_soon(user: User) -> AsyncIterator[str]:
    """Do so in an async generator."""
    for _ in range(CALLS):
        async for chunk in chain.astream(user):
            await meeting.wait_soon()
            yield str(chunk.content)
    meeting.left.append(user)


def works(  # noqa: C901 - a table of endpoints
    bind: Bind = lambda work: work,
) -> tuple[Work, ...]:
    """Return each way to call a model.

    Args:
        bind: Told of all work that begins after the endpoint: `carry_scope`.
    """

    async def async_endpoint(user: User) -> None:
        await ask_soon(user)

    def sync_endpoint(user: User) -> None:
        ask(user)

    async def async_stream(user: User) -> StreamingResponse:
        return StreamingResponse(bind(parts_soon(user)))

    def sync_stream(user: User) -> StreamingResponse:
        return StreamingResponse(bind(parts(user)))

    async def async_response_task(user: User) -> Response:
        return Response(background=BackgroundTask(bind(ask_soon), user))

    def sync_response_task(user: User) -> Response:
        return Response(background=BackgroundTask(bind(ask), user))

    async def async_task(user: User, tasks: BackgroundTasks) -> None:
        tasks.add_task(bind(ask_soon), user)

    def sync_task(user: User, tasks: BackgroundTasks) -> None:
        tasks.add_task(bind(ask), user)

    async def create_task(user: User) -> None:
        await asyncio.create_task(ask_soon(user))

    async def to_thread(user: User) -> None:
        await asyncio.to_thread(ask, user)

    async def run_in_executor(user: User) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, carry_scope(ask), user)

    async def websocket(socket: WebSocket, user: User) -> None:
        await socket.accept()
        for _ in range(CALLS):
            await meeting.wait_soon()
            await chain.ainvoke(await socket.receive_text())
            await socket.send_text("42")
        meeting.left.append(user)

    now, returned, later = Phase
    return (
        Work("`async def` endpoint", now, async_endpoint),
        Work("`def` endpoint", now, sync_endpoint),
        Work("`await asyncio.create_task(...)`", now, create_task),
        Work("`await asyncio.to_thread(...)`", now, to_thread),
        Work("`run_in_executor(None, carry_scope(work))`", now, run_in_executor),
        Work("WebSocket", now, websocket),
        Work("`StreamingResponse` of an async generator", returned, async_stream),
        Work("`StreamingResponse` of a generator", returned, sync_stream),
        Work("`Response(background=...)`, async", returned, async_response_task),
        Work("`Response(background=...)`, sync", returned, sync_response_task),
        Work("`BackgroundTasks.add_task`, async", later, async_task),
        Work("`BackgroundTasks.add_task`, sync", later, sync_task),
    )


def within_scope(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint, all of it in a `with trubrics_scope`."""

    @functools.wraps(endpoint)
    async def within_soon(user: str, **more: Any) -> Any:
        with trubrics_scope(user_id=user):
            return await endpoint(user=user, **more)

    @functools.wraps(endpoint)
    def within(user: str, **more: Any) -> Any:
        with trubrics_scope(user_id=user):
            return endpoint(user=user, **more)

    return within_soon if inspect.iscoroutinefunction(endpoint) else within


def current_user(user: User) -> None:
    """Say who it is, once the app knows: a sync dependency, on a thread."""
    identify(user)


BY_MIDDLEWARE = functools.partial(TrubricsMiddleware, user_id=header("x-user-id"))
BY_DEPENDENCY = trubrics_dependency(
    user_id=lambda connection: connection.headers["x-user-id"]
)
DOORS = (
    Door(
        "middleware",
        "`TrubricsMiddleware`",
        Phase.AFTER_THE_RESPONSE,
        outside=BY_MIDDLEWARE,
    ),
    Door(
        "dependency",
        "`trubrics_dependency`",
        Phase.AFTER_THE_RESPONSE,
        dependencies=(BY_DEPENDENCY,),
    ),
    Door(
        "identify-in-middleware",
        "`identify` in a `def` dependency, inside `TrubricsMiddleware`",
        Phase.AFTER_THE_RESPONSE,
        dependencies=(current_user,),
        outside=TrubricsMiddleware,
    ),
    Door(
        "identify-in-dependency",
        "`identify` in a `def` dependency, after `trubrics_dependency`",
        Phase.AFTER_THE_RESPONSE,
        dependencies=(trubrics_dependency(), current_user),
    ),
    Door(
        "decorator",
        "`@trubrics_trace`",
        Phase.IN_WHAT_IT_RETURNED,
        around=trubrics_trace(user_id=arg("user")),
    ),
    Door(
        "scope",
        "`with trubrics_scope` in the endpoint",
        Phase.IN_THE_ENDPOINT,
        around=within_scope,
    ),
)
WORKS = works()
CELLS = tuple(Cell(door, work) for work in WORKS for door in DOORS)
LATE = tuple(cell for cell in CELLS if cell.is_late)

# What FastAPI streams by itself since 0.134. No lines of the table: a `with` around a
# `yield` is no way to say the user.
GENERATORS = (
    Work("generator endpoint", Phase.IN_WHAT_IT_RETURNED, parts),
    Work("async generator endpoint", Phase.IN_WHAT_IT_RETURNED, parts_soon),
)


def site() -> FastAPI:
    """Return an app with all cells, as they are and each way that mends the late."""
    served = FastAPI()
    for door in DOORS:
        behind = functools.partial(app_behind, door)
        served.mount(f"/as-it-is/{door.name}", behind(WORKS))
        served.mount(f"/carried/{door.name}", behind(works(carry_scope)))
        served.mount(f"/under-middleware/{door.name}", BY_MIDDLEWARE(behind(WORKS)))
        served.mount(f"/lines/{door.name}", behind(GENERATORS))
        served.mount(
            f"/events/{door.name}",
            behind(GENERATORS, default_response_class=EventSourceResponse),
        )
    return served


def app_behind(door: Door, its_works: tuple[Work, ...], **options: Any) -> Any:
    """Return an app that does all of the work behind one door."""
    dependencies = [Depends(dependency) for dependency in door.dependencies]
    app = FastAPI(dependencies=dependencies, **options)
    for work in its_works:
        route = app.websocket if work.path == "/websocket" else app.post
        route(work.path)(door.around(work.endpoint))
    return door.outside(app)


def table() -> str:
    """Return the table as the documentation shows it."""
    lines = [["the model is called in", *(door.title for door in DOORS)]]
    lines.append(["---"] * len(lines[0]))
    for work in WORKS:
        cells = (Cell(door, work) for door in DOORS)
        told = ("late: `carry_scope`" if cell.is_late else "yes" for cell in cells)
        lines.append([work.title, *told])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def table_of(page: str) -> str:
    """Return the table that a page shows."""
    return page.partition(BEGIN)[2].partition(END)[0].strip()


def with_table(page: str) -> str:
    """Return the page with the table as it is now."""
    marked = f"{BEGIN}\n\n{table()}\n\n{END}"
    return re.sub(f"{BEGIN}.*{END}", lambda _: marked, page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
