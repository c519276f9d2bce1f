"""LangChain's callbacks, told as one record per model call.

This is the door of `langchain_core`. One handler serves the whole process, and any made by
hand works beside it: whoever is first at a run's end takes its note. Nothing is read at the
end that could have changed since the start; `on_llm_end` and `on_llm_error` run in a task
of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from langchain_core.callbacks.base import BaseCallbackHandler

from .. import _notices, _runtime
from .._ledger import ledger
from .._settings import Settings
from ..pipeline._guard import attempt
from ..scope._arguments import Identity, Metadata, Recipe, Tags
from ..scope._attributes import (
    NOT_GIVEN,
    NOTHING,
    merge,
    without_identity,
)
from ..scope._current import (
    prepare,
    scope_was_left_elsewhere,
    scope_was_opened_here,
)
from ..scope._scope import Scope
from ._config import config_attributes
from ._inline import is_somebody_skipped
from ._telling import note_conflict, note_of, notice_user, status_of, tell
from ._turns import MAX_RUNNING, Turn, turns


class TrubricsCallbackHandler(BaseCallbackHandler):
    """LangChain's handler for Trubrics: it records each model call it sees.

    Inside a scope nobody needs it: the scope brings it along. By hand it goes wherever
    LangChain takes callbacks, and records there whether or not a scope is open; its
    keywords are then weaker than any scope's. Both together record once. Safe to share
    between any calls, threads and tasks.

    Args:
        project: The project of the e-mail and password platform; `TRUBRICS_PROJECT`.
        email, password: Credentials of that platform; `TRUBRICS_EMAIL`,
            `TRUBRICS_PASSWORD`.
        api_key, host, account, client: Credentials of today's platform, for this handler
            alone; see `configure`. Left out: what `configure` or the environment says.
        user_id, thread_id, session_id, assistant_id, run_name, tags, metadata: As in
            `trubrics_scope`; any other keyword is metadata.

    Raises:
        ConfigurationError: A credential cannot be used, or a callable takes arguments.
    """

    def __init__(
        self,
        project: str = "default",
        email: str | None = None,
        password: str | None = None,
        *,
        api_key: str | None = None,
        host: str | None = None,
        account: str | None = None,
        client: object = None,
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
            )
        )
        self._given = {
            "project": None if project == "default" else project,
            "email": email,
            "password": password,
            "api_key": api_key,
            "host": host,
            "account": account,
            "client": client,
        }
        self._settings = _runtime.settings_with(**self._given)  # refused here, if at all
        self._settled_on: Settings | None = _runtime.settings()
        self._is_hooks_own = False
        prepare()

    @classmethod
    def for_hook(cls) -> TrubricsCallbackHandler:
        """Return the handler that scopes bring along: it records only inside them."""
        handler = cls()
        handler._is_hooks_own = True
        return handler

    # Properties over the base class's attributes: LangChain asks at each event.
    @property
    def raise_error(self) -> bool:  # type: ignore[override]
        """Whether what goes wrong here is raised: in strict mode only."""
        return ledger.strict

    @property
    def run_inline(self) -> bool:  # type: ignore[override]
        """Whether async callbacks run in the loop: yes, at half a thread's cost.

        Save where somebody else's handler would then not be told: see `_inline.py`.
        """
        asking = sys._getframe(1)  # noqa: SLF001 - as logging finds its caller
        return not is_somebody_skipped(asking, TrubricsCallbackHandler)

    @property
    def ignore_retry(self) -> bool:
        """Whether LangChain need not tell us of its own retries."""
        return True

    @property
    def ignore_custom_event(self) -> bool:
        """Whether LangChain need not tell us of the app's own events."""
        return True

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[Any]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Note a chat model's call, with who asked."""
        attempt(
            "callback_failed",
            self._begin,
            run_id,
            parent_run_id,
            messages[0] if messages else [],
            tags,
            metadata,
            kwargs,
        )

    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Note a completion model's call, with who asked."""
        prompt = prompts[0] if prompts else ""
        attempt(
            "callback_failed",
            self._begin,
            run_id,
            parent_run_id,
            prompt,
            tags,
            metadata,
            kwargs,
        )

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note when the first part of the answer came, and each part."""
        turn = turns.get(run_id)
        if turn is not None:
            turn.note_token(token)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Tell a call that has its answer."""
        turn = turns.take(run_id)
        if turn is not None:
            attempt("callback_failed", tell, turn, response, "complete", None)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Tell a call that failed, or that somebody stopped."""
        turn = turns.take(run_id)
        if turn is not None:
            response = kwargs.get("response")
            status = status_of(error)
            attempt("callback_failed", tell, turn, response, status, error)

    def on_chain_start(
        self,
        serialized: Any,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """Note a live run, whose calls belong together."""
        name = kwargs.get("name")
        attempt("callback_failed", turns.begin_run, run_id, parent_run_id, name)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget a live run."""
        turns.end_run(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget a live run."""
        turns.end_run(run_id)

    # A tool or a retriever is a live run like a chain; only its input is of another type.
    on_tool_start: Callable[..., None] = on_chain_start
    on_tool_end: Callable[..., None] = on_chain_end
    on_tool_error: Callable[..., None] = on_chain_error
    on_retriever_start: Callable[..., None] = on_chain_start
    on_retriever_end: Callable[..., None] = on_chain_end
    on_retriever_error: Callable[..., None] = on_chain_error

    def __repr__(self) -> str:
        return f"<TrubricsCallbackHandler {self._recipe!r}>".replace(" >", ">")

    def _begin(
        self,
        run_id: UUID,
        parent_run_id: UUID | None,
        asked: str | Sequence[Any],
        tags: list[str] | None,
        metadata: Mapping[str, Any] | None,
        kwargs: Mapping[str, Any],
    ) -> None:
        settle_orphans()
        if _runtime.is_telling():  # `before_send`, or a redactor, asks a model itself
            ledger.skip("inside_pipeline")
            return
        own = NOTHING if self._is_hooks_own else self._recipe.attributes()
        noted = turns.get(run_id)
        if noted is not None:  # another handler heard of it first: one record, of both
            note_conflict(own, noted.attributes)
            noted.attributes = merge(own, noted.attributes)
            self._receive(noted)
            return
        scope = turns.owner_of(parent_run_id)
        if not self._is_recorded(scope, parent_run_id):
            return
        metadata = metadata or {}
        config = config_attributes(tags, metadata)
        if turns.is_over(parent_run_id):  # a context outlived the run that it tells of
            own, config = without_identity(own), without_identity(config)
        inner = NOTHING if scope is None else scope.attributes
        attributes = merge(merge(own, config), inner)
        note_conflict(own, config, inner)
        notice_user(attributes, parent_run_id)
        live = turns.run_of(parent_run_id)
        turn = note_of(run_id, parent_run_id, scope, attributes, asked, metadata, kwargs)
        if live is not None and turn.run_name is None:
            turn.run_name = live.root_name
        self._receive(turn)
        given_up = turns.begin(run_id, turn)
        if given_up is not None:
            ledger.fault(
                "unfinished",
                f"more than {MAX_RUNNING:,} calls run at once, so the record of the oldest "
                "is given up; await or close what was started",
            )

    def _receive(self, turn: Turn) -> None:
        """Have the record sent to this handler's own place, or else the usual."""
        usual = _runtime.settings()
        if self._settled_on is not usual:  # configured anew: all but the credentials
            self._settings = _runtime.settings_with(**self._given)
            self._settled_on = usual
        settings = self._settings or usual
        turn.recipients.setdefault(settings.destination, settings)

    def _is_recorded(self, scope: Scope | None, parent: UUID | None) -> bool:
        if scope is not None:
            if not scope.is_enabled:
                ledger.skip("scope_disabled")
            return scope.is_enabled
        if not self._is_hooks_own or _runtime.settings().capture == "all":
            return True
        # A worker may have been handed the config of a run, and know of no scope.
        if scope_was_opened_here() or turns.is_over(parent):
            ledger.fault("late", lambda: _late(parent))
        elif scope_was_left_elsewhere():  # likely, and not known: raised nowhere
            ledger.note("late")
            if not _notices.was_said("late"):
                ledger.say("late", _late(parent))
        return False


def _late(parent: UUID | None) -> str:
    return (
        f"a model call at {turns.place_of(parent)} came when no scope was open any more, "
        "so it is not recorded; carry the scope with carry_scope(...), or open it in the "
        "web framework's middleware"
    )


def settle_orphans() -> None:
    """Tell the calls whose end nobody can report any more, as cancelled."""
    for turn, ended in turns.take_orphans():
        attempt("callback_failed", tell, turn, None, "cancelled", None, ended)
