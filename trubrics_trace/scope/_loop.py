"""The event loop that runs here, asked without importing asyncio."""

from __future__ import annotations

import sys
from typing import Any

_modules = sys.modules


def running_loop() -> Any:
    """Return the running event loop, or None."""
    events = _modules.get("asyncio.events")
    # Its public twin raises. Another thread may be in the middle of the import.
    ask = getattr(events, "_get_running_loop", None)
    return None if ask is None else ask()
