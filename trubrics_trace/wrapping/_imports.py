"""What is installed when it is first needed: runtime and hook."""

from __future__ import annotations

import threading

import wrapt

from .. import _fork
from .._ledger import ledger
from ..pipeline._guard import attempt
from ..scope._current import before_first_open
from ._decorator import TracedFunction

_loading = threading.RLock()
_is_begun = False
_is_loading = False


def install() -> None:
    """Install the runtime; the hook now, or at the app's import of LangChain.

    Loaded here and not above: what only decorates pays for no spool and no sender. Never
    raises, save when strict; where it fails, the next scope tries again.
    """
    global _is_begun, _is_loading
    if not _is_begun:
        _is_begun = True
        # A child whose parent was importing would wait for that for ever.
        _fork.register(
            before=_loading.acquire,
            after_in_parent=_loading.release,
            after_in_child=_loading.release,
        )
    with _loading:
        if _is_loading:  # a signal handler, or a collection, came between
            return
        _is_loading = True
        try:
            attempt("install_failed", _install)
        finally:
            _is_loading = False


def _install() -> None:
    from .. import _runtime
    from ..langchain import _hook

    _runtime.install(lambda: wrapt.register_post_import_hook(_hook.register, _hook.TRIGGER))
    if ledger.strict:  # what was decorated before anybody had read the environment
        from ._misplaced import warn_of_registered, wrapped_in

        warn_of_registered(wrapped_in(TracedFunction))


before_first_open.append(install)
