"""Each example runs offline and prints what its header says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.program import clean_environment

REPOSITORY = Path(__file__).parents[1]
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))


def shown_in_header(example: Path) -> list[str]:
    """Return the lines below `Prints:` in the example's docstring."""
    header = example.read_text().split('"""')[1]
    lines = header.split("Prints:\n")[1].splitlines()
    return [line.removeprefix("    ") for line in lines if line]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_its_header_says(example: Path, tmp_path: Path) -> None:
    """Run as a user would, in a fresh process, it prints the lines of its header."""
    ended = subprocess.run(
        [sys.executable, str(example)],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 0 == ended.returncode, ended.stderr
    assert shown_in_header(example) == ended.stdout.splitlines()


def run_chat(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the demo's chat with a scripted model, its logs in a place of its own."""
    environment |= {"FAKE": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, "-m", "examples.chat"],
        cwd=tmp_path,
        env=clean_environment(tmp_path, **environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_chat_ends_well(tmp_path: Path) -> None:
    """Six people chat; the three counts agree, and everybody's prompts are their own."""
    ended = run_chat(tmp_path)

    assert 0 == ended.returncode, ended.stdout + ended.stderr


def test_the_chat_notices_a_wrong_user(tmp_path: Path) -> None:
    """With one wrong user planted it exits 1."""
    assert 1 == run_chat(tmp_path, BREAK="user").returncode


def test_the_five_second_demo_ends_well(tmp_path: Path) -> None:
    """`python -m trubrics_trace.demo` tells four records and exits 0."""
    ended = subprocess.run(
        [sys.executable, "-m", "trubrics_trace.demo"],
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 0 == ended.returncode, ended.stderr
    assert 1 == ended.stderr.count(" stopped ")
    assert 3 == ended.stderr.count(" complete ")
