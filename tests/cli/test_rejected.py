"""`trubrics-trace rejected`: what was set aside, shown, put back or let go of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.parts import MIB, line, spool_in
from tests.process.program import run_program
from trubrics_trace._settings import Settings
from trubrics_trace.cli import main
from trubrics_trace.delivery._aside import read_aside, set_aside
from trubrics_trace.delivery._census import take_census
from trubrics_trace.delivery._directory import make_private
from trubrics_trace.testing import IngestionServer

NO_RECORD = b"\xffno record\n"
SECRET = "what the user asked"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the spool that the environment names, with four lines set aside."""
    place = tmp_path / "spool"
    for name in ("acme", "local"):
        assert make_private(place / name) or make_private(place)
        assert make_private(place / name)
    place.chmod(0o700)
    assert set_aside(place / "acme", line("1", prompt=SECRET), "HTTP 422: prompt", MIB)
    assert set_aside(place / "acme", line("2", prompt=SECRET), "HTTP 413", MIB)
    assert set_aside(place / "acme", NO_RECORD, "corrupt", MIB)
    assert set_aside(place / "local", line("3", user_id=None), "HTTP 422", MIB)
    return place


def aside_in(root: Path) -> dict[str, list[bytes]]:
    """Return the lines that are set aside, by destination."""
    names = ("acme", "local")
    return {name: [one.line for one in read_aside(root / name)] for name in names}


def json_of(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return what was printed for programs."""
    return json.loads(capsys.readouterr().out)


def test_list(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line that was set aside is shown: whose it was and why, never what was said."""
    assert 0 == main(["rejected", "list"])
    head, *rows = capsys.readouterr().out.splitlines()
    assert ["destination", "record", "kind", "user", "at", "reason"] == head.split()
    shown = [row.split(maxsplit=5) for row in rows]
    assert [
        ("acme", "1", "prompt", "alice", "HTTP 422: prompt"),
        ("acme", "2", "prompt", "alice", "HTTP 413"),
        ("acme", "-", "-", "-", "corrupt"),
        ("local", "3", "prompt", "-", "HTTP 422"),
    ] == [(*cells[:4], cells[5]) for cells in shown]
    assert SECRET not in "".join(rows)
    assert [4] == [sum(map(len, aside_in(root).values()))]


def test_nothing_is_set_aside(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing is set aside that is said, and nothing is made for it."""
    assert 0 == main(["rejected", "list"])
    assert "nothing is set aside\n" == capsys.readouterr().out


def test_list_for_programs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs each line is JSON: the whole record, or what stands where none is."""
    assert 0 == main(["rejected", "list", "--json", "--destination", "acme"])
    first, _, last = json_of(capsys)["rejected"]
    assert ("acme", "HTTP 422: prompt", SECRET, None) == (
        first["destination"],
        first["reason"],
        first["record"]["prompt"],
        first["line"],
    )
    assert (None, "\ufffdno record\n") == (last["record"], last["line"])
    assert first["at"] == read_aside(root / "acme")[0].at


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        ([], {"acme": [], "local": []}),
        (["--id", "1"], {"acme": [line("2", prompt=SECRET), NO_RECORD], "local": ["3"]}),
        (
            ["--reason", "HTTP 422"],
            {"acme": [line("2", prompt=SECRET), NO_RECORD], "local": []},
        ),
        (["--destination", "acme"], {"acme": [], "local": ["3"]}),
        (
            ["--id", "3", "--destination", "acme"],
            {
                "acme": [line("1", prompt=SECRET), line("2", prompt=SECRET), NO_RECORD],
                "local": ["3"],
            },
        ),
    ],
)
def test_drop(
    root: Path,
    chosen: list[str],
    left: dict[str, list[Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was meant is let go of, and told; the rest stays as it stood."""
    if left["local"]:
        left = {**left, "local": [line("3", user_id=None)]}
    dropped = 4 - sum(map(len, left.values()))
    assert 0 == main(["rejected", "drop", *chosen])
    assert f"dropped {dropped}\n" == capsys.readouterr().out
    assert left == aside_in(root)
    assert 0 == sum(row.pending for row in take_census(root))


def test_resend(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is a record is put back, as it stood, where it was; what is none stays."""
    assert 0 == main(["rejected", "resend"])
    assert "put back 3\n" == capsys.readouterr().out
    assert {"acme": [NO_RECORD], "local": []} == aside_in(root)
    assert {"acme": 2, "local": 1} == {row.label: row.pending for row in take_census(root)}
    assert all(row.is_balanced for row in take_census(root))
    spool = spool_in(root / "acme")
    spool.adopt()
    with spool.lease(9, MIB) as entries:
        waiting = [entry.line for entry in entries or ()]
    assert [line("1", prompt=SECRET), line("2", prompt=SECRET)] == waiting
    spool.close()


def test_resend_for_programs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs the numbers of what was put back are JSON, by destination."""
    assert 0 == main(["rejected", "resend", "--id", "2", "--json"])
    assert {"resend": {"acme": 1, "local": 0}} == json_of(capsys)
    assert [["1"], ["3"]] == [
        [record["record_id"] for one in read_aside(root / name) if (record := one.record)]
        for name in ("acme", "local")
    ]


def test_sent_after_all(
    tmp_path: Path, trubrics_server: IngestionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a server refused and then takes arrives: once, after it was put back."""
    monkeypatch.setenv("TRUBRICS_API_KEY", trubrics_server.api_key)
    monkeypatch.setenv("TRUBRICS_HOST", trubrics_server.url)
    settings = Settings(api_key=trubrics_server.api_key, host=trubrics_server.url)
    root = tmp_path / "spool"
    assert make_private(root)
    spool = spool_in(root / settings.destination.label)
    spool.put(line("refused"))
    spool.close()
    trubrics_server.answer_next(422, {"detail": "no"})
    assert 1 == main(["flush"])
    assert 0 == main(["rejected", "resend"])
    assert 0 == main(["flush"])
    assert {"refused": 1} == trubrics_server.record_ids
    [census] = take_census(root)
    assert (2, 1, {"HTTP 422": 1}, 0) == (
        census.stored,
        census.delivered,
        dict(census.rejected),
        census.set_aside,
    )


def test_full_disk(root: Path) -> None:
    """Where the disk is full nothing is put back, nothing is lost, and it is code 2."""
    program = """
        import resource, signal
        from trubrics_trace.cli import main
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))
        raise SystemExit(main(["rejected", "resend", "--destination", "local"]))
        """
    before = aside_in(root)
    ended = run_program(program, root)
    assert (2, before) == (ended.returncode, aside_in(root))
    assert ended.stderr.startswith("trubrics-trace: ")
    assert 0 == sum(row.pending for row in take_census(root))
