"""What raises around a call is counted and said once; the call is what it was."""

from __future__ import annotations

import pytest

from tests.harmless.parts import (
    ANSWER,
    FAULTS,
    WAYS,
    WISHES,
    WORDS,
    Fault,
    Way,
    invoke,
    notices,
)
from trubrics_trace import PromptRecord, current_scope, stats
from trubrics_trace.errors import TelemetryError

each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
each_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


@each_way
@each_fault
def test_call_is_what_it_was(
    way: Way,
    fault: Fault,
    error: BaseException,
    captured_prompts: list[PromptRecord],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever raises, the call answers as ever, and the fault is counted and said once."""
    with fault.planted(error) as said:
        assert [ANSWER, ANSWER] == [way(**said), way(**said)]
    now = stats()
    assert {fault.reason, *fault.also} == set(now.noticed)
    assert dict.fromkeys(fault.skipped, 2) == now.skipped
    assert now.noticed[fault.reason] >= 2
    assert 1 == len(notices(caplog.messages))
    assert (0 if fault.skipped else 2) == len(captured_prompts)


@each_fault
def test_notice_helps(
    fault: Fault, captured_prompts: list[PromptRecord], caplog: pytest.LogCaptureFixture
) -> None:
    """What is said names the value, the place and the remedy, and not the error's words."""
    with fault.planted(LookupError(WORDS)) as said:
        invoke(**said)
    [notice] = notices(caplog.messages)
    assert [] == [named for named in fault.says if named not in notice]
    assert WORDS not in notice


@each_way
@each_fault
def test_when_strict(way: Way, fault: Fault, captured_prompts: list[PromptRecord]) -> None:
    """In strict mode the same is raised to the caller, with its reason."""
    with (
        fault.planted(LookupError(WORDS), strict=True) as said,
        pytest.raises(TelemetryError) as raised,
    ):
        way(**said)
    assert (fault.reason, None) == (raised.value.reason, current_scope())


@each_way
@each_fault
@pytest.mark.parametrize("wish", WISHES)
def test_wish_to_stop_passes(
    way: Way,
    fault: Fault,
    wish: type[BaseException],
    captured_prompts: list[PromptRecord],
) -> None:
    """What ends a program or a task reaches the caller, from whatever of the app's."""
    with fault.planted(wish()) as said, pytest.raises(wish):
        way(**said)
    assert ({}, None) == (stats().noticed, current_scope())
