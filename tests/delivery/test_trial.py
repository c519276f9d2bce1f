"""Who is guilty in a refused batch: found with few questions, and nobody else condemned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trubrics_trace.delivery._transport import Delivered, Outcome, Rejected, Retry
from trubrics_trace.delivery._trial import Trial

UNNAMED = Rejected("HTTP 422")
UNCERTAIN = Rejected("HTTP 400", is_certain=False)
TOO_LARGE = Rejected("HTTP 413", is_size=True)
NOT_NOW = Retry("HTTP 503")

Verdict = Callable[[Sequence[int]], Outcome]


class Court:
    """A destination that answers by a verdict, and what came of a batch there.

    Attributes:
        asked: Each part that was sent, after the whole batch.
        accepted: What was delivered, as often as it was.
        condemned: Who was told guilty, as often as that was told.
        is_settled: What the trial answered.
        is_undecided: Whether somebody is suspected still.
    """

    def __init__(
        self, batch: Sequence[int], verdict: Verdict, *, interrupted_at: int = -1
    ) -> None:
        self.asked: list[list[int]] = []
        self.accepted: list[int] = []
        self.condemned: list[int] = []
        self._verdict = verdict
        self._interrupted_at = interrupted_at
        trial = Trial[int](self._ask, lambda one, _: self.condemned.append(one))
        refusal = verdict(batch)
        assert isinstance(refusal, Rejected)
        self.is_settled = trial.judge(batch, refusal)
        self.is_undecided = trial.is_undecided

    def _ask(self, part: Sequence[int]) -> Outcome:
        assert part, "an empty part was sent"
        self.asked.append(list(part))
        if len(self.asked) == self._interrupted_at:
            return NOT_NOW
        outcome = self._verdict(part)
        if isinstance(outcome, Delivered):
            self.accepted.extend(part)
        return outcome


def refusing(guilty: set[int], refusal: Rejected = UNNAMED) -> Verdict:
    """Return the verdict of who refuses these, and does not say which."""
    return lambda part: refusal if guilty.intersection(part) else Delivered()


def limited(most: int, verdict: Verdict) -> Verdict:
    """Return the verdict of who stands behind a limit of so many."""
    return lambda part: TOO_LARGE if len(part) > most else verdict(part)


def naming(guilty: set[int], *, all_of_them: bool = True) -> Verdict:
    """Return the verdict of who refuses these, and names them, or the first of them."""

    def verdict(part: Sequence[int]) -> Outcome:
        found = [at for at, one in enumerate(part) if one in guilty]
        named = found if all_of_them else found[:1]
        return Rejected("HTTP 422", frozenset(named)) if found else Delivered()

    return verdict


@st.composite
def refused(draw: st.DrawFn) -> tuple[range, set[int]]:
    """Draw a batch of 1 to 100, and at least one of it that is guilty."""
    batch = range(draw(st.integers(1, 100)))
    guilty = draw(st.sets(st.sampled_from(batch), min_size=1))
    return batch, guilty


def innocent_of(batch: Sequence[int], guilty: set[int]) -> list[int]:
    """Return who is not guilty, in order."""
    return [one for one in batch if one not in guilty]


@given(refused(), st.sampled_from(["unnamed", "named", "first named"]))
def test_exactly_the_guilty(case: tuple[range, set[int]], how: str) -> None:
    """Exactly the guilty are condemned, and all others accepted, each of them once."""
    batch, guilty = case
    verdict = {
        "unnamed": refusing(guilty),
        "named": naming(guilty),
        "first named": naming(guilty, all_of_them=False),
    }[how]
    court = Court(batch, verdict)
    assert sorted(guilty) == sorted(court.condemned)
    assert innocent_of(batch, guilty) == sorted(court.accepted)
    assert (True, False) == (court.is_settled, court.is_undecided)


@pytest.mark.parametrize("guilty", range(100))
def test_one_of_a_hundred(guilty: int) -> None:
    """One guilty record of a hundred, unnamed, costs at most eight more requests."""
    court = Court(range(100), refusing({guilty}))
    assert [guilty] == court.condemned
    assert len(court.asked) <= 8


@given(refused())
def test_named_at_once(case: tuple[range, set[int]]) -> None:
    """Where the guilty are named, and others are there, one more request carries those."""
    batch, guilty = case
    innocent = innocent_of(batch, guilty)
    court = Court(batch, naming(guilty))
    if innocent:
        assert [innocent] == court.asked


@given(refused())
def test_many_guilty_cost_no_search_each(case: tuple[range, set[int]]) -> None:
    """Of many guilty ones, unnamed, each costs at most its way down by halves."""
    batch, guilty = case
    court = Court(batch, refusing(guilty))
    assert len(court.asked) <= 8 + 2 * 7 * (len(guilty) - 1)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=100), st.integers(1, 400))
def test_size(sizes: list[int], limit: int) -> None:
    """A limit of size condemns what is too large by itself, and nothing else."""
    batch = range(len(sizes))

    def verdict(part: Sequence[int]) -> Outcome:
        return TOO_LARGE if sum(sizes[one] for one in part) > limit else Delivered()

    if isinstance(verdict(batch), Delivered):
        return
    court = Court(batch, verdict)
    assert [one for one in batch if sizes[one] > limit] == court.condemned
    assert [one for one in batch if sizes[one] <= limit] == court.accepted
    assert court.is_settled


@given(refused(), st.integers(1, 100))
def test_size_and_guilt(case: tuple[range, set[int]], most: int) -> None:
    """Where a limit of size stands before the one who judges, each finds its own."""
    batch, guilty = case
    court = Court(batch, limited(most, refusing(guilty)))
    assert sorted(guilty) == sorted(court.condemned)
    assert innocent_of(batch, guilty) == sorted(court.accepted)


@given(st.integers(1, 100), st.integers(1, 100))
def test_everybody_is_refused(size: int, most: int) -> None:
    """A refusal that may be meant for who sends condemns nobody while nobody passes."""
    court = Court(range(size), limited(most, lambda _: UNCERTAIN))
    assert ([], [], False, True) == (
        court.condemned,
        court.accepted,
        court.is_settled,
        court.is_undecided,
    )
    assert len(court.asked) <= 24  # it is asked again and again: each time it must end


@given(refused(), st.integers(1, 100))
def test_uncertain_refusal(case: tuple[range, set[int]], most: int) -> None:
    """Once anybody passes, a refusal that was uncertain condemns exactly the guilty."""
    batch, guilty = case
    court = Court(batch, limited(most, refusing(guilty, UNCERTAIN)))
    if court.accepted:
        assert sorted(guilty) == sorted(court.condemned)
        assert innocent_of(batch, guilty) == sorted(court.accepted)
        assert (True, False) == (court.is_settled, court.is_undecided)
    else:
        assert ([], False, True) == (
            court.condemned,
            court.is_settled,
            court.is_undecided,
        )


@pytest.mark.parametrize(
    ("size", "guilty", "most"),
    [
        (100, {0}, 100),
        (100, {0, 1}, 100),
        (100, {7, 8}, 100),
        (3, {0, 1}, 100),
        (100, {0, 1}, 50),
        (100, {0}, 1),
        (2, {0}, 1),
    ],
)
def test_few_stand_in_nobodys_way(size: int, guilty: set[int], most: int) -> None:
    """One or two that are refused, even the first of all, do not stop those behind them."""
    court = Court(range(size), limited(most, refusing(guilty, UNCERTAIN)))
    assert (sorted(guilty), True) == (sorted(court.condemned), court.is_settled)


def test_alone() -> None:
    """One alone that is refused, uncertainly, waits for another to be accepted."""
    court = Court([1], refusing({1}, UNCERTAIN))
    assert ([], [], False, True) == (
        court.asked,
        court.condemned,
        court.is_settled,
        court.is_undecided,
    )


@given(
    refused(),
    st.sampled_from([UNNAMED, UNCERTAIN, TOO_LARGE]),
    st.integers(1, 100),
    st.integers(1, 60),
)
@example((range(4), {0}), UNCERTAIN, 100, 3)  # with a suspect
def test_interrupted(
    case: tuple[range, set[int]], refusal: Rejected, most: int, interrupted_at: int
) -> None:
    """Interrupted anywhere, a trial has condemned no innocent, and is another time's."""
    batch, guilty = case
    verdict = limited(most, refusing(guilty, refusal))
    court = Court(batch, verdict, interrupted_at=interrupted_at)
    assert guilty.issuperset(court.condemned)
    assert len(court.condemned) == len(set(court.condemned))
    assert len(court.accepted) == len(set(court.accepted))
    assert not guilty.intersection(court.accepted)
    if len(court.asked) >= interrupted_at:
        assert interrupted_at == len(court.asked), "it went on"
        assert (False, False) == (court.is_settled, court.is_undecided)


@pytest.mark.parametrize("positions", [{-1}, {5}, {-1, 99}])
def test_position_of_nobody(positions: set[int]) -> None:
    """A position that the batch does not have makes nobody guilty."""
    court = Court(
        range(4),
        lambda part: (
            Rejected("HTTP 422", frozenset(positions)) if 2 in part else Delivered()
        ),
    )
    assert ([2], [0, 1, 3]) == (court.condemned, sorted(court.accepted))


def test_suspect_before_one_that_is_too_large() -> None:
    """A suspect stays one where what comes after it is too large, and not accepted."""
    court = Court(range(2), lambda part: UNCERTAIN if list(part) == [0] else TOO_LARGE)
    assert ([1], False, True) == (court.condemned, court.is_settled, court.is_undecided)
