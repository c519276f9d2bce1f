"""`trubrics-trace export`: records taken away, all or those that are wanted."""

from __future__ import annotations

import csv
import io
import json
import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.cli.parts import ids_in, records_in, root_with
from tests.delivery.parts import line, record, spool_in
from trubrics_trace import EventRecord, FeedbackRecord
from trubrics_trace.cli import main
from trubrics_trace.delivery._limits import Limits
from trubrics_trace.delivery._spool import Spool
from trubrics_trace.pipeline._line import line_of


def test_lines_of_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each record is a line with all that it holds, and its destination."""
    root_with(tmp_path, line(1, prompt="où?"), b"no record\n", label="acme")
    assert 0 == main(["export"])
    expected = {"destination": "acme", **json.loads(line(1, prompt="où?"))}
    assert [expected] == records_in(capsys.readouterr().out)


def test_behind_what_is_corrupt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A record that stands behind what is corrupt is a line of its own."""
    root_with(tmp_path, b'{"kind": "pro' + line(1))
    main(["export"])
    [said] = records_in(capsys.readouterr().out)
    assert ("1", "alice") == (said["record_id"], said["user_id"])


def test_what_was_delivered_and_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was delivered and is kept is exported beside what waits."""
    root = root_with(tmp_path, line("waits"))
    spool = Spool(root / "acme", Limits(2**30, keep_delivered=60.0))
    spool.put(line("kept"))
    with spool.lease(1, 2**30) as entries:
        spool.settle_delivered(entries or [])
    spool.close()
    main(["export"])
    assert {"waits", "kept"} == set(ids_in(capsys.readouterr().out))


def test_while_an_app_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a living app has written is exported up to its last whole line."""
    root = root_with(tmp_path)
    spool = spool_in(root / "local")
    spool.put(line("whole"))
    [segment] = (root / "local").glob("*.*.jsonl")
    with segment.open("ab") as file:
        file.write(line("torn")[:20])
    main(["export"])
    assert ["whole"] == ids_in(capsys.readouterr().out)
    spool.close()


MANY = [
    line(1, thread_id="a", tags=("langchain", "support")),
    line(2, user_id="bob", status="error", started_at="2026-01-03T00:00:00+00:00"),
    line(3, user_id=None, prompt='"alice"', started_at="2026-01-04T00:00:00.500000+00:00"),
    line(4, tags=("langchain",), metadata={"note": "support"}, thread_id="b"),
    line(5, user_id="bob", started_at="soon"),
]


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ("--user alice", "14"),
        ("--user bob --status error", "2"),
        ("--tag support", "1"),
        ("--thread b", "4"),
        ("--status complete", "1345"),
        ("--since 2026-01-03", "23"),
        ("--since 2026-01-03T01:00:00+01:00 --until 2026-01-04T00:00:00Z", "2"),
        ("--until 2026-01-03T00:00", "14"),
        ("--destination acme", ""),
        ("--destination local", "12345"),
    ],
)
def test_wishes(
    wishes: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records are exported that fit each wish; a date that says no zone is UTC's."""
    root_with(tmp_path, *MANY)
    assert 0 == main(["export", *wishes.split()])
    assert [*expected] == ids_in(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("ago", "expected"), [("90s", 0), ("3m", 1), ("0.5h", 1), ("3h", 2), ("1d", 2)]
)
def test_time_ago(
    ago: str, expected: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A time may be said as how long ago that was."""
    now = datetime.now(timezone.utc)
    for minutes in (2, 120):
        started_at = (now - timedelta(minutes=minutes)).isoformat()
        root_with(tmp_path, line(minutes, started_at=started_at))
    main(["export", "--since", ago])
    assert expected == len(ids_in(capsys.readouterr().out))


def test_what_is_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    """What is no time ends with the usage."""
    with pytest.raises(SystemExit) as ended:
        main(["export", "--since", "yesterday"])
    assert 2 == ended.value.code
    assert "invalid moment value: 'yesterday'" in capsys.readouterr().err


def table_in(printed: str) -> list[dict[str, str]]:
    """Return the rows of a table by the names of its columns."""
    return list(csv.DictReader(io.StringIO(printed)))


def test_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table has a column for each field of each kind, with what is nested as JSON."""
    root_with(
        tmp_path,
        line_of(record(1, prompt='say "hi",\nplease', metadata={"plan": "pro"})),
        line_of(FeedbackRecord(record_id="2", score=-1, about="1")),
        line_of(EventRecord(record_id="3", event_name="login")),
    )
    assert 0 == main(["export", "--format", "csv"])
    printed = capsys.readouterr().out
    prompt, feedback, event = table_in(printed)
    assert ('say "hi",\nplease', '["langchain"]', {"plan": "pro"}) == (
        prompt["prompt"],
        prompt["tags"],
        json.loads(prompt["metadata"]),
    )
    assert ("local", "feedback", "-1", "1", "") == tuple(
        feedback[name] for name in ("destination", "kind", "score", "about", "prompt")
    )
    assert "login" == event["event_name"]
    assert printed.startswith("destination,kind,record_id,user_id,")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_formulas(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a spreadsheet would run is a text there, and itself in JSON."""
    root_with(tmp_path, line(1, prompt=text))
    main(["export", "--format", "csv"])
    assert f"'{text}" == table_in(capsys.readouterr().out)[0]["prompt"]
    main(["export", "--json", "--format", "csv"])
    assert text == records_in(capsys.readouterr().out)[0]["prompt"]


def test_empty_table(capsys: pytest.CaptureFixture[str]) -> None:
    """A table of nothing has the names of its columns."""
    assert 0 == main(["export", "--format", "csv"])
    printed = capsys.readouterr().out
    assert [] == table_in(printed)
    assert 1 == printed.count("\n")


def test_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of records is whole, and nobody else may read it."""
    root_with(tmp_path, *MANY)
    output = tmp_path / "out.jsonl"
    output.touch(0o600)
    output.write_text("something longer than what comes" * 100)
    assert 0 == main(["export", "--output", str(output)])
    assert [*"12345"] == ids_in(output.read_text())
    assert "" == capsys.readouterr().out
    fresh = tmp_path / "fresh.csv"
    main(["export", "--output", str(fresh), "--format", "csv"])
    assert 0o600 == stat.S_IMODE(fresh.stat().st_mode)
    assert 5 == len(table_in(fresh.read_text()))


def test_file_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that cannot be written is said in one line."""
    assert 2 == main(["export", "--output", str(tmp_path / "no" / "where")])
    assert 1 == len(capsys.readouterr().err.splitlines())
