"""The README says what runs, and its first program prints what it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.process.program import run_program

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
PROGRAMS = [text for language, text in BLOCKS if language == "python"]
(SHOWN_RECORD,) = [text for language, text in BLOCKS if language == "json"]

# What differs from one run to the next, and is shown as it once was.
VARYING = ("record_id", "started_at", "latency_seconds")


def test_the_readme_is_short() -> None:
    """At most 150 lines, and the first program at most twelve that are not empty."""
    assert len(README.read_text().splitlines()) <= 150
    assert len([line for line in PROGRAMS[0].splitlines() if line.strip()]) <= 12


@pytest.mark.parametrize("source", PROGRAMS, ids=["first", "app"])
def test_its_programs_run(source: str, tmp_path: Path) -> None:
    """Each Python block runs in a fresh process, as printed."""
    ended = run_program(source, tmp_path)

    assert 0 == ended.returncode, ended.stderr


def test_its_app_records_what_is_asked(tmp_path: Path) -> None:
    """Asked as the terminal below it asks, the app tells the line that is shown."""
    (shown,) = [
        text for language, text in BLOCKS if language == "console" and "curl" in text
    ]
    ((header, path),) = re.findall(r"-H '(.+?)' '127.0.0.1:8000(.+)'", shown)
    asking = f"""
from fastapi.testclient import TestClient
TestClient(app).post({path!r}, headers=[{tuple(header.split(": "))!r}])
"""
    told = run_program(PROGRAMS[1] + asking, tmp_path, TRUBRICS_TRACE_CONSOLE="true").stderr

    words = shown.splitlines()[-1].split()[1:-2]  # between the clock and the seconds
    assert " ".join(words) in " ".join(told.split())


def test_its_first_program_prints_its_record(tmp_path: Path) -> None:
    """The record that is shown is the one that is printed, key by key, in that order."""
    printed = json.loads(run_program(PROGRAMS[0], tmp_path).stdout)
    shown = json.loads(SHOWN_RECORD)

    assert list(shown) == list(printed)
    for name in VARYING:
        assert type(shown.pop(name)) is type(printed.pop(name))
    assert shown == printed


def test_its_links_lead_somewhere() -> None:
    """Every link into the repository names a file that is there."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text())

    assert [] == [link for link in links if not (README.parent / link).exists()]


def test_its_picture_is_small() -> None:
    """The report's screenshot is there, as a picture of less than 150 kB."""
    (picture,) = re.findall(r"!\[[^]]+\]\((.+?\.png)\)", README.read_text())
    content = (README.parent / picture).read_bytes()

    assert content.startswith(b"\x89PNG")
    assert len(content) < 150_000


def test_its_comparison_names_tests() -> None:
    """Each cell of ours in the table of rivals links a test that is there."""
    table = (
        README.read_text().split("| | here | there |\n|---|---|---|\n")[1].split("\n\n")[0]
    )

    for row in table.splitlines():
        _, ours, _ = row.strip("| ").split(" | ")
        ((name, path),) = re.findall(r"\[(test_\w+)\]\((tests/[\w/]+\.py)\)", ours)
        assert f"def {name}(" in (README.parent / path).read_text()
