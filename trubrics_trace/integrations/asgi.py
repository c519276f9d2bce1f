"""A scope around each request of an ASGI app.

For FastAPI, Starlette, Litestar, Quart and any other. Pure ASGI, so it covers endpoint,
stream body and background tasks alike. While the app waits in the server's `receive` and
`send`, the context holds nothing: there asyncio copies it for the next request of a
keep-alive connection (python/cpython#140947, Kludex/uvicorn#2167), whose user would else be
this one's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from typing import Any, TypeAlias

from ..scope._arguments import Identity, Metadata, Recipe, Tags
from ..scope._attributes import NOT_GIVEN
from ..scope._current import open_scope
from ._door import Step

# Each framework has types of its own for the specification's dicts: mutable mappings here,
# typed dicts there (asgi.readthedocs.io, "Applications").
_Connection: TypeAlias = Any
_Message: TypeAlias = Any
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]
_App: TypeAlias = Callable[[_Connection, Any, Any], Awaitable[None]]


class TrubricsMiddleware:
    """An ASGI app around another: a scope for each HTTP request or WebSocket.

    The scope is fresh, and closes when the app has done all of its work for the request.
    Anything else, such as the lifespan, passes through untouched.

    Args:
        app: The app inside.
        user_id, thread_id, session_id, assistant_id, run_name, tags, metadata: As in
            `trubrics_scope`, and so is any other keyword. A callable takes the ASGI
            `scope`, a dict; `header` and `cookie` make such callables.

    Raises:
        ConfigurationError: A callable does not take one argument, or is async.

    Example:
        >>> from fastapi import FastAPI
        >>> from trubrics_trace.integrations.asgi import TrubricsMiddleware, header
        >>> app = FastAPI()
        >>> app.add_middleware(TrubricsMiddleware, user_id=header("x-user-id"))
    """

    def __init__(
        self,
        app: _App,
        *,
        user_id: Identity = NOT_GIVEN,
        thread_id: Identity = NOT_GIVEN,
        session_id: Identity = NOT_GIVEN,
        assistant_id: Identity = NOT_GIVEN,
        run_name: Identity = NOT_GIVEN,
        tags: Tags = NOT_GIVEN,
        metadata: Metadata = NOT_GIVEN,
        **more_metadata: Any,
    ) -> None:
        self.app = app
        self._recipe = Recipe.for_door(
            dict(
                user_id=user_id,
                thread_id=thread_id,
                session_id=session_id,
                assistant_id=assistant_id,
                run_name=run_name,
                tags=tags,
                metadata=metadata,
                **more_metadata,
            ),
            takes="ASGI scope",
        )

    async def __call__(self, scope: _Connection, receive: _Receive, send: _Send) -> None:
        """Answer one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        async def receive_outside() -> _Message:
            with Step(None):
                return await receive()

        async def send_outside(message: _Message) -> None:
            with Step(None):
                await send(message)

        opened = open_scope(self._recipe.attributes(args=(scope,)), fresh=True)
        with closing(opened), Step(opened):
            await self.app(scope, receive_outside, send_outside)

    def __repr__(self) -> str:
        return f"TrubricsMiddleware({self._recipe!r})"


def header(name: str) -> Callable[[_Connection], str | None]:
    """Return a callable that reads a request's header, in any case of letters.

    A header that is absent, or that is there more than once and says different things,
    names nobody: what the client sent and what a proxy added cannot be told apart.

    Example:
        >>> header("X-User-Id")({"headers": [(b"x-user-id", b"alice")]})
        'alice'
    """

    def read_header(scope: _Connection) -> str | None:
        return _the_one(_header_values(scope, name))

    return read_header


def cookie(name: str) -> Callable[[_Connection], str | None]:
    """Return a callable that reads a request's cookie; case counts in `name`.

    A cookie that is absent, or that is there more than once and says different things,
    names nobody: RFC 6265 lets no server rely on their order.

    Example:
        >>> cookie("user")({"headers": [(b"cookie", b"theme=dark; user=alice")]})
        'alice'
    """

    def read_cookie(scope: _Connection) -> str | None:
        pairs = (
            pair.partition("=")
            for line in _header_values(scope, "cookie")  # HTTP/2 may split it: RFC 9113
            for pair in line.split(";")
        )
        return _the_one(
            _unquoted(value.strip()) for key, _, value in pairs if key.strip() == name
        )

    return read_cookie


def _header_values(scope: _Connection, name: str) -> Iterable[str]:
    wanted = name.lower().encode("latin-1")
    return (
        value.decode("latin-1") for key, value in scope["headers"] if key.lower() == wanted
    )


def _the_one(values: Iterable[str]) -> str | None:
    different = set(values)
    return different.pop() if len(different) == 1 else None


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] == '"'
    return value[1:-1] if is_quoted else value
