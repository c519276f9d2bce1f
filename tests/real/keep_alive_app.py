"""A site that opens the scope of a request in many ways, and one that tells who is seen.

The path says what opens the scope, and what goes on after the answer: `/decorator/task`.
`/ask/thread` opens none, and answers who is current on a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextvars import ContextVar
from typing import Any

from fastapi import Depends, FastAPI
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from trubrics_trace import current_scope, trubrics_scope, trubrics_trace
from trubrics_trace.integrations.asgi import TrubricsMiddleware, header
from trubrics_trace.integrations.fastapi import trubrics_dependency

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

llm = FakeListChatModel(responses=["42"])

# Set and reset around each request, as other middlewares do: that it leaks in a round
# shows that a scope could have.
control: ContextVar[str | None] = ContextVar("control", default=None)


def user_of(request: Request) -> str | None:
    """Return whom the request says that it is from."""
    return request.headers.get("x-user-id")


class Site:
    """An ASGI app of many ways to open a scope.

    `sent` are the users who have sent so much that the server has had to pause reading.
    What goes on after an answer has `begun`, and is `ended` once its user is `released`.
    """

    def __init__(self) -> None:
        self.sent: set[str | None] = set()
        self.released: set[str] = set()
        self.begun: list[str] = []
        self.ended: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        plain, asking = routed(self._answer), routed(ask)
        by_header = header("x-user-id")
        self._apps: dict[str, Any] = {
            "ask": asking,
            "doored-ask": TrubricsMiddleware(asking, user_id=by_header),
            "middleware": TrubricsMiddleware(plain, user_id=by_header),
            "decorator": routed(trubrics_trace(user_id=user_of)(self._answer)),
            "scope": routed(self._answer_in_scope),
            # What is theirs is still open after the answer: the scope, or a run in it.
            "own-middleware": own_middleware(plain),
            "dependency": self._behind_dependency(),
            "detached": routed(self._answer_detached),
            "detached-run": routed(trubrics_trace(user_id=user_of)(self._answer_run)),
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, the control set where it has a user."""
        user = user_of(Request(scope))
        before = control.set(control.get() if user is None else user)
        try:
            way, _, path = scope["path"].removeprefix("/").partition("/")
            scope = {**scope, "path": f"/{path}"}
            await self._apps[way](scope, receive, send)
        finally:
            control.reset(before)

    async def _answer(self, request: Request) -> Response:
        user = await self._read(request)
        await llm.ainvoke(f"I am {user}")
        after = request.path_params["kind"]
        if after == "task":
            self._start(self._work_on(user))
        background = BackgroundTask(self._work_on, user) if after == "background" else None
        return PlainTextResponse("42", background=background)

    async def _answer_in_scope(self, request: Request) -> Response:
        with trubrics_scope(user_id=user_of(request)):
            return await self._answer(request)

    async def _answer_detached(self, request: Request) -> Response:
        """Answer from a task that has the scope, and goes on."""
        return await self._answer_from(
            trubrics_trace(user_id=user_of)(self._go_on), request
        )

    async def _answer_run(self, request: Request) -> Response:
        """Answer from a run of LangChain's that goes on."""

        async def go_on(is_answered: asyncio.Event) -> None:
            await self._go_on(request, is_answered)

        async def run(request: Request, is_answered: asyncio.Event) -> None:
            await RunnableLambda(go_on).ainvoke(is_answered)

        return await self._answer_from(run, request)

    async def _answer_from(
        self,
        work: Callable[[Request, asyncio.Event], Coroutine[Any, Any, None]],
        request: Request,
    ) -> Response:
        is_answered = asyncio.Event()
        self._start(work(request, is_answered))
        await is_answered.wait()
        return PlainTextResponse("42")

    async def _go_on(self, request: Request, is_answered: asyncio.Event) -> None:
        user = await self._read(request)
        await llm.ainvoke(f"I am {user}")
        is_answered.set()
        await self._work_on(user)

    async def _read(self, request: Request) -> str:
        """Take the body, late enough; return the user."""
        user = str(user_of(request))
        while user not in self.sent:
            await asyncio.sleep(0.001)
        async for _ in request.stream():
            pass
        return user

    async def _work_on(self, user: str) -> None:
        self.begun.append(user)
        while user not in self.released:
            await asyncio.sleep(0.001)
        await llm.ainvoke(f"I am {user}")
        self.ended.append(user)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _behind_dependency(self) -> FastAPI:
        app = FastAPI(dependencies=[Depends(trubrics_dependency(user_id=user_of))])
        app.post("/{kind}")(self._answer)
        return app


def routed(endpoint: Callable[[Request], Awaitable[Response]]) -> Starlette:
    """Return an app of one endpoint, which is told the `kind` of answer."""
    return Starlette(routes=[Route("/{kind}", endpoint, methods=["POST"])])


def own_middleware(app: Starlette) -> Any:
    """Return a middleware that somebody wrote with a bare scope."""

    async def around(scope: Message, receive: Receive, send: Send) -> None:
        user = user_of(Request(scope))
        with trubrics_scope(user_id=user, tags=f"of {user}"):
            await app(scope, receive, send)

    return around


async def ask(request: Request) -> Response:
    """Tell who is current where the path says; a model is asked there."""
    me = f"I am {user_of(request) or 'nobody'}"
    users: dict[str, Callable[[], Awaitable[object]]] = {
        "endpoint": lambda: who(me),
        "decorated": lambda: trubrics_trace(who)(me),
        "task": lambda: asyncio.create_task(who(me)),
        "thread": lambda: run_in_threadpool(asyncio.run, who(me)),
    }
    told = await users[request.path_params["kind"]]()
    return JSONResponse({"control": control.get(), "scope": told})


async def who(prompt: str) -> list[str | None]:
    """Ask a model; return the current scope's user and tags; empty without a scope."""
    scope = current_scope()
    await llm.ainvoke(prompt)
    return [] if scope is None else [scope.user_id, *scope.tags]
