"""Pages that quote figures: what stands between their marks is written, never typed.

    python -m benchmarks.page

A page asks for the figures of a benchmark by two comments, and has them in between:

    <!-- figures: overhead -->
    <!-- end -->

A drawing that stands alone has its date at the end of what is said of it:

    ![What it adds, 2026-01-02](docs/overhead.svg)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.results import kept

_REPOSITORY = Path(__file__).parents[1]
_DOCS = _REPOSITORY / "docs"
PAGES = (_DOCS / "benchmarks.md", _REPOSITORY / "README.md")

_BLOCK = re.compile(r"(<!-- figures: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
_DATED = re.compile(r"\b[0-9-]{10}(?=\]\((?:docs/)?(\w+)\.svg\))")
_NOT_FIGURES = ("date", "machine", "python", "versions", "unit", "columns", "drawing")


def shown(path: Path) -> str:
    """Return a page with what is kept."""
    drawings = os.path.relpath(_DOCS, path.parent).removeprefix(".")
    return filled(path.read_text(), kept(), drawings)


def filled(page: str, results: Mapping[str, Any], drawings: str = "") -> str:
    """Return a page with the figures that it asks for, as they are kept.

    Args:
        drawings: The way from the page to where drawings are.
    """

    def block(found: re.Match[str]) -> str:
        known = results.get(found[2])
        lines = (
            _lines(known, drawings) if known else ["\nNot measured yet: `make bench`.\n"]
        )
        return "".join([found[1], *(f"{line}\n" for line in lines), found[3]])

    def date(found: re.Match[str]) -> str:
        return str(results[found[1]]["date"] if found[1] in results else found[0])

    return _DATED.sub(date, _BLOCK.sub(block, page))


def _lines(known: Mapping[str, Any], drawings: str) -> Iterator[str]:
    """Yield a drawing, a table, and what it was measured with."""
    rows = {name: row for name, row in known.items() if name not in _NOT_FIGURES}
    yield ""
    if "drawing" in known:
        unit = known["unit"][:1].upper() + known["unit"][1:]
        yield f"![{unit}]({os.path.join(drawings, known['drawing'])})\n"  # noqa: PTH118 - of a link
    columns = known.get("columns", ["measured"])
    yield f"| {known.get('unit', '')} | {' | '.join(columns)} |"
    yield f"|---|{'---:|' * len(columns)}"
    for name, row in rows.items():
        if isinstance(row, Mapping):
            cells = [" · ".join(f"{int(at):,}: {_said(one)}" for at, one in row.items())]
        else:
            cells = [_said(one) for one in row]
        yield f"| {name} | {' | '.join(cells)} |"
    versions = ", ".join(f"{package} {one}" for package, one in known["versions"].items())
    yield f"\n{known['date']}, {known['machine']}, Python {known['python']}, {versions}.\n"


def _said(number: float) -> str:
    """Return a number with no more digits than it is worth."""
    return (
        f"{number:,.0f}" if number >= 100 or float(number).is_integer() else f"{number:g}"
    )


def main() -> None:
    """Write into each page what is kept."""
    for path in PAGES:
        path.write_text(shown(path))


if __name__ == "__main__":
    main()
