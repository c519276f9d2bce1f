"""A `with trubrics_scope` around a `yield`, found where it opens.

While such a generator rests, its scope stays current in whoever consumes it (PEP 568, which
would have mended that, was deferred). Python tells nobody when a generator rests, so it can
only be said, not prevented: to be traced, a generator is decorated, and then each of its
steps is.
"""

from __future__ import annotations

import ast
import dis
import functools
import inspect
import textwrap
from types import CodeType, FrameType

from .._ledger import ledger
from .._notices import place_of

_DELEGATE = ("SEND", "YIELD_FROM")  # of `yield from`, since Python 3.11 and before

# Whoever steps a generator so that its `yield` stands for a block of its own (a context
# manager, a fixture), or restores what was current after each step, as we do.
_STEPPERS = ("contextlib", "_pytest", "pytest_asyncio", f"{__package__}._steps")
_LOOPS = ("asyncio", "anyio")  # may stand between a fixture and pytest

_Block = (ast.With, ast.AsyncWith)
_Function = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def warn_of_yield(opening: FrameType) -> None:
    """Count, and say once, that a generator's block spans a `yield`.

    Raises:
        TelemetryError: It does, and strict mode is on.
    """
    code = opening.f_code
    is_paused = not _is_one_of(_stepper_of(opening), _STEPPERS)
    if is_paused and _spans_a_yield(code, opening.f_lineno):
        ledger.fault(
            "scope_across_yield",
            lambda: (
                f"the trubrics_scope at {place_of(opening)} stands around a yield of "
                f"{code.co_name}(), so its user stays current in whoever consumes that; "
                "put trubrics_trace above the generator, or the block around less"
            ),
        )


def _stepper_of(generator: FrameType) -> FrameType | None:
    """Return the frame for which a generator's next `yield` is a pause."""
    frame = generator.f_back
    while frame is not None and (_delegates(frame) or _is_one_of(frame, _LOOPS)):
        frame = frame.f_back
    return frame


def _delegates(frame: FrameType) -> bool:
    if not frame.f_code.co_flags & inspect.CO_GENERATOR:
        return False
    instructions, at = frame.f_code.co_code, frame.f_lasti
    while dis.opname[instructions[at]] == "CACHE":  # Python 3.12 stops behind it
        at -= 2
    return dis.opname[instructions[at]] in _DELEGATE


def _is_one_of(frame: FrameType | None, modules: tuple[str, ...]) -> bool:
    name = "" if frame is None else str(frame.f_globals.get("__name__"))
    return any(name == module or name.startswith(f"{module}.") for module in modules)


@functools.lru_cache(maxsize=256)
def _spans_a_yield(code: CodeType, line: int) -> bool:
    """Whether the block opening at a line has a `yield`; in doubt, it has."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, SyntaxError, ValueError):
        return True
    at = line - code.co_firstlineno + 1
    blocks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, _Block) and node.lineno <= at < node.body[0].lineno
    ]
    return not blocks or any(_has_yield(node) for node in blocks[-1].body)


def _has_yield(node: ast.AST) -> bool:
    if isinstance(node, (ast.Yield, ast.YieldFrom)):
        return True
    if isinstance(node, _Function):
        return False
    return any(_has_yield(child) for child in ast.iter_child_nodes(node))
