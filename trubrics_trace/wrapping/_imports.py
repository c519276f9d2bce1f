"""What is installed at first need: the runtime, and LangChain's hook."""

from __future__ import annotations

import wrapt

from ..scope._current import before_first_open


def install() -> None:
    """Install the runtime; the hook now, or at the app's import of LangChain.

    Loaded here and not above: what only decorates pays for no spool and no sender.
    """
    from .. import _runtime
    from ..langchain import _hook

    _runtime.install(lambda: wrapt.register_post_import_hook(_hook.register, _hook.TRIGGER))


before_first_open.append(install)
