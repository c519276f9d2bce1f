"""Whether our async callbacks may run in the loop and silence no others.

`AsyncCallbackManager.on_llm_start`, of langchain-core up to 1.7, tells a completion model's
start to the inline handlers *or* to the others (langchain-ai/langchain#39633). There, and
nowhere else, ours steps back into the thread pool: where others stand beside it that are
not inline. Where one is, those are skipped with or without us.
"""

from __future__ import annotations

from types import FrameType
from typing import Any

from ._frames import Codes, keep, module_of

# By name: LangChain may be half-imported when ours is, and has the manager last.
_TELLS_SOME = ("on_llm_start", "langchain_core.callbacks.manager")

tells_all: Codes = {}  # what was seen to ask, and is not the place


def is_somebody_skipped(asking: FrameType, ours: type[object]) -> bool:
    """Whether the frame that asks if we are inline would skip others, were we."""
    if not _tells_some(asking):
        # Code of that name may be the place's own, with the globals of a copy.
        if _asker(asking).f_code.co_name != _TELLS_SOME[0]:
            keep(tells_all, asking.f_code)
        return False
    manager: Any = _asker(asking).f_locals["self"]
    others = [
        bool(getattr(handler, "run_inline", False))  # some set it on themselves
        for handler in manager.handlers
        if not isinstance(handler, ours)
    ]
    return bool(manager.is_async and others and not any(others))


def _asker(frame: FrameType) -> FrameType:
    """Return the function's frame: before 3.12 a comprehension has its own."""
    is_inside = frame.f_code.co_name == "<listcomp>" and frame.f_back is not None
    return frame.f_back or frame if is_inside else frame


def _tells_some(frame: FrameType) -> bool:
    asker = _asker(frame)
    return (asker.f_code.co_name, module_of(asker)) == _TELLS_SOME
