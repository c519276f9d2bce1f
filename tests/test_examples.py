"""Each example runs offline and prints what its header says."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from examples.stop_button import chromium
from tests.process.program import clean_environment

REPOSITORY = Path(__file__).parents[1]
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))


def run(
    tmp_path: Path,
    *arguments: str,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_seconds: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run Python as a user would, in a fresh process."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd or tmp_path,
        env=clean_environment(tmp_path, **environment or {}),
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )


def shown_in_header(example: Path) -> list[str]:
    """Return the lines below `Prints:` in the example's docstring."""
    header = example.read_text().split('"""')[1]
    lines = header.split("Prints:\n")[1].splitlines()
    return [line.removeprefix("    ") for line in lines if line]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_its_header_says(example: Path, tmp_path: Path) -> None:
    """Run as a user would, in a fresh process, it prints the lines of its header."""
    ended = run(tmp_path, str(example))

    assert 0 == ended.returncode, ended.stderr
    assert shown_in_header(example) == ended.stdout.splitlines()


NOTEBOOK = json.loads((REPOSITORY / "examples" / "notebook.ipynb").read_text())


def test_the_notebook_shows_what_its_cells_say(capsys: pytest.CaptureFixture[str]) -> None:
    """Run one after the other, its cells print what stands below them."""
    names: dict[str, object] = {}
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "code":
            asyncio.run(run_cell("".join(cell["source"]), names))
            assert shown_below(cell) == capsys.readouterr().out.splitlines()


def shown_below(cell: Mapping[str, Any]) -> list[str]:
    """Return the lines that a notebook keeps as a cell's output."""
    outputs = cell["outputs"]
    texts = [output.get("text") or output["data"]["text/plain"] for output in outputs]
    return "\n".join("".join(text).rstrip("\n") for text in texts).splitlines()


async def run_cell(source: str, names: dict[str, object]) -> None:
    """Do what Jupyter does: await what there is, and show what the last line is worth."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    await worth(tree, names)
    if isinstance(last, ast.Expr):
        sys.stdout.write(f"{await worth(ast.Expression(last.value), names)!r}\n")


async def worth(tree: ast.Module | ast.Expression, names: dict[str, object]) -> object:
    """Return what a piece of a cell is worth, awaited where it awaits."""
    kind = "exec" if isinstance(tree, ast.Module) else "eval"
    code = compile(tree, "notebook", kind, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    value = eval(code, names)
    return await value if inspect.iscoroutine(value) else value


def test_an_example_is_tested_as_its_user_would(tmp_path: Path) -> None:
    """The chat with a stop button has tests of its own, with the package's fixtures."""
    tests = "examples/stop_button/test_app.py"
    ended = run(tmp_path, "-m", "pytest", "-q", tests, cwd=REPOSITORY)

    assert 0 == ended.returncode, ended.stdout
    assert "3 passed" in ended.stdout


@pytest.mark.timeout(200)
@pytest.mark.skipif(not chromium.found(), reason="no Chromium is installed here")
def test_an_example_is_used_in_a_browser(tmp_path: Path) -> None:
    """Its stop button, pressed in a real browser, leaves one record, of who pressed it."""
    tests = "examples/stop_button/test_browser.py"
    ended = run(tmp_path, "-m", "pytest", "-q", tests, cwd=REPOSITORY, timeout_seconds=180)

    assert 0 == ended.returncode, ended.stdout
    assert "1 passed" in ended.stdout


def run_chat(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the demo's chat with a scripted model, its logs in a place of its own."""
    environment |= {"FAKE": "1", "PYTHONPATH": str(REPOSITORY)}
    return run(tmp_path, "-m", "examples.chat", environment=environment)


def test_the_chat_ends_well(tmp_path: Path) -> None:
    """Six people chat; the counts agree, each has their own, and a page tells of all."""
    ended = run_chat(tmp_path)

    assert 0 == ended.returncode, ended.stdout + ended.stderr
    (said,) = re.findall(r"(\d+) prompts are told in (.*)", ended.stdout)
    page = (tmp_path / said[1]).read_text()
    assert said[0] == re.findall(r"Prompts</span><strong>(\d+)", page)[0]
    assert "Describe a harbour at dawn." in page


def test_the_chat_notices_a_wrong_user(tmp_path: Path) -> None:
    """With one wrong user planted it exits 1, and makes no page of it."""
    ended = run_chat(tmp_path, BREAK="user")

    assert 1 == ended.returncode
    assert "are told in" not in ended.stdout


def test_the_five_second_demo_ends_well(tmp_path: Path) -> None:
    """`python -m trubrics_trace.demo` tells four records and exits 0."""
    ended = run(tmp_path, "-m", "trubrics_trace.demo")

    assert 0 == ended.returncode, ended.stderr
    assert 1 == ended.stderr.count(" stopped ")
    assert 3 == ended.stderr.count(" complete ")
