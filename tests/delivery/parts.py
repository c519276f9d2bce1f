"""What the tests of delivery share: records, a clock, a transport that does as told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from trubrics_trace import PromptRecord, Record
from trubrics_trace.delivery._limits import Limits
from trubrics_trace.delivery._spool import Spool
from trubrics_trace.delivery._transport import Delivered, Outcome
from trubrics_trace.pipeline._line import line_of

MIB = 1024 * 1024
DEADLINE_SECONDS = 10.0


def wait_until(fact: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> None:
    """Wait for a fact; fail where it has not come true in time."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "the fact has not come true in time"
        time.sleep(0.002)


def record(record_id: object, **fields: object) -> PromptRecord:
    """Return a record that a transport can tell."""
    said = {"user_id": "alice", "started_at": "2026-01-02T03:04:05+00:00", **fields}
    return PromptRecord(record_id=str(record_id), **said)  # type: ignore[arg-type]


def line(record_id: object, **fields: object) -> bytes:
    """Return a record as its line in the spool."""
    return line_of(record(record_id, **fields))


def spool_in(directory: Path | None, max_bytes: int = 64 * MIB) -> Spool:
    """Return a spool that keeps nothing it has delivered."""
    return Spool(directory, Limits(max_bytes))


def die(spool: Spool) -> None:
    """Let go of a spool's files as the end of its process does: nothing else is done."""
    for owned in spool.shares.all():
        owned.close()


class Clock:
    """Seconds that pass when the test says so; counts how often it was asked."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked = 0

    def __call__(self) -> float:
        """Return the time."""
        self.asked += 1
        return self.now


class Transport:
    """Answers as it was told, then delivers; remembers what it was given, and when."""

    max_batch = 100

    def __init__(
        self,
        answers: Iterable[Outcome | BaseException] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        verdict: Callable[[Sequence[Record]], Outcome] | None = None,
    ) -> None:
        self.batches: list[list[str]] = []
        self.routes: list[str] = []
        self.times: list[float] = []
        self.is_open = True
        self.gate = threading.Event()  # while it is not set, no answer comes
        self.gate.set()
        self._answers = list(answers)
        self._clock = clock
        self._verdict = verdict

    @property
    def sent(self) -> list[str]:
        """Each record's id, as often as it was sent."""
        return [record_id for batch in self.batches for record_id in batch]

    def route_of(self, record: Record) -> str:
        """Return the kind: each has its own batch."""
        return record.kind

    def send(self, route: str, records: Sequence[Record]) -> Outcome:
        """Note the batch, wait for the gate, and answer as told."""
        self.times.append(self._clock())
        self.routes.append(route)
        self.batches.append([record.record_id for record in records])
        assert self.gate.wait(DEADLINE_SECONDS), "the test never opened the gate"
        if self._answers:
            answer = self._answers.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return answer
        return self._verdict(records) if self._verdict else Delivered()

    def close(self) -> None:
        """Note that nobody sends any more."""
        self.is_open = False
