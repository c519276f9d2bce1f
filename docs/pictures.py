"""The pictures of these pages, as SVG: `python docs/pictures.py` draws them again."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parent
PICTURES = DOCS / "pictures"

WIDTH = 960
PAPER, INK, SOFT, LINE = "#fbfaf7", "#22303a", "#5b6b76", "#b8c2c8"
APP, OURS, THREAD, WARM = "#dceaf7", "#d5efe9", "#ece4f5", "#fbe7c6"


class Box(NamedTuple):
    """A step of a story: its two lines, and where its left upper corner is."""

    x: int
    y: int
    title: str
    note: str
    colour: str
    width: int = 176
    height: int = 62


def drawn() -> dict[str, str]:
    """Return each picture by the name of its file."""
    return {
        "life-of-a-record.svg": life_of_a_record(),
        "scopes-and-contexts.svg": scopes_and_contexts(),
    }


def life_of_a_record() -> str:
    """Draw what happens to one call: in your app, in the caller, and in our thread."""
    called = Box(136, 24, "chat(request, …)", "your function is called", APP)
    asked = Box(344, 24, "llm.ainvoke(…)", "LangChain, as ever", APP)
    answered = Box(760, 24, "the answer", "your app goes on", APP)
    opened = Box(136, 146, "a scope opens", "user_id=alice", OURS)
    noted = Box(344, 146, "the handler notes", "whose call, and when", OURS)
    born = Box(552, 146, "a record is born", "complete, stopped, …", OURS)
    kept = Box(760, 146, "one line on disk", "survives kill -9", OURS)
    fit = Box(552, 252, "made fit to leave", "sampled, masked, logged", OURS)
    batch = Box(344, 374, "a batch is sent", "oldest first", THREAD)
    gone = Box(136, 352, "acknowledged", "and let go of", THREAD, height=48)
    again = Box(136, 408, "waits, with jitter", "or is set aside", WARM, height=48)
    parts = [
        _lane(12, 86, "your app"),
        _lane(128, 198, "in the call"),
        _lane(340, 128, "our thread"),
        *(
            _box(box)
            for box in (called, asked, answered, opened, noted, born, kept, fit, batch)
        ),
        _box(gone),
        _box(again),
        _arrow(called, opened),
        _path([(312, 177), (328, 177), (328, 55), (344, 55)]),
        _arrow(asked, noted, "our hook is asked"),
        _arrow(noted, born),
        _arrow(born, fit),
        _path([(728, 283), (848, 283), (848, 208)]),
        _arrow(kept, answered, "and only then"),
        _path([(900, 208), (900, 405), (520, 405)]),
        _path([(344, 395), (328, 395), (328, 376), (312, 376)]),
        _path([(344, 415), (328, 415), (328, 432), (312, 432)]),
        _text(
            540, 396, "whenever the network allows, or in the next process", "note", "start"
        ),
    ]
    said = "The life of a record, from the decorated function to Trubrics"
    return _picture(480, said, parts)


def scopes_and_contexts() -> str:
    """Draw the table of `threads-and-tasks.md`: where the user comes along, and how."""
    rows = list(contexts())
    left, first, second, top, high = 24, 420, 690, 56, 36
    parts = [
        _text(left, 36, "the work goes on in", "head", "start"),
        _text(first + 120, 36, "while the scope is open", "head"),
        _text(second + 120, 36, "also after it has closed", "head"),
    ]
    for number, (place, during, after) in enumerate(rows):
        y = top + number * high
        parts.append(f'<path d="M{left} {y}H{WIDTH - left}" stroke="{LINE}"/>')
        parts.append(_text(left, y + 23, place, "place", "start"))
        for x, way in ((first, during), (second, after)):
            parts += _pill(x, y + 5, way)
    said = "Where a scope's user comes along by itself, and where it is carried"
    return _picture(top + len(rows) * high + 12, said, parts)


def contexts() -> Iterator[tuple[str, str, str]]:
    """Yield each place where work may go on, and how its user gets there in either case."""
    page = (DOCS / "how-to" / "threads-and-tasks.md").read_text()
    table = page.split("\n\n")[2].splitlines()[2:]
    for place, during, after in (line.strip("| ").split(" | ") for line in table):
        comes = _way(during)
        yield place.replace("`", ""), comes, comes if after == "likewise" else _way(after)


def _way(said: str) -> str:
    if "carry_scope" in said:
        return "carry_scope"
    if "open scope" in said:
        return "a scope of its own"
    return said if said.isascii() else ""  # a dash: the work ends inside


def _pill(x: int, y: int, way: str) -> list[str]:
    if not way:
        return [_text(x + 120, y + 18, "it ends inside", "note")]
    colour = {"by itself": OURS, "carry_scope": WARM}.get(way, THREAD)
    shape = f'<rect x="{x + 35}" y="{y}" width="170" height="26" rx="13" fill="{colour}"/>'
    return [shape, _text(x + 120, y + 18, way, "code" if "_" in way else "place")]


def _picture(height: int, said: str, parts: list[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{escape(said)}">'
    )
    style = (
        f"<style>text{{fill:{INK};font:15px system-ui,'DejaVu Sans',sans-serif}}"
        f".head{{font-weight:600;fill:{SOFT}}}.title{{font-weight:600}}"
        f".note{{font-size:13px;fill:{SOFT}}}"
        ".code{font-family:ui-monospace,'DejaVu Sans Mono',monospace;font-size:14px}"
        "</style>"
    )
    marker = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="{SOFT}"/>'
        "</marker></defs>"
    )
    paper = f'<rect width="{WIDTH}" height="{height}" rx="10" fill="{PAPER}"/>'
    return "\n".join(
        [head, f"<title>{said}</title>", style, marker, paper, *parts, "</svg>\n"]
    )


def _lane(y: int, height: int, name: str) -> str:
    shape = (
        f'<rect x="12" y="{y}" width="{WIDTH - 24}" height="{height}" rx="8" '
        f'fill="none" stroke="{LINE}" stroke-dasharray="3 4"/>'
    )
    return shape + _text(24, y + 24, name, "head", "start")


def _box(box: Box) -> str:
    middle, half = box.x + box.width // 2, box.y + box.height // 2
    return (
        f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="8" '
        f'fill="{box.colour}"/>'
        + _text(middle, half - 4, box.title, "title")
        + _text(middle, half + 15, box.note, "note")
    )


def _arrow(start: Box, end: Box, said: str = "") -> str:
    """Draw from one box to the next: to the right, down or up, whichever way it lies."""
    if start.y == end.y:
        y = start.y + start.height // 2
        return _path([(start.x + start.width, y), (end.x, y)])
    x = start.x + start.width // 2
    down = end.y > start.y
    from_y = start.y + start.height if down else start.y
    to_y = end.y if down else end.y + end.height
    beside, anchor = (x + 8, "start") if down else (x - 8, "end")
    label = _text(beside, (from_y + to_y) // 2 + 1, said, "note", anchor) if said else ""
    return _path([(x, from_y), (x, to_y)]) + label


def _path(points: list[tuple[int, int]]) -> str:
    way = "L".join(f"{x} {y}" for x, y in points)
    return (
        f'<path d="M{way}" fill="none" stroke="{SOFT}" stroke-width="1.5" '
        'marker-end="url(#tip)"/>'
    )


def _text(x: int, y: int, said: str, kind: str, anchor: str = "middle") -> str:
    return (
        f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(said)}</text>'
    )


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for name, picture in drawn().items():
        (PICTURES / name).write_text(picture)
