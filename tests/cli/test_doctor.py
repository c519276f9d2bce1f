"""`trubrics-trace doctor`: what goes wrong in practice, named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.parts import root_with
from tests.delivery.parts import line
from tests.process.program import clean_environment
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
    said = capsys.readouterr().out
    assert "records are kept in memory\n" in said
    assert "amiss: no place on disk is ours alone" in said


def test_memory_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    """A spool in memory, forgotten from a test, is amiss: what it is, and what to do."""
    assert 1 == main(["doctor", "--spool-dir", ":memory:"])
    said = capsys.readouterr().out
    assert "amiss: the spool is :memory:, as is meant for tests" in said
    assert "no place on disk" not in said


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


def examined(tmp_path: Path, *, app: str = "", **environment: str) -> Any:
    """Return what the doctor finds in a process of its own, of an app that is imported."""
    (tmp_path / "app_to_look_at.py").write_text(app)
    ended = subprocess.run(
        [sys.executable, "-m", "trubrics_trace", "doctor", "app_to_look_at", "--json"],
        env=clean_environment(tmp_path / "spool", **environment),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = json.loads(ended.stdout)
    assert bool(said["faults"]) == ended.returncode, ended.stderr
    return said


def test_all_is_well(tmp_path: Path) -> None:
    """On an empty spool, of an app without a mistake, nothing is amiss."""
    app = "from trubrics_trace import trubrics_trace\n@trubrics_trace\ndef f(): ...\n"
    said = examined(tmp_path, app=app)
    assert [] == said["faults"]
    assert "1 traced function found" in said["notes"]


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        ("", "nobody has asked to see"),
        ("import logging; logging.basicConfig(level='INFO')", "is printed"),
        ("import structlog; structlog.configure()", "logged by the app's own structlog"),
    ],
)
def test_where_records_are_logged(app: str, expected: str, tmp_path: Path) -> None:
    """It says whether structlog is configured, and who else sees the records."""
    assert expected in examined(tmp_path, app=app)["notes"][-1]


OLDER = """
import sys, types
older = types.ModuleType("langchain_community.callbacks.trubrics_callback")
class TrubricsCallbackHandler: ...
TrubricsCallbackHandler.__module__ = older.__name__
older.TrubricsCallbackHandler = TrubricsCallbackHandler
sys.modules[older.__name__] = older
"""


@pytest.mark.parametrize("made", ["", "handler = TrubricsCallbackHandler()"])
def test_older_handler(made: str, tmp_path: Path) -> None:
    """An older handler beside ours is amiss, once, be it made or only imported."""
    [fault] = examined(tmp_path, app=OLDER + made)["faults"]
    assert fault.startswith("langchain_community.callbacks.trubrics_callback has an older")


@pytest.mark.parametrize(("key", "count"), [("another", 1), ("configured", 0)])
def test_two_handlers(key: str, count: int, tmp_path: Path) -> None:
    """Handlers for two accounts are amiss; for one they are not."""
    app = f"""
from trubrics_trace import TrubricsCallbackHandler
handlers = [TrubricsCallbackHandler(), TrubricsCallbackHandler(api_key={key!r})]
"""
    faults = examined(tmp_path, app=app, TRUBRICS_API_KEY="configured")["faults"]
    assert count == len([one for one in faults if "stand side by side" in one])
    assert count == len(faults)


def test_handler_that_was_made_before(tmp_path: Path) -> None:
    """One that was made before the app configured itself goes where that says."""
    app = """
from trubrics_trace import TrubricsCallbackHandler, configure
handlers = [TrubricsCallbackHandler()]
configure(api_key="another")
handlers.append(TrubricsCallbackHandler())
"""
    faults = examined(tmp_path, app=app, TRUBRICS_API_KEY="configured")["faults"]
    assert [] == [one for one in faults if "stand side by side" in one]


def test_prompts_of_nobody(tmp_path: Path) -> None:
    """Many prompts without a user are amiss, with the functions that asked."""
    nobodys = [line(n, user_id=None, run_name=f"ask_{n % 2}") for n in range(3)]
    root_with(tmp_path, *nobodys, *(line(n) for n in range(3, 20)))
    [fault] = examined(tmp_path)["faults"]
    assert fault.startswith("3 of the latest 20 prompts have no user (ask_0, ask_1)")


@pytest.mark.parametrize(("nobodys", "others"), [(1, 19), (9, 10)])
def test_few_prompts_of_nobody(nobodys: int, others: int, tmp_path: Path) -> None:
    """One in twenty without a user is a visitor; and of a few nothing is said."""
    lines = [line(n, user_id=None if n < nobodys else "alice") for n in range(nobodys)]
    root_with(tmp_path, *lines, *(line(n) for n in range(others)))
    assert [] == examined(tmp_path)["faults"]
