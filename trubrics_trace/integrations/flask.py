"""A scope around each request of a Flask app.

It covers hooks, view, stream body and teardown. Two halves: around `app.wsgi_app`, where
Flask wants middleware, the scope; before the view, when everything that loads a user has
run, the callables, inside the request context that they read.
"""

from __future__ import annotations

import functools
from typing import Any

from flask import Flask, request

from ..scope._arguments import Identity, Metadata, Recipe, Tags
from ..scope._attributes import NOT_GIVEN, merge
from ..scope._scope import Scope
from .wsgi import SCOPE_KEY, TrubricsWSGIMiddleware


class Trubrics:
    """A Flask extension: each request of the app has its own scope.

    The scope is fresh, and closes when the server closes the body. What the callables
    answer holds from the view on; what `identify` said earlier, in a `before_request`
    function, stands.

    Args:
        app: The app, or None: `init_app` takes it later, and may take several.
        user_id, thread_id, session_id, assistant_id, run_name, tags, metadata: As in
            `trubrics_scope`, and so is any other keyword. A callable takes nothing:
            Flask's `request`, `session` and `g` are at hand.

    Raises:
        ConfigurationError: A callable takes arguments, or is async.

    Example:
        >>> from flask import Flask, request
        >>> from trubrics_trace.integrations.flask import Trubrics
        >>> app = Flask(__name__)
        >>> _ = Trubrics(app, user_id=lambda: request.headers.get("x-user-id"))
    """

    def __init__(
        self,
        app: Flask | None = None,
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
        self._recipe = Recipe.for_scope(
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
            "this extension",
        )
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Give each request of the app its own scope, from here on."""
        dispatch = app.dispatch_request

        @functools.wraps(dispatch)
        def dispatch_request(*args: Any, **kwargs: Any) -> Any:
            self._identify_request()
            return dispatch(*args, **kwargs)

        # Flask calls both on the instance. No `before_request` function: those of the app
        # that load the user into `g` may be registered after this, and would run later.
        app.dispatch_request = dispatch_request  # type: ignore[method-assign]
        app.wsgi_app = TrubricsWSGIMiddleware(app.wsgi_app)  # type: ignore[method-assign]

    def _identify_request(self) -> None:
        scope = request.environ.get(SCOPE_KEY)
        if isinstance(scope, Scope):  # none where a test dispatches without the WSGI app
            scope.identify(merge(self._recipe.attributes(), scope.attributes))

    def __repr__(self) -> str:
        return f"Trubrics({self._recipe!r})"
