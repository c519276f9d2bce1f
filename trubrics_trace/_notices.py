"""What is said to people: once a process, with the value, the place and the remedy.

A notice is a WARNING of the standard library's logger `trubrics_trace`, so it shows where
nothing is configured and obeys where something is. It never holds a prompt or a key.
"""

from __future__ import annotations

import logging
import os
import sys
from types import FrameType

logger = logging.getLogger("trubrics_trace")

_said: dict[str, object] = {}
_NOT_THE_APP = (
    os.path.dirname(os.path.abspath(__file__)) + os.sep,
    os.path.dirname(os.path.abspath(logging.__path__[0])) + os.sep,
    "<frozen",
)


def say_once(key: str, message: str) -> None:
    """Say the message, unless this process has said `key` before."""
    mine = object()
    if _said.setdefault(key, mine) is mine:  # atomic: two threads do not both say it
        logger.warning("%s", message)


def was_said(key: str) -> bool:
    """Whether this process has said `key`."""
    return key in _said


def forget_said() -> None:
    """Let every notice be said again: a new configuration, or a test, begins."""
    _said.clear()


def place_of_caller() -> str:
    """Return `file:line` of the nearest frame that is the app's, not ours nor a library's.

    Installed libraries are passed over as well, so that a model call made through
    LangChain is placed where the app made it. Where no frame is the app's: `unknown`.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        filename = frame.f_code.co_filename
        is_app = "site-packages" not in filename and not filename.startswith(_NOT_THE_APP)
        if is_app or frame.f_globals.get("__name__") == "__main__":
            return f"{os.path.basename(filename)}:{frame.f_lineno}"
        frame = frame.f_back
    return "unknown"
