"""A scope around each request of a Django site, under WSGI and ASGI.

Django calls its middleware sync or async, as the rest of the chain is; a streaming body
runs after the middleware has returned, so it is followed, step by step.
"""

# mypy: disable-error-code=import-untyped
# Django ships no types.

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django import conf  # not its `settings`: whatever inspects a module would wake them
from django.http import HttpRequest, HttpResponse

from ..errors import ConfigurationError
from ..scope._arguments import Recipe
from ..scope._attributes import Attributes
from ..scope._current import open_scope
from ..scope._scope import Scope
from ..wrapping._returned import follow
from ._door import Step, closed_by_failure


class TrubricsMiddleware:
    """Django middleware: each request has a scope, to its body's last part.

    Belongs into `MIDDLEWARE` after whatever finds the user, such as Django's
    `AuthenticationMiddleware`. The setting `TRUBRICS` is a dict of the keywords of
    `trubrics_scope`; a callable takes the `HttpRequest`, and may read the database, also
    under ASGI. The scope is fresh, and closes when the response is whole, or its stream
    has ended.

    Raises:
        ConfigurationError: `TRUBRICS` is no dict, or a callable in it does not take one
            argument, or is async.

    Example:
        >>> TRUBRICS = {"user_id": lambda request: request.user.pk, "tags": ["site"]}
    """

    sync_capable = True
    async_capable = True

    def __init__(
        self, get_response: Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]
    ) -> None:
        attributes = getattr(conf.settings, "TRUBRICS", {})
        if not isinstance(attributes, dict):
            message = (
                f"the setting TRUBRICS is of type {type(attributes).__name__}; make it a "
                "dict, as in {'user_id': lambda request: request.user.pk}"
            )
            raise ConfigurationError(message)
        self.get_response: Any = get_response
        self._recipe = Recipe.for_door(attributes, takes="HttpRequest")
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        """Answer one request."""
        if self._is_async:
            return self._answer_awaited(request)
        scope = open_scope(self._recipe.attributes(args=(request,)), fresh=True)
        with closed_by_failure(scope), Step(scope):
            response = self.get_response(request)
        return _followed(response, scope)

    async def _answer_awaited(self, request: HttpRequest) -> HttpResponse:
        scope = open_scope(await self._attributes_awaited(request), fresh=True)
        with closed_by_failure(scope), Step(scope):
            response = await self.get_response(request)
        return _followed(response, scope)

    async def _attributes_awaited(self, request: HttpRequest) -> Attributes:
        if not self._recipe.reads:
            return self._recipe.attributes()
        # On Django's own thread: `request.user` reads the database, which Django forbids
        # in the event loop (SynchronousOnlyOperation).
        return await sync_to_async(self._recipe.attributes)(args=(request,))

    def __repr__(self) -> str:
        return f"TrubricsMiddleware({self._recipe!r})"


def _followed(response: HttpResponse, scope: Scope) -> HttpResponse:
    """Return the response; its body, if it is a stream, now closes the scope.

    A file stays as it is, so that the server may send it in its own way.
    """
    is_file = getattr(response, "file_to_stream", None) is not None
    if is_file or follow(response, scope) is None:
        scope.close()
    return response
