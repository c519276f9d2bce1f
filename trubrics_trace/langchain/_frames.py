"""Frames between an app's call and our handler, told apart by their code.

A call is told of through many, and each is asked for its module and name. So what was found
out is kept, by the identity of the code object: to hash one takes as long as to look.
"""

from __future__ import annotations

from types import CodeType, FrameType
from typing import TypeAlias

# Code objects of which the same was found out, each held under its own identity: of such a
# frame `codes.get(id(code)) is code`.
Codes: TypeAlias = dict[int, CodeType]

_MOST = 10_000  # an app that makes more code than that is asked each time


def keep(codes: Codes, code: CodeType) -> None:
    """Keep what was found out of a code object."""
    if len(codes) < _MOST:
        codes[id(code)] = code


def module_of(frame: FrameType) -> str:
    """Return the name of the module that a frame's code stands in."""
    return str(frame.f_globals.get("__name__", ""))
