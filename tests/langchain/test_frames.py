"""What is known of code is kept by its identity, and not without bound."""

from __future__ import annotations

import sys

from trubrics_trace.langchain._frames import Codes, keep, module_of


def test_code_is_kept_by_its_identity() -> None:
    """Code that is equal to what was seen is not the same."""
    first, second = (compile("x = 1", "twice.py", "exec") for _ in range(2))
    codes: Codes = {}
    keep(codes, first)
    assert (first, None, True) == (
        codes.get(id(first)),
        codes.get(id(second)),
        first == second,
    )


def test_code_that_is_too_much() -> None:
    """An app that makes code without end is asked each time, and nothing grows."""
    codes: Codes = {-number: keep.__code__ for number in range(1, 10_001)}
    keep(codes, module_of.__code__)
    assert (10_000, None) == (len(codes), codes.get(id(module_of.__code__)))


def test_module_of_a_frame() -> None:
    """A frame's module is the one that its code stands in."""
    assert __name__ == module_of(sys._getframe())
