"""How LangChain learns of us: its own configure hook, registered once.

LangChain asks the hook for a handler at each configuration, twice; both answers agree,
because they are the same look at the one ContextVar. The mark is looked up in core's own
list, so a reload, or a notebook's second run, takes the old hook's place.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from .. import _runtime
from ..pipeline._guard import attempt
from ..scope._current import (
    after_leave,
    scope_was_left_elsewhere,
    scope_was_opened_here,
    when_leaving_everything,
)
from ._context import leave_run

if TYPE_CHECKING:
    from ._handler import TrubricsCallbackHandler

TRIGGER = "langchain_core.tracers.context"  # where the list of hooks lives


class Hook:
    """What stands for a ContextVar in LangChain's list: only `get` is called.

    A real one would be a second truth beside the scope's.
    """

    is_hook_of_trubrics_trace = True

    def __init__(self) -> None:
        self._handler: TrubricsCallbackHandler | None = None

    def get(self) -> TrubricsCallbackHandler | None:
        """Return our handler wherever a scope is or was open, else None."""
        if self._handler is not None and scope_was_opened_here():  # most often
            return self._handler
        return attempt("hook_failed", self._get)

    def _get(self) -> TrubricsCallbackHandler | None:
        may_be_late = scope_was_opened_here() or scope_was_left_elsewhere()
        if not may_be_late and _runtime.settings().capture != "all":
            return None
        if self._handler is None:
            from ._handler import TrubricsCallbackHandler

            self._handler = TrubricsCallbackHandler.for_hook()
        return self._handler

    def __repr__(self) -> str:
        return "<the hook of trubrics-trace>"


def register(context_module: ModuleType) -> None:
    """Register the hook with `langchain_core.tracers.context`, once imported.

    Runs inside the app's own import of LangChain, so whatever is wrong there is said and
    not raised.
    """
    attempt("hook_failed", _register, context_module)


def _register(context_module: ModuleType) -> None:
    from ._endings import forget_tasks, give_up, settle, settle_scope
    from ._handler import TrubricsCallbackHandler
    from ._turns import turns

    after_leave[:] = [settle_scope]
    _runtime.when_settling[:] = [settle]
    _runtime.when_ending[:] = [give_up]
    when_leaving_everything[:] = [leave_run]
    _runtime.when_forked[:] = [turns.clear, forget_tasks]
    import_module(context_module.__name__)  # another thread may be in the middle of it
    hooks = context_module._configure_hooks  # noqa: SLF001 - it has no public way to ask
    entry = (Hook(), True, TrubricsCallbackHandler, None)
    for index, (var, *_) in enumerate(hooks):
        if getattr(var, "is_hook_of_trubrics_trace", False):
            hooks[index] = entry
            return
    context_module.register_configure_hook(
        entry[0], inheritable=True, handle_class=TrubricsCallbackHandler
    )
