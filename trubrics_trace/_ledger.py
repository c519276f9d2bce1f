"""What is counted, by group and reason, and said once where it is a fault.

Counting is an append to a deque, which needs no lock: it may happen inside a garbage
collection, or in a signal handler that interrupted another count. The sums are made when
somebody asks.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from . import _notices
from .errors import PASSING, TelemetryError

GUARD_SECONDS = 60.0  # how seldom a guard says again what goes on going wrong

_FOLD_AT = 4096  # marks waiting to be summed; bounds the memory of who never asks


class Ledger:
    """Counts by group and reason, made without a lock.

    Attributes:
        strict: Whether faults are raised.
        listeners: Who hears each fault's reason and message, however often it was said.
    """

    def __init__(self) -> None:
        self.strict = False
        self.listeners: list[Callable[[str, str], object]] = []
        self._marks: deque[tuple[str, str]] = deque()
        self._sums: dict[str, Counter[str]] = {}
        self._folding = threading.RLock()  # a signal handler may come between, and ask

    def skip(self, reason: str) -> None:
        """Count a record that was never accepted; not a fault, so never raised."""
        self._mark("skipped", reason)

    def note(self, reason: str) -> None:
        """Count something worth knowing that is nobody's fault."""
        self._mark("noticed", reason)

    def fault(
        self,
        reason: str,
        message: str | Callable[[], str],
        *,
        group: str = "noticed",
        again_after: float = math.inf,
    ) -> None:
        """Count what should not have happened, and say it once.

        Args:
            message: With the value, the place and the remedy; a callable is asked only
                when the message is needed, as finding the place takes time.
            again_after: Seconds until it is said again: a guard says it each minute.

        Raises:
            TelemetryError: strict mode is on.
        """
        self._mark(group, reason)
        if not (self.strict or self.listeners) and _notices.was_said(reason):
            return
        said = message if isinstance(message, str) else message()
        for hear in self.listeners:
            hear(reason, said)
        if self.strict:
            raise TelemetryError(reason, said)
        said = f"your code is running fine, with less telemetry: {said}"
        self.say(reason, said, again_after=again_after)

    def say(self, key: str, message: str, *, again_after: float = math.inf) -> None:
        """Say the message once; if the app's own logging raises, count that.

        Raises:
            TelemetryError: It raised, and strict mode is on.
        """
        self._guarded(_notices.say_once, key, message, again_after)

    def tell(self, message: str) -> None:
        """Say what went well, each time; if the logging raises, count that.

        Raises:
            TelemetryError: It raised, and strict mode is on.
        """
        self._guarded(_notices.tell, message)

    def _guarded(self, say: Callable[..., None], *what: Any) -> None:
        try:
            say(*what)
        except PASSING:
            raise
        except BaseException as error:
            self._mark("noticed", "notice_failed")
            if self.strict:
                said = f"the app's logging raised {type(error).__name__}; mend its filters"
                raise TelemetryError("notice_failed", said) from error  # noqa: EM101

    def counts(self, group: str) -> dict[str, int]:
        """Return the sums of one group, by reason."""
        with self._folding:
            self._fold()
            return dict(self._sums.get(group, ()))

    def reset(self) -> None:
        """Start from zero with a new lock: a forked child has done nothing yet."""
        self._marks = deque()
        self._sums = {}
        self._folding = threading.RLock()

    def _mark(self, group: str, reason: str) -> None:
        self._marks.append((group, reason))
        if len(self._marks) > _FOLD_AT and self._folding.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._folding.release()

    def _fold(self) -> None:
        with contextlib.suppress(IndexError):  # a signal handler has summed in between
            for _ in range(len(self._marks)):
                group, reason = self._marks.popleft()
                self._sums.setdefault(group, Counter())[reason] += 1


ledger = Ledger()
