"""Batches as full as the API allows, made of what was leased."""

from __future__ import annotations

from collections.abc import Iterable

from .._record import Record
from ._segment import Entry

Sent = tuple[Entry, Record]


def batches_of(sent: Iterable[Sent], count: int, max_bytes: int) -> list[list[Sent]]:
    """Return batches of so many records and bytes; one record may be larger.

    A last one that is not full waits for more, where there is a full one before it.
    """
    batches: list[list[Sent]] = [[]]
    size = 0
    for entry, record in sent:
        size += len(entry.line)
        if batches[-1] and (len(batches[-1]) == count or size > max_bytes):
            batches.append([])
            size = len(entry.line)
        batches[-1].append((entry, record))
    if len(batches) > 1 and len(batches[-1]) < count:
        batches.pop()
    return batches
