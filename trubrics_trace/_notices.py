"""What people are told: seldom, with the value, the place and the remedy.

A notice is a WARNING of the standard library's logger `trubrics_trace`, so it shows where
nothing is configured and obeys where something is. It never holds a prompt or a key.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from types import CodeType, FrameType

from . import _clock

logger = logging.getLogger("trubrics_trace")

_said: dict[str, float] = {}  # until when it is not said again
_NOT_THE_APP = (
    os.path.dirname(os.path.abspath(__file__)) + os.sep,
    os.path.dirname(os.path.abspath(logging.__path__[0])) + os.sep,
    "<frozen",
)
_LOOPS = tuple(
    f"{os.sep}asyncio{os.sep}{name}.py" for name in ("base_events", "events", "runners")
)


def say_once(key: str, message: str, again_after: float = math.inf) -> None:
    """Say the message unless `key` was said in the last `again_after` seconds.

    Raises:
        BaseException: What a filter of the app's own logging raises.
    """
    now = _clock.monotonic()
    until = now + again_after
    held = _said.setdefault(key, until)  # atomic: of two threads one says it
    if held is not until:
        if now < held:
            return
        _said[key] = until  # here both may: once in so many seconds is no promise
    logger.warning("%s", message)


def tell(message: str) -> None:
    """Say what went well, each time, for those who listen to that.

    Raises:
        BaseException: What a filter of the app's own logging raises.
    """
    logger.info("%s", message)


def was_said(key: str) -> bool:
    """Whether `key` was said, and is not to be said again yet."""
    until = _said.get(key)  # asked once: another thread may forget it
    return until is not None and _clock.monotonic() < until


def forget_said() -> None:
    """Let every notice be said again: a new configuration, or a test, begins."""
    _said.clear()


def place_of_caller() -> str:
    """Return `file:line` of the nearest frame that is the app's, not ours.

    Installed libraries are passed over as well, so that a model call made through
    LangChain is placed where the app made it. Where no frame is the app's: `unknown`.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - as logging finds its caller
    while frame is not None:
        filename = frame.f_code.co_filename
        if filename.endswith(_LOOPS):  # below stands who runs the loop, not who called
            break
        is_app = "site-packages" not in filename and not filename.startswith(_NOT_THE_APP)
        if is_app or frame.f_globals.get("__name__") == "__main__":
            return place_of(frame)
        frame = frame.f_back
    return "unknown"


def place_of(frame: FrameType) -> str:
    """Return `file:line` of what a frame is at."""
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def place_at(code: CodeType, offset: int) -> str:
    """Return `file:line` of an instruction, whose frame may be long gone."""
    lines = (line for start, end, line in code.co_lines() if start <= offset < end)
    return f"{os.path.basename(code.co_filename)}:{next(lines, code.co_firstlineno)}"


def place_of_code(code: CodeType) -> str:
    """Return `file:line` of where a function begins."""
    return f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}"


def place_of_error(error: BaseException) -> str:
    """Return where it was raised, not what it says: that might be a prompt."""
    place, trace = "an unknown place", error.__traceback__
    while trace is not None:
        file = os.path.basename(trace.tb_frame.f_code.co_filename)
        place, trace = f"{file}:{trace.tb_lineno}", trace.tb_next
    return place
