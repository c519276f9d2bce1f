"""A thread that works in the background, where one can still start."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable


def start_thread(
    target: Callable[..., object], *args: object, name: str | None = None
) -> threading.Thread:
    """Return a daemon thread that has started.

    Raises:
        RuntimeError: None can: the interpreter is ending, or has no threads.
    """
    # A stream that a module holds is collected then, and is told. Python 3.12 refuses by
    # itself; before, `start` waits for ever for a thread that is never let run.
    if sys.is_finalizing():
        message = "no thread can start, for the interpreter is ending"
        raise RuntimeError(message)
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    thread.start()
    return thread
