"""`trubrics-trace doctor`: what goes wrong in practice, named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trubrics_trace.cli import main

MISPLACED = """
from fastapi import FastAPI
from trubrics_trace import trubrics_trace

app = FastAPI()

@trubrics_trace
@app.post("/chat")
async def chat(): ...

@app.post("/other")
@trubrics_trace
async def other(): ...
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a module with a decorator that nobody calls."""
    name = f"app_of_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MISPLACED)
    monkeypatch.chdir(tmp_path)
    return name


def test_misplaced_decorator(app: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A decorator above a route is amiss, named with its place and the remedy."""
    assert 1 == main(["doctor", f"{app}:app"])
    amiss = [line for line in capsys.readouterr().out.splitlines() if "amiss" in line]
    named = [line for line in amiss if app in line]
    assert 1 == len(named)
    assert (
        f"amiss: trubrics_trace decorates chat ({app}.py:7) too late: fastapi has it"
        in named[0]
    )
    assert "right above the function" in named[0]


def test_json(app: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs are told the same."""
    assert 1 == main(["doctor", app, "--json"])
    said = json.loads(capsys.readouterr().out)
    assert ["faults", "notes"] == sorted(said)
    assert any(app in fault for fault in said["faults"])


@pytest.mark.parametrize(
    ("api_key", "expected"),
    [("", "and sent nowhere, for there are no credentials"), ("key", "and sent to app.")],
)
def test_where_records_go(
    api_key: str,
    expected: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """It says where records would be kept from here, and where they would be sent."""
    monkeypatch.setenv("TRUBRICS_API_KEY", api_key)
    main(["doctor"])
    said = capsys.readouterr().out
    assert f"records are kept in {tmp_path / 'spool'}\n" in said
    assert expected in said
    assert "traced function" in said


def test_no_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Where no place on disk will do, it says so, and what to do."""
    (tmp_path / "file").write_text("")
    main(["doctor", "--spool-dir", str(tmp_path / "file" / "spool")])
    assert "records are kept in memory" in capsys.readouterr().out


def test_no_such_module(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A module that cannot be imported is named, with where it was looked for."""
    monkeypatch.chdir(tmp_path)
    assert 2 == main(["doctor", "no_such_module"])
    assert f"no_such_module cannot be imported from {tmp_path}" in capsys.readouterr().err


TASK = """
from celery import Celery
from trubrics_trace import trubrics_trace

app = Celery("app", set_as_current=False)

@trubrics_trace
@app.task(shared=False)
def answer(): ...
"""


def test_misplaced_on_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A decorator above a task is amiss as well."""
    (tmp_path / "tasks_to_look_at.py").write_text(TASK)
    monkeypatch.chdir(tmp_path)
    assert 1 == main(["doctor", "tasks_to_look_at"])
    assert "too late: celery has it already" in capsys.readouterr().out
