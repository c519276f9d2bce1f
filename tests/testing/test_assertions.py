"""`assert_tracked` finds the one record, or says how each differs."""

from __future__ import annotations

import pytest

from trubrics_trace import EventRecord, PromptRecord
from trubrics_trace.testing import assert_tracked

ALICE = PromptRecord(record_id="1", user_id="alice", prompt="Hi", tags=("langchain", "web"))
BOB = PromptRecord(record_id="2", user_id="bob", prompt="Hi")
BOUGHT = EventRecord(record_id="3", user_id="bob", event_name="bought")


def test_the_one_record() -> None:
    """The one record that has all of the values is returned, from any iterable."""
    records = iter([ALICE, BOB, BOUGHT])

    assert BOB is assert_tracked(records, user_id="bob", prompt="Hi")
    assert ALICE is assert_tracked([ALICE])


def test_none() -> None:
    """Where none has them, it says of each record only what differs."""
    with pytest.raises(AssertionError) as raised:
        assert_tracked(iter([ALICE, BOB, BOUGHT]), user_id="alice", prompt="Bye")

    assert [
        "none of 3 records has user_id='alice', prompt='Bye'",
        "  record 1: prompt='Hi'",
        "  record 2: user_id='bob', prompt='Hi'",
        "  record 3: user_id='bob', prompt=no such field",
    ] == str(raised.value).splitlines()


def test_several() -> None:
    """Where several have them, it says which."""
    with pytest.raises(AssertionError) as raised:
        assert_tracked([ALICE, BOB, BOUGHT], user_id="bob")

    assert [
        "2 of 3 records has user_id='bob'",
        "  record 1: user_id='alice'",
        "  record 2: has them",
        "  record 3: has them",
    ] == str(raised.value).splitlines()


def test_no_records() -> None:
    """Where there are no records at all, it says so."""
    with pytest.raises(AssertionError, match="none of 0 records has user_id='alice'"):
        assert_tracked([], user_id="alice")


def test_no_such_field() -> None:
    """A field that no record has is never what was expected, not even None."""
    with pytest.raises(AssertionError, match="usr_id=no such field"):
        assert_tracked([ALICE], usr_id=None)
