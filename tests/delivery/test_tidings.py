"""What a spool has to tell is told once nobody waits for its lock."""

from __future__ import annotations

import pytest

from trubrics_trace import configure, stats
from trubrics_trace.delivery._tidings import Tidings
from trubrics_trace.errors import TelemetryError


def test_said_when_asked(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said at once; then all of it, in order, with the place."""
    tidings = Tidings("/a/place")
    tidings.refused(OSError(28, "No space left on device"))
    tidings.slow(0.25)
    tidings.dropped("spool_full", 1234)
    assert ([], True) == (caplog.messages, bool(tidings.waiting))
    tidings.say()
    full, slow, dropped = caplog.messages
    assert "refused /a/place (No space left on device)" in full
    assert "/a/place took 0.25 s" in slow
    assert dropped.startswith("1,234 of the oldest records were dropped (spool_full)")
    assert {"spool_refused": 1, "spool_slow": 1} == stats().noticed
    assert not tidings.waiting


def test_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """What is told again is counted, and not said again; another reason is."""
    tidings = Tidings("/a/place")
    for _ in range(2):
        tidings.refused(OSError("no disk"))
        tidings.dropped("spool_full", 1)
    tidings.dropped("expired", 1)
    tidings.say()
    assert (3, {"spool_refused": 2}) == (len(caplog.messages), stats().noticed)
    assert "(no disk)" in caplog.messages[0]


def test_memory_that_was_meant() -> None:
    """Where no disk was to take records, that none does is nothing to tell."""
    tidings = Tidings(":memory:")
    tidings.refused(OSError("no disk"))
    assert not tidings.waiting


def test_strict_mode() -> None:
    """Strict mode raises what is told, and what is left is told the next time."""
    configure(strict=True)
    tidings = Tidings("/a/place")
    tidings.refused(OSError("no disk"))
    tidings.slow(1.0)
    for reason in ("spool_refused", "spool_slow"):
        with pytest.raises(TelemetryError, match=reason):
            tidings.say()
    assert not tidings.waiting
