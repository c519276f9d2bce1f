"""What a directory may hold, and what of it may go first."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.delivery.parts import MIB
from trubrics_trace.delivery._limits import (
    Limits,
    bytes_of_segments,
    delete_kept,
    expire_kept,
    kept_segments,
)
from trubrics_trace.delivery._progress import DELIVERED
from trubrics_trace.delivery._segment import Segment


def segment_in(directory: Path, owner: str, settled: int = 2) -> Path:
    """Return the path of a segment of two lines, so many of which are delivered."""
    segment = Segment(directory / f"{owner}.000001.jsonl", create=True)
    for content in (b"one\n", b"two\n"):
        segment.append(content)
    segment.settle(list(segment.unsettled())[:settled], DELIVERED)
    segment.close()
    return segment.path


@pytest.mark.parametrize(
    ("max_bytes", "segment_bytes"), [(4_000, 1_000), (256 * MIB, 8 * MIB), (0, 0)]
)
def test_segments_of_a_small_cap(max_bytes: int, segment_bytes: int) -> None:
    """A segment is 8 MiB at most, and small enough that four are within the cap."""
    assert segment_bytes == Limits(max_bytes).segment_bytes
    assert max_bytes // 4 == Limits(max_bytes).aside_bytes


def test_bytes_of_segments(tmp_path: Path) -> None:
    """What segments take is counted, and nothing else in the directory."""
    segment_in(tmp_path, "a")
    segment_in(tmp_path, "b")
    for name in ("rejected.jsonl", "settled.log", "a.lock"):
        (tmp_path / name).write_text("more")
    (tmp_path / "c.000001.jsonl").symlink_to("gone")  # deleted during the look
    assert 2 * len(b"one\ntwo\n") == bytes_of_segments(tmp_path)


def test_bytes_of_no_directory(tmp_path: Path) -> None:
    """What cannot be read is not guessed."""
    with pytest.raises(FileNotFoundError):
        bytes_of_segments(tmp_path / "gone")


def test_kept(tmp_path: Path) -> None:
    """Kept is what was delivered whole, and that no process answers for."""
    kept = segment_in(tmp_path, "a")
    segment_in(tmp_path, "b", settled=1)
    held = segment_in(tmp_path, "c")
    held.with_name("c.lock").touch()
    (tmp_path / "gone.000001.ack").touch()
    assert [kept] == list(kept_segments(tmp_path, ()))


def test_kept_by_the_living(tmp_path: Path) -> None:
    """Kept is also what a living process has let go of."""
    segment_in(tmp_path, "a").with_name("a.lock").touch()
    segment_in(tmp_path, "b", settled=1).with_name("b.lock").touch()
    names = {"a.000001.jsonl", "b.000001.jsonl"}
    assert [tmp_path / "a.000001.jsonl"] == list(kept_segments(tmp_path, names))


def test_expired(tmp_path: Path) -> None:
    """What was delivered before a moment is deleted, with its note; the rest stays."""
    old, new = segment_in(tmp_path, "a"), segment_in(tmp_path, "b")
    moment = time.time() - 100.0
    os.utime(old.with_suffix(".ack"), (moment - 1, moment - 1))
    os.utime(new, (moment - 1, moment - 1))  # its last record is old, not its delivery
    expire_kept(tmp_path, (), moment)
    assert sorted([new, new.with_suffix(".ack")]) == sorted(tmp_path.iterdir())


def test_deleted_by_another(tmp_path: Path) -> None:
    """Deleting tells what it frees: nothing where another was faster."""
    path = segment_in(tmp_path, "a")
    assert (8, 0) == (delete_kept(path), delete_kept(path))
    assert [] == list(tmp_path.iterdir())
