"""A decorated endpoint is the same endpoint to FastAPI: schema, answers and threads."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import (
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    Header,
    Path,
    Query,
    Request,
    Response,
    Security,
    WebSocket,
)
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.security import OAuth2PasswordBearer, SecurityScopes
from pydantic import BaseModel, Field

from trubrics_trace import trubrics_trace

Decorate = Callable[[Any], Any]

oauth2 = OAuth2PasswordBearer(tokenUrl="token", scopes={"orders": "Read orders"})

alice = trubrics_trace(user_id="alice", tags=["shop"])
DECORATORS: dict[str, Decorate] = {
    "bare": trubrics_trace,
    "called": alice,
    "stacked": lambda endpoint: trubrics_trace(trubrics_trace(tags="shop")(endpoint)),
}


def current_user(x_user_id: Annotated[str | None, Header()] = None) -> str:
    """Depend on a header."""
    return x_user_id or "nobody"


async def tenant(host: Annotated[str, Header()]) -> AsyncIterator[str]:
    """Depend on a header, and end after the answer."""
    yield host


def session(key: Annotated[str, Cookie(max_length=8)] = "none") -> Iterator[str]:
    """Depend on a cookie of bounded length."""
    yield key


async def may(scopes: SecurityScopes, token: Annotated[str, Depends(oauth2)]) -> str:
    """Depend on a token, and on the scopes that it is asked for."""
    return f"{token}: {scopes.scope_str}"


class Page:
    """A dependency that is a class."""

    def __init__(self, limit: Annotated[int, Query(ge=1, le=100)] = 10) -> None:
        self.limit = limit


User = Annotated[str, Depends(current_user)]


def path_and_query(
    order_id: Annotated[int, Path(gt=0)], fields: str | None = None, *, full: bool = False
) -> dict[str, Any]:
    """Return an order.

    All of it, where it is asked for.
    """
    return {"order_id": order_id, "full": full, "fields": fields}


async def query_model(filters: Annotated[Filters, Query()]) -> list[Order]:
    """Take a model from the query."""
    return [Order(name=name) for name in filters.names]


async def body(order: Order, note: Annotated[str, Body(min_length=2)] = "??") -> Order:
    """Take a model and a text from one body."""
    return Order(name=f"{order.name} {note}")


def optional_body(order: Order | None = None) -> Order | None:
    """Take a body that may be missing."""
    return order


async def dependencies(
    user: User, page: Annotated[Page, Depends()], key: Annotated[str, Depends(session)]
) -> str:
    """Take what functions, classes and generators yield."""
    return f"{user} {page.limit} {key}"


def old_dependencies(user: str = Depends(current_user), *, limit: int = Query(5)) -> str:
    """Take dependencies by their defaults, as was usual."""
    return f"{user} {limit}"


async def secured(token: Annotated[str, Security(may, scopes=["orders"])]) -> str:
    """Take a token that must have a scope."""
    return token


def whole_request(request: Request, response: Response, tasks: BackgroundTasks) -> str:
    """Take what FastAPI knows by its type."""
    response.headers["x-seen"] = request.method
    tasks.add_task(response.headers.get, "x-seen")
    return request.url.path


async def streamed() -> StreamingResponse:
    """Answer as a stream."""
    return StreamingResponse(iter(["4", "2"]))


def no_content(order_id: int) -> None:
    """Answer nothing."""


async def yielding(names: Annotated[list[str], Query()]) -> AsyncIterator[Order]:
    """Answer as a stream of models, from the event loop."""
    for name in names:
        yield Order(name=name)


def yielding_too(names: Annotated[list[str], Query()]) -> Iterator[Order]:
    """Answer as a stream of models."""
    for name in names:
        yield Order(name=name)


def without_annotations(order_id, *, full=False):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201 - as some are
    """Take whatever comes."""
    return [order_id, full]


class Shop:
    """Endpoints that are no functions."""

    async def method(self, order: Order, user: User) -> Order:
        """Return a user's order."""
        return Order(name=f"{user}'s {order.name}")

    @staticmethod
    def static(order_id: int) -> int:
        """Return an id."""
        return order_id

    @classmethod
    async def of_class(cls, order_id: int) -> int:
        """Return an id, soon."""
        return order_id

    async def __call__(self, order_id: int, user: User) -> str:
        """Return whose it is."""
        return f"{user} {order_id}"


async def either(order_id: int, kind: str) -> Order | Filters:
    """Answer with the one model or the other."""
    return Order(name=kind) if order_id else Filters(names=[kind])


class Order(BaseModel):
    """What is known only below who takes it."""

    name: str
    secret: str = Field(default="hidden", description="Never answered")
    parent: Order | None = None


class Filters(BaseModel):
    """Likewise."""

    names: list[str] = Field(default=["book"], max_length=2)


async def talk(socket: WebSocket, user: User, page: Annotated[Page, Depends()]) -> None:
    """Take a socket, and dependencies beside it."""
    await socket.accept()


# An endpoint, how it is routed, and requests that it answers and refuses.
ENDPOINTS: list[tuple[Any, str, dict[str, Any], list[str]]] = [
    (path_and_query, "GET /orders/{order_id}", {}, ["/orders/1?full=1", "/orders/0"]),
    (
        query_model,
        "GET /search",
        {},
        ["/search?names=a", "/search?names=a&names=b&names=c"],
    ),
    (body, "POST /orders", {"response_model_exclude": {"secret"}}, ["/orders"]),
    (optional_body, "PUT /orders", {"status_code": 202}, ["/orders"]),
    (dependencies, "GET /me", {"tags": ["me"]}, ["/me", "/me?limit=0"]),
    (old_dependencies, "GET /me/old", {"deprecated": True}, ["/me/old", "/me/old?limit=x"]),
    (secured, "GET /secured", {}, ["/secured"]),
    (whole_request, "PATCH /raw", {}, ["/raw"]),
    (streamed, "GET /streamed", {}, ["/streamed"]),
    (no_content, "DELETE /orders/{order_id}", {"status_code": 204}, ["/orders/1"]),
    (yielding, "GET /lines", {}, ["/lines?names=a&names=b", "/lines"]),
    (yielding_too, "GET /more-lines", {}, ["/more-lines?names=a&names=b"]),
    (without_annotations, "GET /any/{order_id}", {}, ["/any/x?full=yes"]),
    (Shop().method, "POST /shop", {"response_model_include": {"name"}}, ["/shop"]),
    (Shop.static, "GET /shop/static", {}, ["/shop/static?order_id=1", "/shop/static"]),
    (Shop.of_class, "GET /shop/class", {}, ["/shop/class?order_id=1"]),
    (Shop(), "GET /shop/called", {}, ["/shop/called?order_id=1", "/shop/called"]),
    (
        functools.partial(either, kind="book"),
        "GET /either",
        {"response_class": JSONResponse, "responses": {404: {"model": Order}}},
        ["/either?order_id=0", "/either?order_id=x"],
    ),
    (either, "GET /other", {}, ["/other?order_id=1&kind=a", "/other?order_id=0&kind=b"]),
]

each = pytest.mark.parametrize(
    "endpoint", ENDPOINTS, ids=lambda endpoint: endpoint[1].replace(" /", "-")
)


def app_of(decorate: Decorate, endpoint: Any, route: str, options: Any) -> FastAPI:
    """Return an app with one endpoint, behind dependencies that are decorated too."""
    app = FastAPI(dependencies=[Depends(decorate(one)) for one in (tenant, session)])
    method, path = route.split()
    app.api_route(path, methods=[method], **options)(decorate(endpoint))
    app.websocket("/talk")(decorate(talk))
    return app


def as_it_is(endpoint: Any) -> Any:
    """Return an endpoint undecorated."""
    return endpoint


@each
@pytest.mark.parametrize("decorate", DECORATORS.values(), ids=DECORATORS)
def test_schema(decorate: Decorate, endpoint: tuple[Any, str, Any, Any]) -> None:
    """The OpenAPI schema is the same with and without the decorator."""
    function, route, options, _ = endpoint

    plain = app_of(as_it_is, function, route, options)
    decorated = app_of(decorate, function, route, options)

    assert plain.openapi() == decorated.openapi()
    assert [route.name for route in named(plain)] == [
        route.name for route in named(decorated)
    ]


def named(app: FastAPI) -> list[Any]:
    """Return the routes that are endpoints."""
    return [route for route in app.routes if hasattr(route, "name")]


@each
def test_answers(endpoint: tuple[Any, str, Any, Any]) -> None:
    """What is asked rightly is answered alike, and what is asked wrongly is refused so."""
    function, route, options, urls = endpoint
    method = route.split()[0]

    async def answers(app: FastAPI) -> list[tuple[int, bytes, list[str]]]:
        told = []
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://shop",
            headers={"x-user-id": "alice", "authorization": "Bearer t"},
        )
        async with client:
            for url in urls:
                for sent in (None, {"name": "tea"}, {"order": {"name": "tea"}}, ["?"]):
                    answer = await client.request(method, url, json=sent)
                    told.append((answer.status_code, answer.content, list(answer.headers)))
        return told

    plain = asyncio.run(answers(app_of(as_it_is, function, route, options)))
    decorated = asyncio.run(answers(app_of(alice, function, route, options)))

    assert plain == decorated
    statuses = {status for status, *_ in plain}
    assert min(statuses) < 300 <= max(*statuses, 422) < 500


def note_thread(request: Request) -> None:
    """Note in which thread an endpoint runs."""
    request.app.state.threads.append(threading.get_ident())


async def soon(request: Request) -> None:
    """Run as a coroutine function."""
    note_thread(request)


async def soon_yielding(request: Request) -> AsyncIterator[str]:
    """Run as an asynchronous generator."""
    note_thread(request)
    yield "42"


def now_yielding(request: Request) -> Iterator[str]:
    """Run as a generator."""
    note_thread(request)
    yield "42"


class Soon:
    """An object that is called like a coroutine function."""

    async def __call__(self, request: Request) -> None:
        """Note the thread, soon."""
        note_thread(request)


class Now:
    """An object that is called like a function."""

    def __call__(self, request: Request) -> None:
        """Note the thread."""
        note_thread(request)


@functools.wraps(soon)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    """Look like a coroutine function, and return what one does."""
    return soon(*args, **kwargs)


# Whether FastAPI runs it in the event loop's own thread.
RUN_IN_THE_LOOP = {
    soon: True,
    soon_yielding: True,
    wrapped: True,
    Soon(): True,
    Soon().__call__: True,
    functools.partial(soon): True,
    note_thread: False,
    now_yielding: False,
    Now(): False,
    functools.partial(note_thread): False,
}


@pytest.mark.parametrize("role", ["endpoint", "dependency"])
@pytest.mark.parametrize(("function", "is_in_loop"), RUN_IN_THE_LOOP.items())
@pytest.mark.parametrize("decorate", [as_it_is, alice], ids=["plain", "decorated"])
def test_threads(decorate: Decorate, function: Any, is_in_loop: bool, role: str) -> None:
    """What is sync runs in the threadpool, what is async in the loop, decorated or not."""
    app = FastAPI()
    app.state.threads = []
    traced = decorate(function)
    if role == "endpoint":
        app.get("/")(traced)
    else:
        app.get("/", dependencies=[Depends(traced)])(lambda: None)

    async def ask() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            assert 200 == (await client.get("/")).status_code

    asyncio.run(ask())

    [thread] = app.state.threads
    assert is_in_loop == (threading.get_ident() == thread)
