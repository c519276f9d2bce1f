"""Each record is counted in one place, and the law holds after every step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trubrics_trace._stats import Stats
from trubrics_trace.delivery._tally import Tally

COUNTS = st.integers(0, 9)
STEPS = st.one_of(
    st.tuples(st.just("accept")),
    st.tuples(st.sampled_from(["adopt", "deliver"]), COUNTS),
    st.tuples(st.sampled_from(["reject", "drop"]), st.sampled_from("ab"), COUNTS),
    st.tuples(st.just("recount"), COUNTS),
)


def stats_of(tally: Tally) -> Stats:
    """Return the tally's moment."""
    return tally.stats(oldest_pending_seconds=None, bytes_on_disk=0)


def test_each_step() -> None:
    """Each step is counted where it belongs, and taken from what waits."""
    tally = Tally()
    for _ in range(5):
        tally.accept()
    tally.adopt(2)
    tally.deliver(1)
    tally.reject("HTTP 422", 1)
    tally.drop("spool_full", 2)
    tally.drop("nothing", 0)
    now = stats_of(tally)
    assert (5, 2, 1, 3) == (now.accepted, now.adopted, now.delivered, now.pending)
    assert ({"HTTP 422": 1}, {"spool_full": 2}) == (now.rejected, now.dropped)


def test_recount() -> None:
    """What is there and was not counted was accepted; what is not there was not."""
    tally = Tally()
    tally.accept()
    tally.recount(3)
    assert (3, 3) == (stats_of(tally).accepted, tally.pending)
    tally.recount(2)
    assert (2, 2) == (stats_of(tally).accepted, tally.pending)


@given(st.lists(STEPS))
def test_the_law(steps: list[tuple[str, ...]]) -> None:
    """The law holds, whatever came in which order."""
    tally = Tally()
    for name, *said in steps:
        getattr(tally, name)(*said)
        assert stats_of(tally).is_balanced
