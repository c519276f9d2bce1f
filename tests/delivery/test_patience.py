"""A disk that took too long is left alone, and a busy process is not blamed on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trubrics_trace.delivery._patience import MOST_SECONDS, Patience


class Looks:
    """A clock that shows one time after the other."""

    def __init__(self, *times: float) -> None:
        self._times: Iterator[float] = iter(times)

    def __call__(self) -> float:
        """Return the next time."""
        return next(self._times)


@pytest.mark.parametrize("took", [0.0, MOST_SECONDS])
def test_quick(took: float) -> None:
    """A write within the limit costs nothing."""
    patience = Patience(Looks(took))
    patience.note_work(0.0)
    assert patience.lost_since(0.0) is None
    assert patience.until <= 0.0


def test_slow() -> None:
    """A write beyond the limit leaves the disk alone for a minute since it began."""
    patience = Patience(Looks(100.06))
    patience.note_work(100.0)
    assert 0.06 == pytest.approx(patience.lost_since(100.0))
    assert 160.0 == pytest.approx(patience.until)


def test_busy_process() -> None:
    """Where the process worked meanwhile, other threads held the write up, not the disk."""
    patience = Patience(Looks(100.06), Looks(5.0, 5.04))
    patience.note_work(100.0)
    assert patience.lost_since(100.0) is None
    assert patience.until <= 100.0


def test_busy_before() -> None:
    """What a process worked before a slow write is no excuse for that."""
    patience = Patience(Looks(100.1), Looks(5.0, 5.04))
    patience.note_work(100.0)
    patience.note_work(100.04)  # so soon after, it is not asked again
    assert 0.06 == pytest.approx(patience.lost_since(100.04))


def test_begin_again() -> None:
    """A disk that was left alone may be given another chance at once."""
    patience = Patience(Looks(100.06))
    patience.note_work(100.0)
    patience.lost_since(100.0)
    patience.begin_again()
    assert patience.until <= 100.1
