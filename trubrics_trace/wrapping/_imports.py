"""Something done when a module has been imported, now if it already is."""

from __future__ import annotations

import wrapt

from .. import _runtime
from ..langchain import _hook


def watch_for_langchain() -> None:
    """Register the hook with LangChain: now, or inside the app's own import of it."""
    wrapt.register_post_import_hook(_hook.register, _hook.TRIGGER)


_runtime.when_installed.append(watch_for_langchain)
