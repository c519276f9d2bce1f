"""Figures as drawings in `docs/`, which can be read on white and on black."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_DOCS = Path(__file__).parents[1] / "docs"

# Pixels; a bar of each series lies below the other, in its shade.
_LABELS, _BARS, _BAR, _GAP, _TOP = 190, 380, 11, 10, 56
_SHADES = ("#4f46e5", "#a5b4fc")
_TEXT = "#6b7280"
_ACROSS, _PANEL, _PANEL_HEIGHT, _INSET = 3, 190, 110, 15


def draw(
    name: str,
    title: str,
    bars: Mapping[str, Sequence[float]],
    series: Sequence[str],
    unit: str,
) -> str:
    """Draw horizontal bars, as many for each label as there are series; return the file."""
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
    return _write(name, parts, _LABELS + _BARS + 70, _TOP + len(bars) * row)


def draw_curves(
    name: str, title: str, curves: Mapping[str, Mapping[str, float]], unit: str
) -> str:
    """Draw a small panel for each curve; return the file.

    All are of one height, where a decade is a line. What a curve runs over stands at even
    distances, for it grows by factors itself.
    """
    parts = [_text(0, 18, f"{title}, {unit}", 'font-size="15" font-weight="600"')]
    values = [value for curve in curves.values() for value in curve.values() if value > 0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    for number, (label, curve) in enumerate(curves.items()):
        left = 35 + number % _ACROSS * (_PANEL + 45)
        top = 50 + number // _ACROSS * (_PANEL_HEIGHT + 55)
        parts += _panel(left, top, label, curve, (low, max(high, low + 1)))
    rows = -(-len(curves) // _ACROSS)
    return _write(name, parts, _ACROSS * (_PANEL + 45), 30 + rows * (_PANEL_HEIGHT + 55))


def _panel(
    left: float,
    top: float,
    label: str,
    curve: Mapping[str, float],
    decades: tuple[int, int],
) -> Iterator[str]:
    low, high = decades

    def height_of(value: float) -> float:
        share = (math.log10(max(value, 10**low)) - low) / (high - low)
        return top + _PANEL_HEIGHT * (1 - share)

    yield _text(left, top - 8, label, 'font-weight="600"')
    for decade in range(low, high + 1):
        y = height_of(10**decade)
        yield f'<path d="M{left} {y:.1f}h{_PANEL}" stroke="{_TEXT}" stroke-opacity="0.3"/>'
        yield _text(left - 5, y + 4, _short(10**decade), 'text-anchor="end"')
    step = (_PANEL - 2 * _INSET) / max(1, len(curve) - 1)
    points = [
        (left + _INSET + at * step, height_of(value))
        for at, value in enumerate(curve.values())
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<polyline points="{line}" fill="none" stroke="{_SHADES[0]}" stroke-width="2"/>'
    for (x, y), (place, value) in zip(points, curve.items(), strict=True):
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_SHADES[0]}"/>'
        yield _text(x, y - 7, f"{value:,.0f}", 'text-anchor="middle"')
        yield _text(
            x, top + _PANEL_HEIGHT + 15, _short(float(place)), 'text-anchor="middle"'
        )


def _short(number: float) -> str:
    """Return a number as an axis has room for it."""
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if number >= size:
            return f"{number / size:g}{unit}"
    return f"{number:g}"


def _write(name: str, parts: Sequence[str], width: float, height: float) -> str:
    size = f'viewBox="0 0 {width} {height}"'
    style = f'font-family="system-ui, sans-serif" font-size="11" fill="{_TEXT}"'
    body = "\n".join(parts)
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{body}\n</svg>\n'
    (_DOCS / f"{name}.svg").write_text(drawing)
    return f"{name}.svg"


def _bar(x: float, y: float, width: float, shade: str) -> str:
    place = f'x="{x:.0f}" y="{y:.0f}" width="{width:.1f}" height="{_BAR - 1}"'
    return f'<rect {place} rx="2" fill="{shade}"/>'


def _text(x: float, y: float, words: str, style: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" {style}>{words}</text>'
