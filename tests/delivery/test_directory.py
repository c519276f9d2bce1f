"""The ladder of places for a spool, where the environment says little."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from trubrics_trace.delivery._directory import existing_root, spool_root, state_directory
from trubrics_trace.errors import SpoolError


@pytest.fixture(autouse=True)
def no_state_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment name no state directory."""
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a state directory of its own the spool lies in the one of the home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path / ".local" / "state" / "trubrics-trace" == spool_root(None)


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can tell the home, the place is the temporary one, by the user."""
    monkeypatch.setenv("HOME", "~")
    place = Path(tempfile.gettempdir()) / f"trubrics-trace-{os.getuid()}"
    assert place == existing_root(None)


def test_who_only_looks(tmp_path: Path) -> None:
    """Who only looks is told the first place, and makes none."""
    place = existing_root(str(tmp_path / "spool"))
    assert (tmp_path / "spool", []) == (place, list(tmp_path.iterdir()))


def test_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`:memory:` is no place, not even a file of that name, and nobody else can look."""
    monkeypatch.chdir(tmp_path)
    assert spool_root(":memory:") is None
    with pytest.raises(SpoolError, match="only the process that has it"):
        existing_root(":memory:")
    assert [] == list(tmp_path.iterdir())


HOME = Path("/home/alice")


@pytest.mark.parametrize(
    ("platform", "environment", "home", "place"),
    [
        ("linux", {"XDG_STATE_HOME": "/state"}, HOME, "/state"),
        ("linux", {"XDG_STATE_HOME": ""}, HOME, "/home/alice/.local/state"),
        ("linux", {}, None, None),
        (
            "darwin",
            {"XDG_STATE_HOME": "/state"},
            HOME,
            f"{HOME}/Library/Application Support",
        ),
        ("darwin", {}, None, None),
        ("win32", {"LOCALAPPDATA": "/local"}, HOME, "/local"),
        ("win32", {}, HOME, None),
    ],
)
def test_state_directory(
    platform: str, environment: dict[str, str], home: Path | None, place: str | None
) -> None:
    """Each platform has a place of its own for what programs keep, or none is known."""
    wanted = None if place is None else Path(place)
    assert wanted == state_directory(platform, environment, home)
