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
from ..scope._attributes import NOT_GIVEN, NOTHING, without_identity
from ..scope._current import (
    prepare,
    scope_was_left_elsewhere,
    scope_was_opened_here,
)
from ..scope._scope import Scope
from ._attempts import name_of
from ._config import config_attributes
from ._endings import end_call, end_run, settle, watch
from ._inline import is_somebody_skipped, tells_all
from ._notes import whose
from ._telling import (
    late_notice,
    note_given_up,
    note_of,
    notice_user,
    status_of,
)
from ._turns import turns


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

    # Properties over the base class's attributes, and attributes over its properties:
    # LangChain asks at each event.
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
        code = asking.f_code
        if tells_all.get(id(code)) is code:  # most often, and asked for each event
            return True
        return not is_somebody_skipped(asking, TrubricsCallbackHandler)

    # What LangChain need not tell us: its own retries, and the app's own events.
    ignore_llm = ignore_chat_model = ignore_chain = ignore_agent = ignore_retriever = False
    ignore_retry = ignore_custom_event = True

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
            serialized,
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
            serialized,
        )

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note when the first part of the answer came, and each part."""
        turn = turns.get(run_id)
        if turn is not None:
            turn.note_token(token)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Tell a call that has its answer."""
        attempt("callback_failed", end_call, run_id, response, "complete", None)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Tell a call that failed, or that somebody stopped."""
        response, status = kwargs.get("response"), status_of(error)
        attempt("callback_failed", end_call, run_id, response, status, error)

    # A tool or a retriever is a live run like a chain, and is told of in other words.
    def _begin_run(
        self,
        serialized: Any,
        asked: Any,
        /,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """Note a live run, whose calls belong together."""
        name = name_of(serialized, kwargs)
        attempt("callback_failed", turns.begin_run, run_id, parent_run_id, name)

    def _end_run(self, answered: Any, /, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget a live run, and tell what ends with it."""
        attempt("callback_failed", end_run, run_id, None)

    def _fail_run(self, error: BaseException, /, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget a live run, and tell what ends with it."""
        attempt("callback_failed", end_run, run_id, error)

    on_chain_start: Callable[..., None] = _begin_run
    on_chain_end: Callable[..., None] = _end_run
    on_chain_error: Callable[..., None] = _fail_run
    on_tool_start: Callable[..., None] = _begin_run
    on_tool_end: Callable[..., None] = _end_run
    on_tool_error: Callable[..., None] = _fail_run
    on_retriever_start: Callable[..., None] = _begin_run
    on_retriever_end: Callable[..., None] = _end_run
    on_retriever_error: Callable[..., None] = _fail_run

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
        serialized: Any,
    ) -> None:
        settle()
        if _runtime.is_telling():  # `before_send`, or a redactor, asks a model itself
            ledger.skip("inside_pipeline")
            return
        own = NOTHING if self._is_hooks_own else self._recipe.attributes()
        noted = turns.get(run_id)
        if noted is not None:  # another handler heard of it first
            if not self._is_hooks_own:
                noted.join(own, self._recipient())
            return
        scope = turns.owner_of(parent_run_id)
        if not self._is_recorded(scope, parent_run_id):
            return
        metadata = metadata or {}
        config = config_attributes(tags, metadata)
        if turns.is_over(parent_run_id):  # a context outlived the run that it tells of
            own, config = without_identity(own), without_identity(config)
        said, attributes = whose(own, config, scope)
        if attributes.user_id is NOT_GIVEN or attributes.user_id is None:
            notice_user(attributes, parent_run_id)
        turn = note_of(run_id, parent_run_id, scope, attributes, asked, metadata, kwargs)
        turn.said = said
        turn.is_usual = self._is_hooks_own
        turn.send_to(self._recipient())
        tried = turns.tried_here()
        if parent_run_id is not None or tried is not None:
            turns.join_run(turn, parent_run_id, tried, name_of(serialized, kwargs))
        given_up = turns.begin(run_id, turn)
        watch(turn, run_id)
        if given_up is not None:
            note_given_up(given_up)

    def _recipient(self) -> Settings:
        """Return where this handler sends: a place of its own, or else the usual."""
        usual = _runtime.settings()
        if self._settled_on is not usual:  # configured anew: all but the credentials
            self._settings = _runtime.settings_with(**self._given)
            self._settled_on = usual
        return self._settings or usual

    def _is_recorded(self, scope: Scope | None, parent: UUID | None) -> bool:
        if scope is not None:
            if scope.is_enabled:
                return True
            ledger.skip("scope_disabled")
            return False
        if not self._is_hooks_own or _runtime.settings().capture == "all":
            return True
        # A worker may have been handed the config of a run, and know of no scope.
        if scope_was_opened_here() or turns.is_over(parent):
            ledger.fault("late", lambda: late_notice(parent))
        elif scope_was_left_elsewhere():  # likely, and not known: raised nowhere
            ledger.note("late")
            if not _notices.was_said("late"):
                ledger.say("late", late_notice(parent))
        return False
