"""`assert_tracked`: exactly one record says this, or see what each says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from .._record import Record
from ._places import place_of_record

_Record = TypeVar("_Record", bound=Record)

_MISSING = object()


def assert_tracked(records: Iterable[_Record], **expected: object) -> _Record:
    """Return the one record whose fields have these values.

    Raises:
        AssertionError: None has them, or several do; with how each record differs, and
            of what was captured where it was asked.

    Example:
        >>> from trubrics_trace import PromptRecord
        >>> from trubrics_trace.testing import assert_tracked
        >>> records = [PromptRecord(record_id="1", user_id="bob", prompt="Hi")]
        >>> assert_tracked(records, user_id="alice")
        Traceback (most recent call last):
            ...
        AssertionError: none of 1 records has user_id='alice'
          record 1: user_id='bob'
    """
    known = list(records)
    found = [record for record in known if not _differences(record, expected)]
    if len(found) == 1:
        return found[0]
    wanted = ", ".join(f"{name}={value!r}" for name, value in expected.items())
    how_many = "none" if not found else str(len(found))
    lines = [f"{how_many} of {len(known)} records has {wanted}"]
    for number, record in enumerate(known, start=1):
        differences = _differences(record, expected)
        place = place_of_record(record.record_id)
        asked = "" if place is None else f" (asked at {place})"
        lines.append(f"  record {number}: {', '.join(differences) or 'has them'}{asked}")
    raise AssertionError("\n".join(lines))


def _differences(record: Record, expected: Mapping[str, object]) -> list[str]:
    return [
        f"{name}={'no such field' if actual is _MISSING else repr(actual)}"
        for name, value in expected.items()
        if (actual := getattr(record, name, _MISSING)) != value
    ]
