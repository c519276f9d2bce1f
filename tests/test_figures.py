"""The figures that pages quote are those that were measured, and nobody types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.page import PAGES, filled, shown
from benchmarks.results import kept

ASKING = "before\n<!-- figures: overhead -->\nstale\n<!-- end -->\nafter\n"
MEASURED = {
    "overhead": {
        "date": "2026-11-29",
        "machine": "2 cores",
        "python": "3.11.7",
        "versions": {"structlog": "26.1.0"},
        "unit": "microseconds",
        "columns": ["sync", "async"],
        "drawing": "overhead.svg",
        "a no-op": [7.5, 1234.5],
        "tags": {"1": 40.0, "10000": 41.5},
    }
}
FILLED = """before
<!-- figures: overhead -->

![Microseconds](docs/overhead.svg)

| microseconds | sync | async |
|---|---:|---:|
| a no-op | 7.5 | 1,234 |
| tags | 1: 40 · 10,000: 41.5 |

2026-11-29, 2 cores, Python 3.11.7, structlog 26.1.0.

<!-- end -->
after
"""


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.name))
def test_pages_quote_what_was_measured(path: Path) -> None:
    """What a page shows is what is kept: `python -m benchmarks.page` writes it."""
    assert shown(path) == path.read_text()


def test_figures_are_written_where_they_are_asked_for() -> None:
    """A block becomes a drawing, a table, and what it was measured with."""
    assert FILLED == filled(ASKING, MEASURED, "docs")


def test_a_drawing_has_its_date() -> None:
    """What stands alone says when it was measured, also after the next time."""
    page = "[![What it adds, 2020-01-02](docs/overhead.svg)](docs/benchmarks.md)\n"
    assert page.replace("2020-01-02", "2026-11-29") == filled(page, MEASURED)


def test_what_was_not_measured_is_said() -> None:
    """Without figures a page says how to have them."""
    assert "\nNot measured yet: `make bench`.\n" in filled(ASKING, {})


def test_figures_are_written_once() -> None:
    """To write again what is written changes nothing."""
    assert FILLED == filled(FILLED, MEASURED, "docs")


def test_the_costs_have_every_figure() -> None:
    """The page of costs quotes each benchmark that was measured."""
    page = PAGES[0].read_text()

    assert [] == [name for name in kept() if f"<!-- figures: {name} -->" not in page]
