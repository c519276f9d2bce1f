"""What a close left on disk, counted as pending until it is found again."""

from __future__ import annotations

from collections.abc import Iterable

from ._owner import Owned


class Heritage:
    """How much waited in each share when it was let go of."""

    def __init__(self) -> None:
        self._left: dict[str, int] = {}
        self._is_more_there = False

    def leave(self, shares: Iterable[Owned]) -> None:
        """Remember what waits in shares that are about to be let go of."""
        self._left |= {owned.name: owned.waiting for owned in shares if owned.waiting}

    def find(self, found: list[tuple[Owned, int]], *, is_all: bool) -> int:
        """Return how many records of what was found are news; `is_all` there is.

        What was left here is counted already: found again, it is no news; not found, it
        was taken over from us, and is counted there.
        """
        self._is_more_there = not is_all
        news = sum(waiting - self._left.pop(owned.name, 0) for owned, waiting in found)
        if not self._is_more_there:
            news -= self.waiting
            self._left.clear()
        return news

    @property
    def waiting(self) -> int:
        """How many records were left."""
        return sum(self._left.values())

    def __bool__(self) -> bool:
        """Whether there may be something to find."""
        return self._is_more_there or bool(self._left)
