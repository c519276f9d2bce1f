"""Every test meets a package that has done nothing yet, outside any scope."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from trubrics_trace import configure, shutdown
from trubrics_trace._ledger import ledger
from trubrics_trace._notices import forget_said
from trubrics_trace.delivery._delivery import deliveries
from trubrics_trace.scope._current import begin_step, end_step

# No test asserts a time: the machine may be busy with others. The rest is as it was found,
# which where CI says so is "the same examples each time".
settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def fresh_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings but a spool of the test's own, nothing counted, nothing said."""
    for name in [name for name in os.environ if name.startswith("TRUBRICS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRUBRICS_TRACE_SPOOL_DIR", str(tmp_path / "spool"))
    configure()
    ledger.reset()
    forget_said()
    outside = begin_step(None, None)
    yield
    end_step(outside, None)
    structlog.reset_defaults()  # `capture_logs` leaves it configured
    shutdown(0)
    ledger.strict = False  # a module's fixture comes before the next of these
    deliveries._spools.clear()  # nothing of this test is counted again,
    deliveries._backoffs.clear()  # nor waited for
