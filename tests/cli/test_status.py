"""`trubrics-trace status`: what is in the spool, told to people and to programs."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from tests.delivery.parts import die, line, spool_in
from trubrics_trace import __version__
from trubrics_trace._settings import Settings
from trubrics_trace.cli import main
from trubrics_trace.delivery._census import take_census
from trubrics_trace.delivery._directory import make_private
from trubrics_trace.delivery._limits import Limits
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


def bytes_in(directory: Path) -> str:
    """Return what the segments of a destination take, as people read it."""
    segments = list(directory.glob("*.*.jsonl"))
    files = [*segments, *directory.glob("*.ack")]
    return f"{sum(file.stat().st_size for file in files):,}"


def test_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each destination has a line, its numbers below their names, and notes below all."""
    account = root / "app.trubrics.com-1"
    living = spool_with(account, 3)
    with living.lease(1, 2**30) as entries:
        assert entries is not None
        living.settle_rejected(entries[0], "HTTP 422")
    local = spool_with(root / "local", 1)
    with local.lease(1, 2**30) as entries:
        assert entries is not None
        local.settle_delivered(entries)
    die(local)
    large, small = bytes_in(account), bytes_in(root / "local")
    assert 0 == main(["status"])
    place, head, first, second, *notes = capsys.readouterr().out.splitlines()
    assert f"spool: {root}" == place
    names = "destination stored delivered pending rejected dropped processes bytes"
    assert [*names.split(), "oldest", "pending"] == head.split()
    account_row = ["app.trubrics.com-1", *"302101", large, STARTED_AT]
    assert account_row == first.split()
    assert ["local", *"110000", small, "-"] == second.split()
    for name, above, below in zip(names.split()[1:7], "302101", "110000", strict=True):
        at = head.index(name)
        assert (above, below) == (first[at], second[at])
    remedy = "`trubrics-trace flush --destination app.trubrics.com-1`"
    assert [
        "app.trubrics.com-1: 1 rejected: HTTP 422",
        f"app.trubrics.com-1: not configured here; send what waits with {remedy}",
    ] == notes


def test_what_was_dropped(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a cap let go of is told with its reason."""
    spool = spool_with(root / "local", 2)
    spool.close()
    for segment in (root / "local").glob("*.jsonl"):
        os.utime(segment, (0.0, 0.0))
    Spool(root / "local", Limits(2**30, max_age=60.0)).adopt()
    main(["status"])
    assert "local: 2 dropped: expired" == capsys.readouterr().out.splitlines()[-1]


def test_error_of_a_process(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a living process last met is told, with the process; no error is not."""
    failing = spool_with(root / "local", 1)
    failing.say(last_error="HTTP 503", retries=3)
    main(["status"])
    told = f"local: process {os.getpid()}: HTTP 503"
    assert told == capsys.readouterr().out.splitlines()[-1]
    failing.say(last_error=None, retries=3)
    main(["status"])
    assert "process " not in capsys.readouterr().out


def test_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs the whole census is JSON, in the words of its fields."""
    spool_with(root / "local", 2)
    spool_with(root / "another", 1)
    assert 0 == main(["status", "--json"])
    census = [json.loads(json.dumps(dataclasses.asdict(one))) for one in take_census(root)]
    told = [
        {**one, "is_balanced": True, "is_stranded": one["label"] == "another"}
        for one in census
    ]
    said = json.loads(capsys.readouterr().out)
    assert {"spool_dir": str(root), "destinations": told} == said
    assert ["another", "local"] == [one["label"] for one in census]


def test_what_is_configured_is_not_stranded(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What waits for the account that the environment names is not stranded."""
    monkeypatch.setenv("TRUBRICS_API_KEY", "test-key")
    spool_with(root / Settings(api_key="test-key").destination.label, 1)
    main(["status"])
    assert "not configured here" not in capsys.readouterr().out


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


@pytest.mark.parametrize("command", ["status", "flush", "rejected list", "adopt"])
def test_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command tells what it does, with an example that begins as it is typed."""
    with pytest.raises(SystemExit):
        main([command.split(maxsplit=1)[0], "--help"])
    assert f"\n  trubrics-trace {command}" in capsys.readouterr().out
