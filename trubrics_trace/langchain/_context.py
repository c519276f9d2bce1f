"""LangChain's own context variable, which leaks, and how to step out.

LangChain tells the calls inside a run of their run by `var_child_runnable_config`
(langchain_core/runnables/config.py). A context that was copied inside a run, by asyncio
for a connection's next request, say, goes on telling it to strangers. Looked up where
LangChain has put it: nothing is imported for it.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar, Token
from typing import Any
from uuid import UUID


def run_here() -> UUID | None:
    """Return the run that this context tells of."""
    variable = _variable()
    config = None if variable is None else variable.get(None)
    if not isinstance(config, dict):
        return None
    run_id = getattr(config.get("callbacks"), "parent_run_id", None)
    return run_id if isinstance(run_id, UUID) else None


def leave_run() -> Token[Any] | None:
    """Make this context tell of no run of LangChain's, until `rejoin_run`."""
    variable = _variable()
    if variable is None or variable.get(None) is None:
        return None
    return variable.set(None)


def rejoin_run(left: Token[Any] | None) -> None:
    """Restore what `leave_run` took away; in another context, do nothing."""
    if left is None:
        return
    try:
        left.var.reset(left)
    except ValueError:  # a coroutine that is collected half-done ends anywhere
        return


def _variable() -> ContextVar[Any] | None:
    config_module = sys.modules.get("langchain_core.runnables.config")
    variable = getattr(config_module, "var_child_runnable_config", None)
    return variable if isinstance(variable, ContextVar) else None
