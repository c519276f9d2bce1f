"""Figures as drawings in `docs/`, which can be read on white and on black."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

_DOCS = Path(__file__).parents[1] / "docs"

# Pixels; a bar of each series lies below the other, in its shade.
_LABELS, _BARS, _BAR, _GAP, _TOP = 190, 380, 11, 10, 56
_SHADES = ("#4f46e5", "#a5b4fc")
_TEXT = "#6b7280"


def draw(
    name: str,
    title: str,
    bars: Mapping[str, Sequence[float]],
    series: Sequence[str],
    unit: str,
) -> None:
    """Draw horizontal bars, as many for each label as there are series."""
    row = len(series) * _BAR + _GAP
    scale = _BARS / max(max(values) for values in bars.values())
    parts = [_text(0, 18, title, 'font-size="15" font-weight="600"')]
    for at, (word, shade) in enumerate(zip(series, _SHADES, strict=False)):
        parts += [_bar(at * 70, 32, 10, shade), _text(at * 70 + 15, 41, word)]
    for number, (label, values) in enumerate(bars.items()):
        y = _TOP + number * row
        middle = y + (row - _GAP) / 2 + 4
        parts.append(_text(_LABELS - 10, middle, label, 'text-anchor="end"'))
        for at, (value, shade) in enumerate(zip(values, _SHADES, strict=False)):
            width, top = max(value, 0) * scale, y + at * _BAR
            parts += [
                _bar(_LABELS, top, width, shade),
                _text(_LABELS + width + 5, top + 9, f"{value:,.0f} {unit}"),
            ]
    height = _TOP + len(bars) * row
    size = f'viewBox="0 0 {_LABELS + _BARS + 70} {height}"'
    style = f'font-family="system-ui, sans-serif" font-size="11" fill="{_TEXT}"'
    body = "\n".join(parts)
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{body}\n</svg>\n'
    (_DOCS / f"{name}.svg").write_text(drawing)


def _bar(x: float, y: float, width: float, shade: str) -> str:
    place = f'x="{x:.0f}" y="{y:.0f}" width="{width:.1f}" height="{_BAR - 1}"'
    return f'<rect {place} rx="2" fill="{shade}"/>'


def _text(x: float, y: float, words: str, style: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" {style}>{words}</text>'
