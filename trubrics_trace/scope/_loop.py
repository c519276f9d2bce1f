"""The event loop that runs here, asked without importing asyncio."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_modules = sys.modules
_ask: Callable[[], Any] | None = None


def running_loop() -> Any:
    """Return the running event loop, or None."""
    global _ask
    if _ask is None:
        # Its public twin raises. Another thread may be in the middle of the import.
        events = _modules.get("asyncio.events")
        _ask = getattr(events, "_get_running_loop", None)
    return None if _ask is None else _ask()
