"""The report's page: HTML, its style in it, and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ._chart import chart_of
from ._figures import LEFT, Figures, Group
from ._markup import Markup, element, together

_MOST_ROWS = 15
_MOST_PROMPTS = 100
_MOST_CHARACTERS = 4_000  # of a text that is unfolded; `export` has the whole
_STYLE_PATH = Path(__file__).parent / "_page.css"

# No script, and nothing from elsewhere, also where a browser could be talked into it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page_of(figures: Figures, *, title: str, about: str, made_at: str) -> str:
    """Return the page as one text."""
    head = element(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        element("title", title),
        element("style", Markup(_STYLE_PATH.read_text())),
    )
    body = element(
        "body",
        element(
            "header",
            element("h1", title),
            element("p", about, class_="quiet"),
        ),
        element("main", *_sections(figures)),
        element("footer", f"Made by trubrics-trace, {moment_of(made_at)} UTC."),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def moment_of(date: Any) -> str:
    """Return a date and time as people read it."""
    try:
        return f"{datetime.fromisoformat(date):%Y-%m-%d %H:%M}"
    except (TypeError, ValueError):
        return "-"


def seconds_of(seconds: Any) -> str:
    """Return a time with its unit."""
    if not isinstance(seconds, (int, float)):
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:,.0f} s"


def percent_of(share: float) -> str:
    """Return a share in percent; a small one with its tenths."""
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"


def short_of(count: float) -> str:
    """Return a count that fits a tile."""
    for unit, size in (("B", 1e9), ("M", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:,.0f}"


def _sections(figures: Figures) -> Iterator[Markup]:
    if not figures.all.prompts:
        yield element("p", "No prompt is here that fits.", class_="empty")
        return
    yield element("section", *_tiles(figures), class_="tiles")
    yield _section("Prompts over time", chart_of(figures.hours))
    users = figures.users.largest(_MOST_ROWS)
    most = max(group.prompts for group in users)
    yield _section(
        "Users",
        _table("User", users, most, name_nobody="nobody"),
        beyond=len(figures.users) - len(users),
    )
    threads = figures.threads.largest(_MOST_ROWS)
    if threads:
        most = max(group.prompts for group in threads)
        yield _section(
            "Threads",
            _table("Thread", threads, most, has_user=True),
            beyond=len(figures.threads) - len(threads),
        )
    models = figures.models.largest(_MOST_ROWS)
    most = max(group.prompts for group in models)
    yield _section("Models", _table("Model", models, most, name_nobody="not told"))
    latest = figures.latest[:_MOST_PROMPTS]
    yield _section(
        "Latest prompts",
        element("div", *map(_prompt, latest), class_="prompts"),
        beyond=figures.all.prompts - len(latest),
    )


def _section(title: str, *content: Markup, beyond: int = 0) -> Markup:
    more = element("p", f"and {beyond:,} more", class_="quiet") if beyond > 0 else None
    return element("section", element("h2", title), *content, more)


def _tiles(figures: Figures) -> Iterator[Markup]:
    all_ = figures.all
    nobody = figures.users.prompts_of(None)
    yield _tile("Prompts", short_of(all_.prompts), f"until {moment_of(all_.last)}")
    yield _tile(
        "Users",
        short_of(figures.users.named),
        f"{percent_of(nobody / all_.prompts)} of prompts are nobody's",
    )
    yield _tile("Threads", short_of(figures.threads.named), "conversations")
    stopped, failed = all_.share(*LEFT), all_.share("error")
    yield _tile("Stop rate", percent_of(stopped), "stopped or cancelled")
    yield _tile("Errors", percent_of(failed), f"{all_.statuses['error']:,} prompts", failed)
    tokens = all_.input_tokens + all_.output_tokens
    yield _tile("Tokens", short_of(tokens), f"{short_of(all_.output_tokens)} generated")
    first = figures.first_token.quantile(0.5)
    yield _tile(
        "Latency",
        seconds_of(all_.latency.quantile(0.5)),
        f"median; 95 % within {seconds_of(all_.latency.quantile(0.95))}"
        + (f", first words {seconds_of(first)}" if first is not None else ""),
    )


def _tile(name: str, value: str, note: str, is_bad: float = 0) -> Markup:
    return element(
        "div",
        element("span", name, class_="name"),
        element("strong", value, class_="bad" if is_bad else None),
        element("span", note, class_="quiet"),
        class_="tile",
    )


def _table(
    first: str,
    groups: Sequence[Group],
    most: int,
    *,
    name_nobody: str = "",
    has_user: bool = False,
) -> Markup:
    names = [first, *(["User"] if has_user else []), "Prompts", "Stop rate", "Errors"]
    names += ["Tokens in", "out", "Median", "95 %", "Last (UTC)"]
    plain = {first, "User"}
    head = element(
        "tr",
        *(
            element("th", name, class_=None if name in plain else "number")
            for name in names
        ),
    )
    rows = (_row(group, most, name_nobody, has_user=has_user) for group in groups)
    table = element("table", element("thead", head), element("tbody", *rows))
    return element("div", table, class_="scroll", tabindex=0)


def _row(group: Group, most: int, name_nobody: str, *, has_user: bool) -> Markup:
    name = group.name if group.name is not None else element("i", name_nobody)
    width = f"width:{100 * group.prompts / most:.1f}%"
    failed = group.share("error")
    cells: Iterable[tuple[str, Any]] = [
        *([("name", group.user or element("i", "nobody"))] if has_user else []),
        ("number", f"{group.prompts:,}"),
        ("number", percent_of(group.share(*LEFT))),
        ("number bad" if failed else "number", percent_of(failed)),
        ("number", short_of(group.input_tokens)),
        ("number", short_of(group.output_tokens)),
        ("number", seconds_of(group.latency.quantile(0.5))),
        ("number", seconds_of(group.latency.quantile(0.95))),
        ("number", moment_of(group.last)),
    ]
    bar = element("span", class_="bar", style=width)
    return element(
        "tr",
        element("td", element("span", name, class_="cut"), bar, class_="name"),
        *(element("td", cell, class_=kind) for kind, cell in cells),
    )


def _prompt(values: dict[str, Any]) -> Markup:
    status = str(values.get("status"))
    asked, answered = _text(values.get("prompt")), _text(values.get("generation"))
    return element(
        "details",
        element(
            "summary",
            element("span", moment_of(values.get("started_at")), class_="when"),
            element("span", values.get("user_id") or element("i", "nobody"), class_="who"),
            element("span", status, class_=f"status {_known(status)}"),
            element("span", asked[:160] or "-", class_="asked"),
            element("span", seconds_of(values.get("latency_seconds")), class_="took"),
        ),
        element("dl", *_told(values, asked, answered)),
    )


def _told(values: dict[str, Any], asked: str, answered: str) -> Iterator[Markup]:
    tags = values.get("tags")
    said = {
        "asked": asked,
        "answered": answered,
        "error": " ".join(
            str(values[name])
            for name in ("error_type", "error_message")
            if values.get(name)
        ),
        "thread": values.get("thread_id"),
        "function": values.get("run_name"),
        "model": values.get("model"),
        "tags": ", ".join(map(str, tags)) if isinstance(tags, list) else "",
        "tokens": " → ".join(
            str(values.get(name, "?")) for name in ("input_tokens", "output_tokens")
        ),
        "record": values.get("record_id"),
    }
    for name, text in said.items():
        if text:
            yield together(element("dt", name), element("dd", text))


def _known(status: str) -> str:
    is_known = status in ("complete", "stopped", "cancelled", "error")
    return status if is_known else "unknown"


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    if len(text) <= _MOST_CHARACTERS:
        return text
    return f"{text[:_MOST_CHARACTERS]}… ({len(text):,} characters)"
