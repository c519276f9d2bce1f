"""Every example in a docstring, and every Python block of the docs, runs."""

from __future__ import annotations

import doctest
import importlib
import re
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
