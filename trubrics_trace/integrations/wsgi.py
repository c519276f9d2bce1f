"""A scope around each request of a WSGI app.

For Flask, Django, Bottle, Pyramid and any other. The call of the app, each step of the body
that it returns, and the body's `close()` run inside one scope; while the server writes what
it was given, nothing of ours is current.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..scope._arguments import Identity, Metadata, Recipe, Tags
from ..scope._attributes import NOT_GIVEN
from ..scope._current import open_scope
from ..scope._scope import Scope
from ._door import Step, closed_by_failure

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Where the app finds the scope of its request; PEP 3333 leaves such names to middleware.
SCOPE_KEY = "trubrics_trace.scope"


class TrubricsWSGIMiddleware:
    """A WSGI app around another: a scope a request, to the body's last byte.

    The scope is fresh, and closes when the server closes the body. Lists and files are
    handed on as they are, so that the server may measure and send them in its own way.

    Args:
        wsgi_app: The app inside.
        user_id, thread_id, session_id, assistant_id, run_name, tags, metadata: As in
            `trubrics_scope`, and so is any other keyword. A callable takes the
            `environ`, as in `lambda environ: environ.get("HTTP_X_USER_ID")`.

    Raises:
        ConfigurationError: A callable does not take one argument, or is async.
    """

    def __init__(
        self,
        wsgi_app: WSGIApplication,
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
        self.wsgi_app = wsgi_app
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
            takes="environ",
        )

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer one request."""
        scope = open_scope(self._recipe.attributes(args=(environ,)), fresh=True)
        environ[SCOPE_KEY] = scope
        step = Step(scope)
        with closed_by_failure(scope), step:
            body = self.wsgi_app(environ, start_response)
        if isinstance(body, (list, tuple)) or _is_file(body, environ):
            scope.close()
            return body
        return _Body(body, scope, step)

    def __repr__(self) -> str:
        return f"TrubricsWSGIMiddleware({self._recipe!r})"


class _Body:
    """What an app returned, each step taken inside the scope of its request.

    No generator: closed before its first step, one would not close what is inside.
    """

    def __init__(self, body: Iterable[bytes], scope: Scope, step: Step) -> None:
        self._body = body
        self._scope = scope
        self._step = step

    def __iter__(self) -> Iterator[bytes]:
        with self._step:
            chunks = iter(self._body)
        while True:
            with self._step:
                try:
                    chunk = next(chunks)
                except StopIteration:
                    return
            yield chunk

    def close(self) -> None:
        """Close what is inside, if it can be, then the scope (PEP 3333)."""
        close = getattr(self._body, "close", None)
        try:
            if close is not None:
                with self._step:
                    close()
        finally:
            self._scope.close()


def _is_file(body: object, environ: WSGIEnvironment) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    is_wrapped = isinstance(wrapper, type) and isinstance(body, wrapper)
    return is_wrapped or hasattr(body, "read")
