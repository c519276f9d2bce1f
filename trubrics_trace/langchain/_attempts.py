"""Several attempts at one call, which are told as one.

`with_retry` and `with_fallbacks` begin a run of LangChain's, and each attempt is a call of
its own inside. Nothing that LangChain tells says so: a fallback's children are given the
outer config, and a retry is named after its model. So the code that began the run is asked,
and an attempt is one whose context, or whose parent, is such a run. Only a model that is
tried by itself: a chain inside a fallback is calls of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any
from uuid import UUID

from ._frames import module_of

_TRIES = ("langchain_core.runnables.retry", "langchain_core.runnables.fallbacks")
_WAYS = ("invoke", "ainvoke", "batch", "abatch", "stream", "astream")
# What stands between the one who begins a run and the handler that hears of it.
_OURS = __name__.partition(".")[0]
_CALLBACKS = "langchain_core.callbacks."
_BETWEEN = (
    "_call_with_config",
    "_acall_with_config",
    "_batch_with_config",
    "_abatch_with_config",
    "<listcomp>",  # frames of their own until Python 3.11
    "<genexpr>",
)


def name_of(serialized: Any, kwargs: Mapping[str, Any]) -> str | None:
    """Return what LangChain calls a run, where it says so."""
    name = kwargs.get("name")
    return name or (serialized.get("name") if isinstance(serialized, dict) else None)


def is_for_attempts(name: str | None) -> bool | None:
    """Whether the run that begins now is for attempts at something.

    None where nobody is seen: `abatch` begins its runs in tasks of their own. There a
    retry is known by its name, which is its model's.
    """
    frame = _beginner(sys._getframe(1))  # noqa: SLF001 - as logging finds its caller
    if frame is None or module_of(frame).startswith("asyncio"):
        return True if name == "RunnableWithFallbacks" else None
    return module_of(frame) in _TRIES and frame.f_code.co_name in _WAYS


def run_tried_here() -> UUID | None:
    """Return the run that an attempt beginning now is for, as frames tell it.

    Python 3.10 runs a coroutine in no context but its task's, which does not tell.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - as logging finds its caller
    while frame is not None and (_is_between(frame) or _is_on_the_way(frame)):
        if module_of(frame) in _TRIES and "run_manager" in frame.f_locals:
            return getattr(frame.f_locals["run_manager"], "run_id", None)
        frame = frame.f_back
    return None


def _beginner(frame: FrameType | None) -> FrameType | None:
    while frame is not None and _is_between(frame):
        frame = frame.f_back
    return frame


def _is_between(frame: FrameType) -> bool:
    module = module_of(frame)
    return module.startswith((_CALLBACKS, f"{_OURS}.")) or frame.f_code.co_name in _BETWEEN


def _is_on_the_way(frame: FrameType) -> bool:
    module = module_of(frame)
    is_runnable = module in _TRIES or module == "langchain_core.runnables.base"
    return module.startswith("langchain_core.language_models.") or (
        is_runnable and frame.f_code.co_name in _WAYS
    )
