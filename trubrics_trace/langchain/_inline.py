"""Whether our async callbacks may run in the loop and silence no others.

`AsyncCallbackManager.on_llm_start`, of langchain-core up to 1.7, tells a completion model's
start to the inline handlers *or* to the others (langchain-ai/langchain#39633). There, and
nowhere else, ours steps back into the thread pool: where others stand beside it that are
not inline. Where one is, those are skipped with or without us.
"""

from __future__ import annotations

from types import FrameType
from typing import Any

# By name: LangChain may be half-imported when ours is, and has the manager last.
_TELLS_SOME = ("on_llm_start", "langchain_core.callbacks.manager")


def is_somebody_skipped(asking: FrameType, ours: type[object]) -> bool:
    """Whether the frame that asks if we are inline would skip others, were we."""
    if asking.f_code.co_name == "<listcomp>" and asking.f_back is not None:
        asking = asking.f_back  # until Python 3.11 a comprehension has its own frame
    if (asking.f_code.co_name, asking.f_globals.get("__name__")) != _TELLS_SOME:
        return False
    manager: Any = asking.f_locals["self"]
    others = [
        bool(getattr(handler, "run_inline", False))  # some set it on themselves
        for handler in manager.handlers
        if not isinstance(handler, ours)
    ]
    return bool(manager.is_async and others and not any(others))
