"""interrogate, to which a coroutine inside a function is as nested as any other.

It passes over nested functions where it is asked to, but not where either is a coroutine:
https://github.com/econchick/interrogate/issues/105. `python -m tests.docstrings PATH ...`
"""

from __future__ import annotations

import sys
from typing import Any

from interrogate import cli, visit  # type: ignore[import-untyped]

FUNCTIONS = ("FunctionDef", "AsyncFunctionDef")


def is_nested_function(_: object, parent: Any, kind: str) -> bool:
    """Whether this is a function inside another."""
    return parent is not None and {parent.node_type, kind} <= {*FUNCTIONS}


def is_nested_class(_: object, parent: Any, kind: str) -> bool:
    """Whether this is a class inside another, or inside a function."""
    around = ("ClassDef", *FUNCTIONS)
    return parent is not None and kind == "ClassDef" and parent.node_type in around


if __name__ == "__main__":
    visit.CoverageVisitor._is_nested_func = is_nested_function
    visit.CoverageVisitor._is_nested_cls = is_nested_class
    sys.exit(cli.main())
