"""Every example in a docstring, and every Python block of the docs, runs."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.program import run_program

REPOSITORY = Path(__file__).parents[1]
WITH_EXAMPLES = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((REPOSITORY / "trubrics_trace").rglob("*.py"))
    if ">>> " in path.read_text()
]
BLOCKS = {
    f"{path.stem}-{number}": block
    for path in sorted((REPOSITORY / "docs").glob("*.md"))
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    )
}


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_in_docstrings_run(module: str) -> None:
    """Each prints what its docstring shows."""
    outcome = doctest.testmod(importlib.import_module(module))

    assert 0 == outcome.failed
    assert outcome.attempted


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_of_the_docs_run(block: str, tmp_path: Path) -> None:
    """Each runs by itself, in a fresh process."""
    ended = run_program(BLOCKS[block], tmp_path)

    assert 0 == ended.returncode, ended.stderr


NAMED = {
    f"{path.stem}: {named}": REPOSITORY / named
    for path in sorted((REPOSITORY / "docs").glob("*.md"))
    for named in re.findall(r"`((?:tests|benchmarks|examples)/[^`]*)`", path.read_text())
}


@pytest.mark.parametrize("named", NAMED)
def test_what_the_docs_name_is_there(named: str) -> None:
    """A promise names the test that shows it."""
    assert NAMED[named].exists()


# Who counts, and which of its arguments is the reason.
COUNTERS = {
    "TelemetryError": 0,
    "_foreign": 0,
    "_drop": 0,
    "_mark": 1,
    "_on_drop": 0,
    "attempt": 0,
    "fault": 0,
    "note": 0,
    "settle_rejected": 1,
    "skip": 0,
}


def reasons_in_the_code() -> Iterator[str]:
    """Yield every reason that something is counted by; `*` stands for a name in it."""
    for path in (REPOSITORY / "trubrics_trace").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                at = COUNTERS.get(name, len(node.args))
                yield from reason_in(node.args[at : at + 1])
            elif isinstance(node, ast.Subscript) and "_dropped" in ast.unparse(node.value):
                yield from reason_in([node.slice])


def reason_in(arguments: list[ast.expr]) -> Iterator[str]:
    """Yield the reason that an argument says, if it says one itself."""
    for argument in arguments:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value
        elif isinstance(argument, ast.JoinedStr):
            parts = (getattr(part, "value", "*") for part in argument.values)
            yield "".join(part if isinstance(part, str) else "*" for part in parts)


def test_every_reason_is_documented() -> None:
    """What can be counted, and nothing else, has its line with what to do."""
    text = (REPOSITORY / "docs" / "reasons.md").read_text()
    told = re.findall(r"^(?:\| )?`([a-z_*]+)`(?: \||:)", text, re.MULTILINE)

    assert sorted(set(reasons_in_the_code())) == sorted(told)
