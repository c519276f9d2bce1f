"""What became of every record, counted by reason, without a lock."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trubrics_trace import Stats, errors
from trubrics_trace._ledger import Ledger
from trubrics_trace._stats import FlushReport, sum_of

COUNT = st.integers(0, 1000)
REASONS = st.dictionaries(st.sampled_from(["one", "two"]), COUNT)


@given(delivered=COUNT, pending=COUNT, rejected=REASONS, dropped=REASONS, adopted=COUNT)
def test_balance(
    delivered: int,
    pending: int,
    rejected: dict[str, int],
    dropped: dict[str, int],
    adopted: int,
) -> None:
    """What was taken is delivered, pending, rejected or dropped; one missing shows."""
    taken = delivered + pending + sum(rejected.values()) + sum(dropped.values())
    for missing in (0, 1):
        stats = Stats(
            accepted=taken - adopted + missing,
            adopted=adopted,
            delivered=delivered,
            pending=pending,
            rejected=rejected,
            dropped=dropped,
            skipped={"sampled_out": 5},
        )
        assert stats.is_balanced is (missing == 0)


@given(
    st.lists(
        st.builds(
            Stats,
            accepted=COUNT,
            adopted=COUNT,
            delivered=COUNT,
            pending=COUNT,
            rejected=REASONS,
            dropped=REASONS,
            oldest_pending_seconds=st.none() | st.floats(0, 1000),
            bytes_on_disk=COUNT,
        )
    )
)
def test_sum(each: list[Stats]) -> None:
    """Several spools' moments are one: added up, by reason, and the longest wait of all."""
    total = sum_of(each)
    for name in ("accepted", "adopted", "delivered", "pending", "bytes_on_disk"):
        assert sum(getattr(one, name) for one in each) == getattr(total, name)
    for name in ("rejected", "dropped"):
        for reason in ("one", "two"):
            said = [getattr(one, name).get(reason, 0) for one in each]
            assert sum(said) == getattr(total, name).get(reason, 0)
    waits = [one.oldest_pending_seconds for one in each]
    known = [wait for wait in waits if wait is not None]
    assert (max(known) if known else None) == total.oldest_pending_seconds


def test_sum_of_balances() -> None:
    """What is in balance by itself is so in sum; what has vanished from one still shows."""
    whole, torn = Stats(accepted=3, pending=2, dropped={"one": 1}), Stats(accepted=1)
    assert (True, False) == (
        sum_of([whole, whole]).is_balanced,
        sum_of([whole, torn]).is_balanced,
    )


def test_report_is_its_completeness() -> None:
    """A flush report is true when everything before the flush is acknowledged."""
    done, not_done = (
        FlushReport(complete=complete, delivered=1, pending=0) for complete in (True, False)
    )
    assert (True, False) == (bool(done), bool(not_done))


def test_groups() -> None:
    """Each group has its reasons, and none has another's."""
    ledger = Ledger()
    ledger.skip("sampled_out")
    ledger.skip("sampled_out")
    ledger.note("late")
    assert {"sampled_out": 2} == ledger.counts("skipped")
    assert {"late": 1} == ledger.counts("noticed")
    assert {} == ledger.counts("nothing")


def test_fault_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A fault is counted each time, and said once with its message."""
    ledger = Ledger()
    for number in range(3):
        ledger.fault("test_fault", f"message {number}")
    assert {"test_fault": 3} == ledger.counts("noticed")
    [said] = caplog.messages
    assert said.endswith("with less telemetry: message 0")


def test_message_is_made_when_needed() -> None:
    """A message that takes time is made only where it is said."""
    ledger = Ledger()
    made: list[int] = []

    def message() -> str:
        made.append(1)
        return "message"

    for _ in range(3):
        ledger.fault("test_message", message)
    assert [1] == made


def test_strict() -> None:
    """In strict mode a fault is counted and raised, with its reason."""
    ledger = Ledger()
    ledger.strict = True
    with pytest.raises(errors.TelemetryError, match="test_fault: message") as caught:
        ledger.fault("test_fault", "message")
    assert "test_fault" == caught.value.reason
    assert {"test_fault": 1} == ledger.counts("noticed")


def test_skipping_is_no_fault() -> None:
    """What was meant to be skipped is not raised, also in strict mode."""
    ledger = Ledger()
    ledger.strict = True
    ledger.skip("disabled")
    assert {"disabled": 1} == ledger.counts("skipped")


def test_threads() -> None:
    """Marks of many threads are all counted, however many wait to be summed."""
    ledger = Ledger()

    def mark() -> None:
        for _ in range(5_000):
            ledger.note("marked")

    threads = [threading.Thread(target=mark) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {"marked": 40_000} == ledger.counts("noticed")


def test_reset() -> None:
    """After a reset nothing has happened yet."""
    ledger = Ledger()
    ledger.note("late")
    ledger.counts("noticed")
    ledger.note("late")
    ledger.reset()
    assert {} == ledger.counts("noticed")


def test_notice_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A notice is said once, or again after so many seconds."""
    ledger = Ledger()
    for _ in range(3):
        ledger.say("once", "said once")
        ledger.say("again", "said again", again_after=0.0)
    assert 1 == caplog.messages.count("said once")
    assert 3 == caplog.messages.count("said again")


class Raising(logging.Filter):
    """A filter of the app's that raises."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def filter(self, record: logging.LogRecord) -> bool:
        """Raise."""
        raise self._error


@pytest.fixture
def filtered() -> Iterator[Callable[[BaseException], None]]:
    """Let the app's own logging raise, until the test is over."""
    logger = logging.getLogger("trubrics_trace")
    filters = list(logger.filters)
    yield lambda error: logger.addFilter(Raising(error))
    logger.filters[:] = filters


def test_logging_that_raises(filtered: Callable[[BaseException], None]) -> None:
    """What the app's logging raises is counted, and in strict mode raised as ours."""
    ledger = Ledger()
    filtered(LookupError())
    ledger.say("first", "a notice")
    assert {"notice_failed": 1} == ledger.counts("noticed")
    ledger.strict = True
    with pytest.raises(errors.TelemetryError, match="LookupError; mend its filters"):
        ledger.say("second", "a notice")


def test_logging_that_is_interrupted(filtered: Callable[[BaseException], None]) -> None:
    """The user's own wish to stop passes, wherever it comes."""
    ledger = Ledger()
    filtered(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        ledger.say("interrupted", "a notice")
    assert {} == ledger.counts("noticed")
