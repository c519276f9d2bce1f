"""Who is guilty in a batch that was refused, found with few questions.

A batch is refused for the sake of one record, as a rule. Where the destination names it,
the others go at once. Where it does not, halves are tried: a half that is accepted leaves
the other one under suspicion, so one record of a hundred is found with at most seven
requests, and an eighth carries all that were not asked about. Where there is another, it
is found by plain halves: of many guilty ones each would take a search of its own.

A refusal for size says nothing of any record but that they are too many: both halves are
tried, and only a record that is refused by itself is guilty. A refusal that may be meant
for the sender itself (400) convicts nobody until the same destination accepts another, and
refuses the suspect once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ._transport import Delivered, Outcome, Rejected

_T = TypeVar("_T")

_MOST_SUSPECTS = 2  # found without anybody accepted: then it is not about records


class Trial(Generic[_T]):
    """One refused batch, judged: `ask` sends a part, `condemn` is told whom."""

    def __init__(
        self,
        ask: Callable[[Sequence[_T]], Outcome],
        condemn: Callable[[_T, str], None],
    ) -> None:
        self._ask = ask
        self._condemn = condemn
        self._is_anybody_accepted = False
        self._has_searched = False
        self._suspects: list[tuple[_T, Rejected]] = []

    @property
    def is_undecided(self) -> bool:
        """Whether somebody is suspected whom nothing convicts."""
        return bool(self._suspects)

    def judge(self, batch: Sequence[_T], refusal: Rejected) -> bool:
        """Settle the batch as far as can be; whether all of it is settled."""
        innocent = [one for at, one in enumerate(batch) if at not in refusal.guilty]
        if 0 < len(innocent) < len(batch):
            for at in sorted(refusal.guilty.intersection(range(len(batch)))):
                self._condemn(batch[at], refusal.why)
            return self._try(innocent)
        is_plain = refusal.is_certain or self._is_anybody_accepted
        if refusal.is_size or (self._has_searched and is_plain):
            return self._halve(batch, refusal)
        self._has_searched = True
        return self._search(batch, refusal)

    def _try(self, batch: Sequence[_T]) -> bool:
        """Send a part, and judge it if it is refused."""
        outcome = self._ask_for(batch)
        if isinstance(outcome, Rejected):
            return self.judge(batch, outcome)
        return isinstance(outcome, Delivered)

    def _halve(self, batch: Sequence[_T], refusal: Rejected) -> bool:
        if len(batch) == 1:
            self._condemn(batch[0], refusal.why)
            return True
        half = len(batch) // 2
        is_settled = self._try(batch[:half])
        if not is_settled and len(self._suspects) != 1:  # another time, or in vain
            return False
        return self._try(batch[half:]) and not self._suspects

    def _search(self, batch: Sequence[_T], refusal: Rejected) -> bool:
        """Find one guilty record by elimination, then try the rest."""
        suspects, untried = list(batch), list[_T]()
        while len(suspects) > 1:
            half = len(suspects) // 2
            outcome = self._ask_for(suspects[:half])
            if isinstance(outcome, Delivered):
                suspects = suspects[half:]
            elif isinstance(outcome, Rejected):
                untried = suspects[half:] + untried
                suspects, refusal = suspects[:half], outcome
            else:
                return False
        self._suspects.append((suspects[0], refusal))
        if refusal.is_certain or self._is_anybody_accepted:
            if self._convict() is not None:
                return False
        elif len(self._suspects) == _MOST_SUSPECTS:
            # Two that stand first must not be in the way of all: one more is asked about.
            last, untried = untried[-1:], untried[:-1]
            if not (last and isinstance(self._ask_for(last), Delivered)):
                return False
        return self._try(untried) if untried else not self._suspects

    def _ask_for(self, batch: Sequence[_T]) -> Outcome:
        outcome = self._ask(batch)
        if isinstance(outcome, Delivered):
            self._is_anybody_accepted = True
            return self._convict() or outcome
        if not isinstance(outcome, Rejected):
            self._suspects.clear()  # another time
        return outcome

    def _convict(self) -> Outcome | None:
        """Condemn the suspects, asked once more where the server may have changed."""
        while self._suspects:
            suspect, refusal = self._suspects.pop(0)
            outcome = refusal if refusal.is_certain else self._ask([suspect])
            if isinstance(outcome, Rejected):
                self._condemn(suspect, refusal.why)
            elif not isinstance(outcome, Delivered):
                self._suspects.clear()  # another time
                return outcome
        return None
