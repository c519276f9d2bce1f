"""Batches as full as can be, whatever is leased."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.parts import line, record
from trubrics_trace.delivery._batches import Sent, batches_of
from trubrics_trace.delivery._segment import Entry

SIZE = len(line(0))


def sent(count: int) -> list[Sent]:
    """Return so many records, each with where it stands."""
    return [(Entry(None, at, line(at % 10)), record(at)) for at in range(count)]


@given(leased=st.integers(1, 60), count=st.integers(1, 20), fits=st.integers(1, 20))
def test_batches(leased: int, count: int, fits: int) -> None:
    """All are full; a last one is left out that may not be, but never alone."""
    batches = batches_of(sent(leased), count, fits * SIZE)
    most = min(count, fits)
    left = leased - sum(map(len, batches))
    assert [most] * len(batches) == [len(batch) for batch in batches] or leased < most
    assert [one for batch in batches for one in batch] == sent(leased)[: leased - left]
    assert left <= most
    assert batches[0]


def test_record_that_is_larger() -> None:
    """A record that exceeds the bytes by itself has a batch of its own."""
    assert [1, 1] == [len(batch) for batch in batches_of(sent(3), 100, SIZE // 2)][:2]
