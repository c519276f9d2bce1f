"""What a close left is counted once, whoever finds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.delivery.parts import line
from trubrics_trace.delivery._directory import make_private
from trubrics_trace.delivery._heritage import Heritage
from trubrics_trace.delivery._owner import Owned, new_owner


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory that is ours alone."""
    place = tmp_path / "root" / "destination"
    assert make_private(place)
    return place


def share(directory: Path, count: int) -> Owned:
    """Return a share in which so many lines wait."""
    owned = new_owner(directory)
    for number in range(count):
        (owned.segments[-1] if owned.segments else owned.new_segment()).append(line(number))
    return owned


def test_found_again(directory: Path) -> None:
    """What was left and is found again is no news, and waits here no more."""
    heritage, owned = Heritage(), share(directory, 2)
    assert not heritage
    heritage.leave([owned])
    assert (True, 2) == (bool(heritage), heritage.waiting)
    assert 0 == heritage.find([(owned, 2)], is_all=True)
    assert (False, 0) == (bool(heritage), heritage.waiting)


def test_of_others(directory: Path) -> None:
    """What others left is news; so is what others have taken over from us."""
    heritage, ours, theirs = Heritage(), share(directory, 2), share(directory, 3)
    heritage.leave([ours])
    assert 1 == heritage.find([(theirs, 3)], is_all=True)
    assert (False, 0) == (bool(heritage), heritage.waiting)


def test_not_all_was_looked_at(directory: Path) -> None:
    """Where there is more to find, what was not found yet still waits."""
    heritage, ours, theirs = Heritage(), share(directory, 2), share(directory, 3)
    heritage.leave([ours])
    assert 3 == heritage.find([(theirs, 3)], is_all=False)
    assert (True, 2) == (bool(heritage), heritage.waiting)
    assert 0 == heritage.find([(ours, 2)], is_all=False)
    assert (True, 0) == (bool(heritage), heritage.waiting)
    assert (0, False) == (heritage.find([], is_all=True), bool(heritage))


def test_nothing_was_left(directory: Path) -> None:
    """A share in which nothing waits is not looked for."""
    heritage = Heritage()
    heritage.leave([share(directory, 0)])
    assert not heritage
