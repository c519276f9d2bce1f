"""`trubrics-trace flush`: what waits is sent to the account it was meant for, alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.parts import behind_spool
from tests.delivery.parts import die, line, spool_in
from tests.delivery.servers import unused_url
from tests.process.program import clean_environment
from trubrics_trace._settings import LOCAL, Settings
from trubrics_trace.cli import main
from trubrics_trace.cli._flush import _send
from trubrics_trace.delivery._census import take_census
from trubrics_trace.delivery._directory import make_private
from trubrics_trace.errors import SpoolError
from trubrics_trace.testing import IngestionServer, serve_ingestion

KEY = "test-key"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the spool that the environment names."""
    place = tmp_path / "spool"
    assert make_private(place)
    return place


@pytest.fixture
def label(trubrics_server: IngestionServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the label of the account that the environment names."""
    return label_of_account_at(trubrics_server.url, monkeypatch)


def label_of_account_at(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the environment name the account at this host; return its label."""
    monkeypatch.setenv("TRUBRICS_API_KEY", KEY)
    monkeypatch.setenv("TRUBRICS_HOST", url)
    return Settings(api_key=KEY, host=url).destination.label


def leave(directory: Path, *record_ids: str) -> None:
    """Leave records as a process leaves them that is killed."""
    spool = spool_in(directory)
    for record_id in record_ids:
        spool.put(line(record_id))
    die(spool)


def pending_in(root: Path) -> dict[str, int]:
    """Return how many records wait below a root, by destination."""
    return {census.label: census.pending for census in take_census(root)}


def test_what_waits_is_sent(
    root: Path,
    label: str,
    trubrics_server: IngestionServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What waits for the account is sent, once, and the sum of it is told."""
    leave(root / label, "1", "2", "3")
    assert 0 == main(["flush"])
    said = behind_spool(capsys.readouterr().out)
    assert f"sent 3 of {label} to {label}, 0 left\n" == said
    assert {"1": 1, "2": 1, "3": 1} == trubrics_server.record_ids
    assert {label: 0} == pending_in(root)


@pytest.mark.usefixtures("label")
def test_nothing_waits(tmp_path: Path, trubrics_server: IngestionServer) -> None:
    """Where nothing was recorded there is nothing left, nothing asked and nothing made."""
    assert 0 == main(["flush"])
    assert {} == trubrics_server.requests
    assert not (tmp_path / "spool").exists()


def test_json(root: Path, label: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs the report is JSON, with what is left, and of which destination."""
    leave(root / label, "1", "2")
    assert 0 == main(["flush", "--json"])
    assert {
        "complete": True,
        "delivered": 2,
        "pending": 0,
        "last_error": None,
        "left": 0,
        "from": label,
    } == json.loads(capsys.readouterr().out)


def test_without_credentials(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without credentials nothing is tried, and the remedy is said."""
    leave(root / "local", "1")
    assert 2 == main(["flush", "--from", "local"])
    said = "there are no credentials to send with; set TRUBRICS_API_KEY"
    assert ("", f"trubrics-trace: {said}\n") == capsys.readouterr()
    assert {"local": 1} == pending_in(root)


def test_nothing_carries(root: Path) -> None:
    """Where nothing carries to a destination nothing is taken from the spool for it."""
    leave(root / "local", "1")
    with pytest.raises(SpoolError, match="nothing carries to local"):
        _send(root, LOCAL, Settings(), 1.0)
    assert {"local": 1} == pending_in(root)


def test_local_alone(root: Path, label: str, trubrics_server: IngestionServer) -> None:
    """What was recorded without credentials is sent when asked for, and it alone."""
    leave(root / "local", "1", "2")
    leave(root / label, "3")
    assert 0 == main(["flush", "--from", "local"])
    assert {"1", "2"} == trubrics_server.record_ids.keys()
    assert {"local": 0, label: 1} == pending_in(root)


def test_local_is_not_taken_along(
    root: Path, label: str, trubrics_server: IngestionServer
) -> None:
    """What waits for no account, or for another, is not taken along."""
    leave(root / "local", "1")
    leave(root / "another", "2")
    leave(root / label, "3")
    assert 0 == main(["flush"])
    assert {"3"} == trubrics_server.record_ids.keys()
    assert {"another": 1, "local": 1, label: 0} == pending_in(root)


def test_local_is_sent_once(
    root: Path,
    label: str,
    trubrics_server: IngestionServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is kept after it was sent, to be read, is not sent again."""
    leave(root / "local", "1")
    assert [0, 0] == [main(["flush", "--from", "local"]) for _ in range(2)]
    assert {"1": 1} == trubrics_server.record_ids
    last = capsys.readouterr().out.splitlines()[-1]
    assert f"sent 0 of local to {label}, 0 left" == last
    assert [1] == [census.delivered for census in take_census(root)]


def test_credentials_of_another(
    root: Path,
    label: str,
    trubrics_server: IngestionServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A destination that is not the credentials' is refused, with both their names."""
    leave(root / "another", "1")
    leave(root / label, "2")
    assert 2 == main(["flush", "--destination", "another"])
    said = capsys.readouterr().err
    assert f"the credentials are those of {label}, not of another; " in said
    assert {} == trubrics_server.requests


def test_credentials_as_expected(
    root: Path, label: str, trubrics_server: IngestionServer
) -> None:
    """A destination that is the credentials' is sent."""
    leave(root / label, "1")
    assert 0 == main(["flush", "--destination", label])
    assert {"1": 1} == trubrics_server.record_ids


def test_nobody_answers(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What could not be sent in time is left, with the last error, and it is code 1."""
    label = label_of_account_at(unused_url(), monkeypatch)
    leave(root / label, "1", "2")
    assert 1 == main(["flush", "--timeout", "1"])
    error = "the last error was: no answer: ConnectionError"
    said = behind_spool(capsys.readouterr().out)
    assert f"sent 0 of {label} to {label}, 2 left; {error}\n" == said
    assert {label: 2} == pending_in(root)


def test_what_a_running_app_holds(
    root: Path, label: str, trubrics_server: IngestionServer
) -> None:
    """What a running app holds is left to that app, and told as left."""
    living = spool_in(root / label)
    living.put(line("of the app"))
    leave(root / label, "of the dead")
    assert 1 == main(["flush"])
    assert {"of the dead": 1} == trubrics_server.record_ids
    assert {label: 1} == pending_in(root)
    living.close()


def test_refused_record(root: Path, label: str, trubrics_server: IngestionServer) -> None:
    """A refused record is set aside, and makes the flush incomplete."""
    leave(root / label, "1")
    trubrics_server.answer_next(422, {"detail": "no"})
    assert 1 == main(["flush"])
    [census] = take_census(root)
    assert (0, 1) == (census.pending, census.set_aside)


def test_refused_credentials(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Credentials that are refused are told by their own name, whatever was to be sent."""
    with serve_ingestion(api_key="another") as server:
        label = label_of_account_at(server.url, monkeypatch)
        leave(root / "local", "1")
        assert 1 == main(["flush", "--from", "local", "--timeout", "0.5"])
    [said] = [said for said in caplog.messages if "refuses the credentials" in said]
    assert f"the credentials of {label} (HTTP 401)" in said
    assert {"local": 1} == pending_in(root)


def test_more_shares_than_are_taken_at_once(
    root: Path, label: str, trubrics_server: IngestionServer
) -> None:
    """What many dead processes left is sent, however many they were."""
    for number in range(70):
        leave(root / label, f"{number}")
    assert 0 == main(["flush"])
    assert 70 == len(trubrics_server.events)


def test_key_that_is_asked_for(
    root: Path, trubrics_server: IngestionServer, tmp_path: Path
) -> None:
    """At a terminal the key of a destination is asked for, and never shown."""
    label = Settings(api_key=KEY, host=trubrics_server.url).destination.label
    leave(root / label, "1")
    typing, terminal = os.openpty()
    ended = subprocess.Popen(
        [sys.executable, "-m", "trubrics_trace", "flush", "--destination", label],
        env=clean_environment(root, TRUBRICS_HOST=trubrics_server.url),
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # else it asks the terminal of whoever runs the tests
    )
    asked = read_prompt(ended)  # what is typed before it is thrown away
    os.write(typing, KEY.encode() + b"\n")
    said, more = ended.communicate(timeout=60)
    os.close(typing)
    os.close(terminal)
    assert (0, f"the API key of {label}: ") == (ended.returncode, asked), more
    assert f"sent 1 of {label} to {label}, 0 left\n" == behind_spool(said)
    assert KEY not in said + asked + more


def read_prompt(program: subprocess.Popen[str]) -> str:
    """Return what a program asks of whoever sits before it."""
    assert program.stderr is not None
    asked = ""
    while not asked.endswith(": "):
        character = program.stderr.read(1)
        assert character, asked
        asked += character
    return asked
