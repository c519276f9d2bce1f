"""When a destination may be asked again: never before it said.

It belongs to the destination, not to whoever asks: a sender that is closed and opened
again keeps waiting.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from .. import _clock

_MAX_SECONDS = 60.0  # as AWS's "full jitter" has a cap, and as people wait
# Where nobody listens nobody is burdened: a backlog is to leave soon after that ends.
_MAX_UNHEARD_SECONDS = 5.0
_FIRST_SECONDS = 0.5
_MOST_DOUBLINGS = 10


class Backoff:
    """The waits after failures: each up to twice as long, of which a part."""

    def __init__(
        self,
        clock: Callable[[], float] = _clock.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self.failures = 0  # since the last success
        self.retries = 0
        self.last_error: str | None = None
        self._until = 0.0  # our own part of the wait
        self._asked_until = 0.0  # what the destination asked for
        self._refused_until = 0.0  # what we give people to mend a key that it refuses

    @property
    def seconds_left(self) -> float:
        """How long to wait still."""
        until = max(self._until, self._asked_until, self._refused_until)
        return max(0.0, until - self._clock())

    def fail(
        self,
        why: str,
        asked_seconds: float,
        *,
        is_refused: bool = False,
        is_heard: bool = True,
    ) -> None:
        """Wait after a failure, at least as long as is asked.

        By the destination, or by the transport where our credentials are refused.
        """
        self.last_error = why
        self.retries += 1
        self.failures += 1
        doublings = min(self.failures, _MOST_DOUBLINGS)
        most = _MAX_SECONDS if is_heard else _MAX_UNHEARD_SECONDS
        ceiling = min(most, _FIRST_SECONDS * 2**doublings)
        now = self._clock()
        if is_refused:
            self._refused_until = now + asked_seconds
        else:  # a fault of our own while it is waited for takes nothing off what it asked
            self._asked_until = max(self._asked_until, now + asked_seconds)
        self._until = now + self._jitter(0.0, ceiling)

    def succeed(self) -> None:
        """Forget the failures: it answers."""
        self.failures = 0
        self.last_error = None
        self._until = self._asked_until = self._refused_until = 0.0

    def begin_again(self) -> None:
        """Wait only as the destination asked: somebody may have mended the rest."""
        self._until = self._refused_until = 0.0

    def hurry(self) -> None:
        """Wait no longer than was asked."""
        self._until = 0.0
