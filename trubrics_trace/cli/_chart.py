"""Prompts over time: a bar for an hour, a day or several days, by status."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

from ._markup import Markup, element, together

_MOST_HOURLY = 48  # hours; what spans more is shown by the day
_MOST_BARS = 60
_LEAST_WIDE = 12  # bars; fewer would be as wide as walls
_STATUSES = ("complete", "stopped", "cancelled", "error")
_WIDTH, _GAP, _HEIGHT = 10.0, 2.0, 100.0


def chart_of(hours: Mapping[str, Counter[str]]) -> Markup:
    """Return the chart of prompts by hour (`2026-01-02T03`) and status."""
    began, step, bars = bars_of(hours)
    most = max((bar.total() for bar in bars), default=0)
    if not most:
        return element("p", "No prompt says when it began.", class_="quiet")
    drawn = (_bar(place, bar, most, began + place * step) for place, bar in enumerate(bars))
    picture = element(
        "svg",
        *drawn,
        viewBox=f"0 0 {max(len(bars), _LEAST_WIDE) * _WIDTH:g} {_HEIGHT:g}",
        preserveAspectRatio="none",
        role="img",
        aria_label="prompts over time",
    )
    legend = (
        together(element("i", class_=f"dot {status}"), f"{status} ")
        for status in _STATUSES
        if any(bar[status] for bar in bars)
    )
    first, last = (_date(began + at * step, step) for at in (0, len(bars) - 1))
    if len(bars) < _LEAST_WIDE:  # the last bar is not at the right, nor is its date
        first, last = " to ".join(dict.fromkeys((first, last))), ""
    return element(
        "figure",
        element("p", f"up to {most:,} {_told(step)}", class_="quiet"),
        picture,
        element(
            "figcaption",
            element("span", first),
            element("span", *legend),
            element("span", last),
        ),
    )


def bars_of(
    hours: Mapping[str, Counter[str]],
) -> tuple[datetime, timedelta, list[Counter[str]]]:
    """Return when the first bar begins, how long each is, and what is in each."""
    by_hour = {
        datetime.strptime(hour, "%Y-%m-%dT%H").replace(tzinfo=timezone.utc): statuses
        for hour, statuses in hours.items()
    }
    if not by_hour:
        return datetime.now(timezone.utc), timedelta(days=1), []
    began, last = min(by_hour), max(by_hour)
    step = timedelta(hours=1)
    if last - began >= _MOST_HOURLY * step:
        began = began.replace(hour=0)
        days = (last - began) / timedelta(days=1)
        step = timedelta(days=math.ceil((math.floor(days) + 1) / _MOST_BARS))
    bars = [Counter[str]() for _ in range((last - began) // step + 1)]
    for hour, statuses in by_hour.items():
        bars[(hour - began) // step].update(statuses)
    return began, step, bars


def _bar(place: int, bar: Counter[str], most: int, began: datetime) -> Markup:
    top, parts = _HEIGHT, []
    for status in _STATUSES:
        height = _HEIGHT * bar[status] / most
        top -= height
        if height:
            rectangle = element(
                "rect",
                x=f"{place * _WIDTH + _GAP / 2:g}",
                y=f"{top:.2f}",
                width=f"{_WIDTH - _GAP:g}",
                height=f"{height:.2f}",
                class_=status,
            )
            parts.append(rectangle)
    said = ", ".join(f"{bar[status]:,} {status}" for status in _STATUSES if bar[status])
    title = element("title", f"{began:%Y-%m-%d %H:%M}: {said or 'none'}")
    return element("g", title, *parts)


def _told(step: timedelta) -> str:
    if step < timedelta(days=1):
        return "an hour"
    return "a day" if step.days == 1 else f"in {step.days} days"


def _date(moment: datetime, step: timedelta) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if step < timedelta(days=1) else f"{moment:%Y-%m-%d}"
