"""The gate before CI: what a recorded call executes is counted, and held to a ceiling."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from benchmarks.gate import (
    KINDS,
    TABLE,
    count,
    excesses,
    has_room,
    most_expensive,
    totals,
)

FOUND = {
    "trubrics_trace": {
        "instructions": {"tell (langchain/_telling.py:1)": 700, "put (_spool.py:2)": 400},
        "calls": {"tell (langchain/_telling.py:1)": 50},
    }
}


def ceilings(instructions: int) -> dict[str, dict[str, int]]:
    """Return what a table of ceilings says of one call."""
    return {"trubrics_trace": {"instructions": instructions, "calls": 50}}


def test_an_excess_is_told_with_its_size() -> None:
    """What is executed beyond a ceiling is told by owner, number and share."""
    assert [
        "trubrics_trace executes 1,100 instructions, 100 (10 %) more than 1,000"
    ] == list(excesses(ceilings(1000), FOUND))


def test_what_executed_nothing() -> None:
    """Where there was nothing at all anything is an excess."""
    assert ["trubrics_trace executes 1,100 instructions, 1,100 more than 0"] == list(
        excesses(ceilings(0), FOUND)
    )[:1]


@pytest.mark.parametrize("ceiling", [1048, 1100, 5000])
def test_a_twentieth_is_no_excess(ceiling: int) -> None:
    """A count is within its ceiling up to a twentieth beyond it."""
    assert [] == list(excesses(ceilings(ceiling), FOUND))


@pytest.mark.parametrize(
    ("ceiling", "expected"), [(1100, False), (1150, False), (1200, True)]
)
def test_what_has_become_cheaper_is_seen(ceiling: int, expected: bool) -> None:
    """A count that has fallen by more than a twentieth has room for a new ceiling."""
    assert expected == has_room(ceilings(ceiling), FOUND)


def test_the_most_expensive_are_told_first() -> None:
    """Who looks for the cause is shown the functions that execute most, in order."""
    assert [
        "     700  trubrics_trace: tell (langchain/_telling.py:1)",
        "     400  trubrics_trace: put (_spool.py:2)",
    ] == list(most_expensive(FOUND))


def test_a_call_counts_the_same_each_time() -> None:
    """Two processes count the same, function by function, however busy the machine is."""
    first, second = count("sync"), count("sync")

    assert first == second
    assert Counter(totals(first)["trubrics_trace"]) > Counter(instructions=1000, calls=100)


def test_the_table_has_every_count() -> None:
    """Each row has a ceiling for each of what is counted."""
    for row in json.loads(TABLE.read_text()).values():
        for kind in KINDS:
            assert {"trubrics_trace", "structlog", "json"} == set(row[kind])
