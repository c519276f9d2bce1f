"""`trubrics-trace erase`: a user is forgotten, as far as the spool goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.parts import ids_in, root_with
from tests.delivery.parts import line
from trubrics_trace.cli import main


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a spool of two destinations, with two users in each."""
    for label in ("acme", "local"):
        lines = [line(f"{label}-{user}", user_id=user) for user in ("alice", "bob")]
        root = root_with(tmp_path, *lines, label=label)
    return root


def test_erase(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was erased is told by destination, and whose the rest is to erase."""
    assert 0 == main(["erase", "--user", "alice"])
    spool, *rows, last = capsys.readouterr().out.splitlines()
    told = "erased: 1 that waited, 0 that were kept, 0 that were set aside"
    assert f"spool: {root}" == spool
    assert [f"acme: {told}", f"local: {told}"] == rows
    assert last.startswith("what was delivered is Trubrics' to erase")


def test_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs are told the same; a dry run only counts."""
    for option in ("--dry-run", "--json", "--json"):
        main(["erase", "--user", "alice", "--json", option])
    said = [json.loads(one) for one in capsys.readouterr().out.splitlines()]
    assert [True, False, False] == [one["is_dry_run"] for one in said]
    assert [1, 1, 0] == [one["erased"]["acme"]["waiting"] for one in said]
    assert {"waiting": 1, "settled": 0, "set_aside": 0} == said[0]["erased"]["local"]


@pytest.mark.parametrize(
    "reading", ["tail --json", "export", "export --user alice", "export --user bob"]
)
def test_readers_obey(
    reading: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No reader shows a record of who was erased, also one that was written later."""
    main(["erase", "--user", "alice"])
    root_with(tmp_path, line("late"))
    capsys.readouterr()
    assert 0 == main(reading.split())
    expected = [] if "alice" in reading else ["acme-bob", "local-bob"]
    assert expected == sorted(ids_in(capsys.readouterr().out))


def test_report_obeys(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A report counts nobody who was erased, and the status tells how many that were."""
    main(["erase", "--user", "alice"])
    capsys.readouterr()
    main(["report", "--json"])
    assert ["bob"] == [one["name"] for one in json.loads(capsys.readouterr().out)["users"]]
    main(["status"])
    assert "acme: 1 dropped: erased" in capsys.readouterr().out.splitlines()


def test_whom(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a user nobody is erased."""
    with pytest.raises(SystemExit) as ended:
        main(["erase"])
    assert 2 == ended.value.code
