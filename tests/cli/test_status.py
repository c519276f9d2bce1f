"""`trubrics-trace status`: what is in the spool, told to people and to programs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.delivery.parts import line, spool_in
from trubrics_trace import __version__
from trubrics_trace.cli import main
from trubrics_trace.delivery._census import take_census
from trubrics_trace.delivery._directory import make_private
from trubrics_trace.delivery._spool import Spool

STARTED_AT = "2026-01-02T03:04:05+00:00"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the spool that the environment names."""
    place = tmp_path / "spool"
    assert make_private(place)
    return place


def spool_with(directory: Path, count: int) -> Spool:
    """Return a spool of a living process with so many records."""
    spool = spool_in(directory)
    for number in range(count):
        spool.put(line(number, prompt="x" * 1_000))
    return spool


def test_nothing_was_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing was recorded the place is told, and none is made."""
    assert 0 == main(["status"])
    place = tmp_path / "spool"
    assert f"spool: {place}\nnothing has been recorded here\n" == capsys.readouterr().out
    assert not place.exists()


def test_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each destination has a line, its numbers below their names."""
    living = spool_with(root / "app.trubrics.com-1", 3)
    living.settle_rejected(living.lease(1, 2**30)[0], "HTTP 422")
    local = spool_with(root / "local", 1)
    local.settle_delivered(local.lease(1, 2**30))
    local.let_go()
    one, three = (f"{count * len(line(0, prompt='x' * 1_000)):,}" for count in (1, 3))
    assert 0 == main(["status"])
    assert [
        f"spool: {root}",
        "destination         pending  rejected  processes  bytes  oldest pending",
        f"app.trubrics.com-1  2        1         1          {three}  {STARTED_AT}",
        f"local               0        0         0          {one}  -",
    ] == capsys.readouterr().out.splitlines()


def test_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs the whole census is JSON, in the words of its fields."""
    spool_with(root / "local", 2)
    assert 0 == main(["status", "--json"])
    census = [dataclasses.asdict(one) for one in take_census(root)]
    assert {"spool_dir": str(root), "destinations": census} == json.loads(
        capsys.readouterr().out
    )
    assert ["local"] == [one["label"] for one in census]


def test_place_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A place that is said on the command line comes before the environment's."""
    elsewhere = tmp_path / "elsewhere"
    assert make_private(elsewhere)
    spool_with(elsewhere / "local", 1)
    main(["status", "--json", "--spool-dir", str(elsewhere)])
    said = json.loads(capsys.readouterr().out)
    assert (str(elsewhere), 1) == (said["spool_dir"], len(said["destinations"]))


def test_place_of_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no place is said it is the one where an app of this user keeps its spool."""
    monkeypatch.delenv("TRUBRICS_TRACE_SPOOL_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    place = tmp_path / "trubrics-trace"
    assert make_private(place)
    main(["status"])
    assert f"spool: {place}" == capsys.readouterr().out.splitlines()[0]


def test_spool_that_cannot_be_read(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A spool that cannot be read is said in one line, and is no trace of the program."""
    spool_with(root / "local", 1)
    [segment] = (root / "local").glob("*.jsonl")
    segment.with_suffix(".ack").mkdir()
    assert 2 == main(["status"])
    assert 1 == len(capsys.readouterr().err.splitlines())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The command line tells its version."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (0, f"trubrics-trace {__version__}\n") == (
        ended.value.code,
        capsys.readouterr().out,
    )


@pytest.mark.parametrize("arguments", [[], ["send"], ["status", "--timeout", "1"]])
def test_what_is_no_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no command ends with the usage, as that which could not be tried."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert 2 == ended.value.code
    assert capsys.readouterr().err.startswith("usage: trubrics-trace")


@pytest.mark.parametrize("command", ["status", "flush"])
def test_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command tells what it does, with an example that begins as it is typed."""
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"\n  trubrics-trace {command} --" in capsys.readouterr().out
