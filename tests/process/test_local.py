"""Without credentials nothing is sent, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.process.program import clean_environment, run_program
from trubrics_trace.testing import serve_ingestion

TWO_CALLS = """
from langchain_core.language_models import FakeListChatModel
from trubrics_trace import trubrics_scope
for user in ("alice", "bob"):
    with trubrics_scope(user_id=user):
        FakeListChatModel(responses=["42"]).invoke(f"Hello from {user}")
"""


def command(
    spool_dir: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line as its user does."""
    return subprocess.run(
        [sys.executable, "-m", "trubrics_trace", *arguments],
        env=clean_environment(spool_dir, **environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def pending(spool_dir: Path) -> dict[str, int]:
    """Return what waits by destination, as `status --json` says."""
    said = json.loads(command(spool_dir, "status", "--json").stdout)
    return {row["label"]: row["pending"] for row in said["destinations"]}


def test_only_one_notice_is_printed(tmp_path: Path) -> None:
    """A program without credentials prints the one notice, and no record."""
    ended = run_program(TWO_CALLS, tmp_path)

    assert "" == ended.stdout
    (notice,) = ended.stderr.splitlines()
    assert "TRUBRICS_API_KEY" in notice
    assert "Hello" not in notice


def test_a_spool_in_memory_is_no_fault(tmp_path: Path) -> None:
    """Asked for, it is nothing to complain of; that no record outlives it is said."""
    memory = {"TRUBRICS_TRACE_SPOOL_DIR": ":memory:", "TRUBRICS_TRACE_STRICT": "true"}
    ended = run_program(TWO_CALLS, tmp_path, **memory)

    assert 0 == ended.returncode, ended.stderr
    (notice,) = ended.stderr.splitlines()
    assert "so records end with this process" in notice


def test_records_are_spooled_under_local(tmp_path: Path) -> None:
    """They wait below `local`, where `status` counts them."""
    run_program(TWO_CALLS, tmp_path)

    assert {"local": 2} == pending(tmp_path)
    shown = command(tmp_path, "status").stdout
    assert "local" in shown
    assert "Hello" not in shown


def test_records_are_logged_through_logging(tmp_path: Path) -> None:
    """Where the app asks for INFO, each record is one line of JSON."""
    source = f"""
import logging, sys
logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
{TWO_CALLS}"""

    lines = run_program(source, tmp_path).stdout.splitlines()

    records = [json.loads(line) for line in lines if line.startswith("{")]
    assert ["alice", "bob"] == [record["user_id"] for record in records]
    assert {"trubrics.prompt"} == {record["event"] for record in records}


def test_without_a_key_there_is_nothing_to_send_with(tmp_path: Path) -> None:
    """`flush` without credentials exits 2, says what to set, and touches nothing."""
    run_program(TWO_CALLS, tmp_path)

    ended = command(tmp_path, "flush", "--from", "local")

    assert 2 == ended.returncode
    assert "TRUBRICS_API_KEY" in ended.stderr
    assert {"local": 2} == pending(tmp_path)


def test_local_records_leave_only_when_they_are_told_to(tmp_path: Path) -> None:
    """A key alone does not send them; `flush --from local` does, each once."""
    run_program(TWO_CALLS, tmp_path)
    with serve_ingestion() as server:
        account = {"TRUBRICS_API_KEY": server.api_key, "TRUBRICS_HOST": server.url}

        assert 0 == command(tmp_path, "flush", **account).returncode
        assert [] == server.events

        ended = command(tmp_path, "flush", "--from", "local", "--json", **account)
        assert 0 == ended.returncode, ended.stderr
        assert 2 == json.loads(ended.stdout)["delivered"]
        assert ["alice", "bob"] == [event["user_id"] for event in server.events]

        assert 0 == command(tmp_path, "flush", "--from", "local", **account).returncode
        assert {1} == set(server.record_ids.values())
    assert {"local": 0} == pending(tmp_path)


def test_flush_says_when_something_is_left(tmp_path: Path) -> None:
    """With the server down it exits 1 in time, and everything still waits."""
    run_program(TWO_CALLS, tmp_path)
    account = {"TRUBRICS_API_KEY": "key", "TRUBRICS_HOST": "http://127.0.0.1:9"}

    ended = command(tmp_path, "flush", "--from", "local", "--timeout", "0.5", **account)

    assert 1 == ended.returncode
    assert "2 left" in ended.stdout
    assert {"local": 2} == pending(tmp_path)


def test_an_empty_spool_is_no_error(tmp_path: Path) -> None:
    """`status` of a place where nothing was ever recorded says so."""
    ended = command(tmp_path / "nowhere", "status")

    assert 0 == ended.returncode
    assert "nothing has been recorded" in ended.stdout
