"""The waits after failures: a part of a ceiling that doubles, and what is asked for."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.parts import Clock
from trubrics_trace.delivery._backoff import Backoff

START = Clock().now
LONGEST = 24 * 3600.0


def no_jitter(lowest: float, highest: float) -> float:
    """Return the shortest of the waits that are allowed: none."""
    return lowest


def whole_jitter(lowest: float, highest: float) -> float:
    """Return the longest of the waits that are allowed."""
    return highest


def test_ceiling_doubles_up_to_a_minute() -> None:
    """The ceiling of the wait doubles with each failure, up to a minute."""
    backoff, ceilings = Backoff(Clock(), whole_jitter), list[float]()
    for _ in range(12):
        backoff.fail("HTTP 500", 0.0)
        ceilings.append(backoff.seconds_left)
    assert [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, *[60.0] * 6] == ceilings


def test_wait_is_a_part_of_the_ceiling() -> None:
    """Which part of the ceiling is waited for is left to chance: many come back apart."""
    waits = {wait_after(Backoff(Clock())) for _ in range(32)}
    assert len(waits) > 1
    assert all(0.0 <= wait <= 1.0 for wait in waits)


def wait_after(backoff: Backoff) -> float:
    """Return how long a first failure lets wait."""
    backoff.fail("HTTP 500", 0.0)
    return backoff.seconds_left


@given(
    jitter=st.sampled_from([no_jitter, whole_jitter]),
    asked=st.lists(st.floats(0.0, LONGEST), min_size=1),
    passed=st.floats(0.0, LONGEST),
    end=st.sampled_from(["hurry", "begin again", ""]),
)
def test_never_before_it_was_asked(
    jitter: Callable[[float, float], float],
    asked: list[float],
    passed: float,
    end: str,
) -> None:
    """However often it fails, whoever hurries or begins again: a wait asked for holds."""
    clock = Clock()
    backoff = Backoff(clock, jitter)
    for seconds in asked:
        backoff.fail("HTTP 429", seconds)
    clock.now += passed
    if end == "hurry":
        backoff.hurry()
    elif end:
        backoff.begin_again()
    until = START + max(asked)
    assert backoff.seconds_left >= until - clock.now
    if end:
        assert backoff.seconds_left == max(0.0, until - clock.now)


def test_hurried() -> None:
    """A wait of our own ends where somebody hurries; the failures are still counted."""
    backoff = Backoff(Clock(), whole_jitter)
    backoff.fail("HTTP 500", 0.0)
    backoff.hurry()
    assert (0.0, 1, "HTTP 500") == (
        backoff.seconds_left,
        backoff.failures,
        backoff.last_error,
    )


def test_success_ends_everything() -> None:
    """After a success nothing is waited for, and the next failure is a first one."""
    clock = Clock()
    backoff = Backoff(clock, whole_jitter)
    for _ in range(5):
        backoff.fail("HTTP 429", 3600.0)
    backoff.succeed()
    assert (0.0, 0, None) == (backoff.seconds_left, backoff.failures, backoff.last_error)
    backoff.fail("HTTP 500", 0.0)
    assert 1.0 == backoff.seconds_left
    assert 6 == backoff.retries


def test_wait_is_over_in_time() -> None:
    """What is left of a wait shrinks as time passes, to nothing and no further."""
    clock = Clock()
    backoff = Backoff(clock, no_jitter)
    backoff.fail("HTTP 429", 20.0)
    left = []
    for _ in range(3):
        clock.now += 15.0
        left.append(backoff.seconds_left)
    assert [5.0, 0.0, 0.0] == left


def test_refused_credentials() -> None:
    """Refused credentials have a wait of their own, which a new start ends, no flush."""
    backoff = Backoff(Clock(), no_jitter)
    backoff.fail("HTTP 401", 60.0, is_refused=True)
    backoff.hurry()
    assert 60.0 == backoff.seconds_left
    backoff.begin_again()
    assert (0.0, 1) == (backoff.seconds_left, backoff.failures)


def test_refused_credentials_beside_a_wait() -> None:
    """A wait that the destination asked for outlives one for refused credentials."""
    backoff = Backoff(Clock(), no_jitter)
    backoff.fail("HTTP 429", 20.0)
    backoff.fail("HTTP 401", 60.0, is_refused=True)
    backoff.begin_again()
    assert 20.0 == backoff.seconds_left
    backoff.succeed()
    assert 0.0 == backoff.seconds_left


def test_nobody_listens() -> None:
    """Where no connection was made the ceiling is five seconds: nobody is burdened."""
    backoff, ceilings = Backoff(Clock(), whole_jitter), list[float]()
    for _ in range(5):
        backoff.fail("no answer", 0.0, is_heard=False)
        ceilings.append(backoff.seconds_left)
    assert [1.0, 2.0, 4.0, 5.0, 5.0] == ceilings
