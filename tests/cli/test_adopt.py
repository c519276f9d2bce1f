"""`trubrics-trace adopt`: what dead processes left is brought where it will be found."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.parts import behind_spool
from tests.delivery.parts import die, line, spool_in
from trubrics_trace import configure, flush, track_event
from trubrics_trace.cli import main
from trubrics_trace.delivery._census import take_census
from trubrics_trace.delivery._directory import make_private
from trubrics_trace.testing import IngestionServer


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the spool that the environment names."""
    place = tmp_path / "spool"
    assert make_private(place)
    return place


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Return another spool, as of a container that is gone."""
    place = tmp_path / "volume"
    assert make_private(place)
    return place


def leave(directory: Path, *record_ids: str) -> None:
    """Leave records as a process leaves them that is killed."""
    spool = spool_in(directory)
    for record_id in record_ids:
        spool.put(line(record_id))
    die(spool)


def pending_in(root: Path) -> dict[str, int]:
    """Return how many records wait below a root, by destination."""
    return {census.label: census.pending for census in take_census(root)}


def test_another_spool(
    root: Path, volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was left in another spool is moved to this one, by destination."""
    leave(volume / "acme", "1", "2")
    leave(volume / "acme", "3")
    leave(volume / "local", "4")
    leave(root / "local", "5")
    assert 0 == main(["adopt", str(volume)])
    assert "3 of acme wait\n2 of local wait\n" == behind_spool(capsys.readouterr().out)
    assert {"acme": 3, "local": 2} == pending_in(root)
    assert {"acme": 0, "local": 0} == pending_in(volume)
    assert [] == list(volume.glob("*/*.lock"))


def test_what_was_settled_is_not_sent_again(root: Path, volume: Path) -> None:
    """What had been delivered before the move is known to be so after it."""
    spool = spool_in(volume / "acme")
    for record_id in ("1", "2", "3"):
        spool.put(line(record_id))
    with spool.lease(2, 2**20) as entries:
        assert entries is not None
        spool.settle_delivered(entries)
    die(spool)
    assert 0 == main(["adopt", str(volume)])
    assert {"acme": 1} == pending_in(root)
    assert all(census.is_balanced for census in take_census(root))


def test_it_arrives(root: Path, volume: Path, trubrics_server: IngestionServer) -> None:
    """What was moved is sent by an app that lives here, once."""
    configure(api_key=trubrics_server.api_key, host=trubrics_server.url)
    track_event("Signed up", user_id="alice")
    assert flush()
    [census] = take_census(root)
    leave(volume / census.label, "of the dead")
    assert 0 == main(["adopt", str(volume)])
    configure(api_key=trubrics_server.api_key, host=trubrics_server.url)
    track_event("Signed up again", user_id="alice")
    assert flush()
    assert {1} == set(trubrics_server.record_ids.values())
    assert "of the dead" in trubrics_server.record_ids


def test_more_shares_than_are_taken_at_once(root: Path, volume: Path) -> None:
    """However many processes left something, all of it is moved."""
    for number in range(70):
        leave(volume / "acme", f"{number}")
    assert 0 == main(["adopt", str(volume)])
    assert {"acme": 70} == pending_in(root)


def test_own_spool(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without another spool this one is looked after: what is torn is cut off."""
    leave(root / "acme", "1", "2")
    [segment] = (root / "acme").glob("*.jsonl")
    with segment.open("ab") as file:
        file.write(line("torn")[:20])
    assert 0 == main(["adopt"])
    assert "2 of acme wait\n" == behind_spool(capsys.readouterr().out)
    assert line("1") + line("2") == segment.read_bytes()


def test_too_old(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is too old is let go of, with its reason: in a week where nothing is sent."""
    for label in ("acme", "local"):
        leave(root / label, "1")
        for segment in (root / label).glob("*.jsonl"):
            ten_days_ago = segment.stat().st_mtime - 10 * 24 * 3600
            os.utime(segment, (ten_days_ago, ten_days_ago))
    assert 0 == main(["adopt"])
    assert "1 of acme wait\n0 of local wait\n" == behind_spool(capsys.readouterr().out)
    assert [{}, {"expired": 1}] == [dict(one.dropped) for one in take_census(root)]


def test_more_than_is_looked_after_at_once(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """However many processes left something here, all of it is counted."""
    for number in range(70):
        leave(root / "acme", f"{number}")
    assert 0 == main(["adopt"])
    assert "70 of acme wait\n" == behind_spool(capsys.readouterr().out)


def test_what_a_running_app_holds(root: Path, volume: Path) -> None:
    """What a running app holds is left to that app, in either spool."""
    living = spool_in(volume / "acme")
    living.put(line("of the app"))
    assert 0 == main(["adopt", str(volume)])
    assert [{"acme": 1}, {}] == [pending_in(volume), pending_in(root)]
    living.close()


def test_json(root: Path, volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs the numbers are JSON, with where it was and where it is."""
    leave(volume / "acme", "1")
    assert 0 == main(["adopt", str(volume), "--json"])
    assert {
        "spool_dir": str(root),
        "from": str(volume),
        "adopted": {"acme": 1},
    } == json.loads(capsys.readouterr().out)


def test_nothing_was_left(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing was left that is said."""
    assert 0 == main(["adopt"])
    assert "nothing was left\n" == behind_spool(capsys.readouterr().out)


def test_no_spool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no spool nothing is tried, and none is made."""
    nowhere = tmp_path / "nowhere"
    assert 2 == main(["adopt", str(nowhere)])
    assert f"trubrics-trace: there is no spool at {nowhere}\n" == capsys.readouterr().err
    assert not nowhere.exists()


def test_what_cannot_be_moved(
    root: Path, volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be moved stays where it was, is not lost, and it is code 1."""
    leave(volume / "acme", "1", "2")
    (root / "acme").write_text("no directory")
    leave(volume / "local", "3")
    code = main(["adopt", str(volume)])
    assert (1, {"acme": 2, "local": 0}) == (code, pending_in(volume))
    assert {"local": 1} == pending_in(root)
    assert "1 of local wait" in capsys.readouterr().out
