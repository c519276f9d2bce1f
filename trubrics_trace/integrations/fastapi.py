"""A scope around one route's request, as a FastAPI dependency.

FastAPI enters an async dependency in the request's own task, before the endpoint, and
leaves it there after the response was sent (fastapi/routing.py, `request_response`, since
0.118): endpoint, sync or async, stream body and background tasks run inside.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from typing import Any

from fastapi.requests import HTTPConnection

from ..scope._arguments import Identity, Metadata, Recipe, Tags
from ..scope._attributes import NOT_GIVEN
from ..scope._current import leave_behind, open_scope
from ..scope._scope import Scope
from ._door import Step


def trubrics_dependency(
    *,
    user_id: Identity = NOT_GIVEN,
    thread_id: Identity = NOT_GIVEN,
    session_id: Identity = NOT_GIVEN,
    assistant_id: Identity = NOT_GIVEN,
    run_name: Identity = NOT_GIVEN,
    tags: Tags = NOT_GIVEN,
    metadata: Metadata = NOT_GIVEN,
    **more_metadata: Any,
) -> Callable[[HTTPConnection], AsyncGenerator[Scope, None]]:
    """Return a dependency that opens a scope for the request, and yields it.

    For one route, a router or the whole app; HTTP and WebSocket. The scope is fresh, and
    closes when the response has been sent. Before FastAPI 0.118, and with
    `Depends(..., scope="function")`, that is when the endpoint has returned: streams and
    background tasks then need the middleware, else their calls are late, not recorded.

    Args:
        user_id, thread_id, session_id, assistant_id, run_name, tags, metadata: As in
            `trubrics_scope`, and so is any other keyword. A callable takes the `Request`,
            or the `WebSocket`. Where another dependency knows the user, leave `user_id`
            out and call `identify` there.

    Raises:
        ConfigurationError: A callable does not take one argument, or is async.

    Example:
        >>> from fastapi import Depends, FastAPI
        >>> from trubrics_trace.integrations.fastapi import trubrics_dependency
        >>> by_header = trubrics_dependency(
        ...     user_id=lambda request: request.headers.get("x-user-id")
        ... )
        >>> app = FastAPI(dependencies=[Depends(by_header)])
    """
    recipe = Recipe.for_door(
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
        takes="Request",
    )

    async def trubrics_scope_of(
        connection: HTTPConnection,
    ) -> AsyncGenerator[Scope, None]:
        """Have a scope until the endpoint's answer has left."""
        scope = open_scope(recipe.attributes(args=(connection,)), fresh=True)
        try:
            with closing(scope), Step(scope):
                yield scope
        finally:
            leave_behind()  # a stream may begin only now, in the same task

    return trubrics_scope_of
