"""`trubrics-trace report`: what the prompts come to, printed and as a page."""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.cli.parts import behind_spool, root_with
from tests.delivery.parts import line
from trubrics_trace import EventRecord
from trubrics_trace.cli import main
from trubrics_trace.cli._chart import bars_of, chart_of
from trubrics_trace.cli._figures import Groups, Seconds, figures_of, told_in
from trubrics_trace.cli._page import percent_of, seconds_of, short_of
from trubrics_trace.delivery._reader import Kept
from trubrics_trace.pipeline._line import line_of

EVIL = "<script>alert('x')</script><img src=https://evil.example/x onerror=\"x()\">"

PROMPTS = [
    line(1, thread_id="a", input_tokens=10, output_tokens=20, latency_seconds=1.0),
    line(2, thread_id="a", status="stopped", latency_seconds=3.0, model="gpt-4o"),
    line(3, user_id="bob", status="error", error_type="Timeout", thread_id="b"),
    line(4, user_id=None, first_token_seconds=0.25, started_at="2026-01-05T00:00:00+00:00"),
    line_of(EventRecord(record_id="5", user_id="carol", event_name="login")),
]


class Page(HTMLParser):
    """What a browser would see: elements, their attributes, and texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements = Counter[str]()
        self.attributes = list[tuple[str, str | None]]()
        self.texts = list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements[tag] += 1
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.texts.append(data)


def test_stop_button(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cancelled answer counts as stopped: frameworks do the one or the other."""
    ends = ("complete", "stopped", "cancelled", "error")
    root_with(tmp_path, *(line(at, status=status) for at, status in enumerate(ends)))
    main(["report", "--json"])
    assert 0.5 == json.loads(capsys.readouterr().out)["stop_rate"]
    assert '<td class="number">50%</td>' in page_in(tmp_path)


def page_in(tmp_path: Path, *arguments: str) -> str:
    """Return the page that a report makes."""
    assert 0 == main(["report", "--html", str(tmp_path / "page.html"), *arguments])
    return (tmp_path / "page.html").read_text()


def test_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prompts are counted by user, thread and model; what is no prompt is not."""
    root = root_with(tmp_path, *PROMPTS)
    assert 0 == main(["report", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert (str(root), None, 4, 2, 2) == tuple(
        said[name]
        for name in ("spool_dir", "html", "prompts", "user_count", "thread_count")
    )
    assert {"complete": 2, "stopped": 1, "error": 1} == said["statuses"]
    assert (0.25, 0.25, 10, 20) == tuple(
        said[name] for name in ("stop_rate", "error_rate", "input_tokens", "output_tokens")
    )
    assert {"median": 0.0, "p95": 3.0} == said["latency_seconds"]
    assert {"median": 0.25, "p95": 0.25} == said["first_token_seconds"]
    assert [("alice", 2), ("bob", 1), (None, 1)] == [
        (one["name"], one["prompts"]) for one in said["users"]
    ]
    assert [("a", "alice", 0.5), ("b", "bob", 0.0)] == [
        (one["name"], one["user"], one["stop_rate"]) for one in said["threads"]
    ]
    assert [(None, 3), ("gpt-4o", 1)] == [
        (one["name"], one["prompts"]) for one in said["models"]
    ]


def test_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """People see the largest users, nobody among them, and all together."""
    root = root_with(tmp_path, *PROMPTS)
    assert 0 == main(["report"])
    spool, first, head, *rows = capsys.readouterr().out.splitlines()
    assert f"spool: {root}" == spool
    assert (
        "4 prompts of 2 users in 2 threads, 2026-01-02 03:04 to 2026-01-05 00:00 UTC"
        == first
    )
    assert ["user", "prompts", "stopped"] == head.split()[:3]
    assert [["alice", "2", "50%"], ["bob", "1", "0%"]] == [
        row.split()[:3] for row in rows[:2]
    ]
    assert ["nobody", "all"] == [row.split()[0] for row in rows[2:]]


def test_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of nothing there is a summary, and a page."""
    assert 0 == main(["report"])
    assert "no prompt is here that fits\n" == behind_spool(capsys.readouterr().out)
    assert "No prompt is here that fits." in page_in(tmp_path)


def test_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page has users, threads, models and prompts, and is for nobody else to read."""
    root_with(tmp_path, *PROMPTS)
    page = Page(page_in(tmp_path, "--title", "My calls"))
    said = behind_spool(capsys.readouterr().out)
    assert f"4 prompts are told in {tmp_path / 'page.html'}\n" == said
    headings = ["Prompts over time", "Users", "Threads", "Models", "Latest prompts"]
    assert [*headings, "My calls"] == sorted(
        set(page.texts) & {*headings, "My calls"}, key=[*headings, "My calls"].index
    )
    assert {"alice", "bob", "nobody", "gpt-4o", "Timeout", "stopped"} <= set(page.texts)
    assert (4, 3) == (page.elements["details"], page.elements["table"])
    assert 0o600 == stat.S_IMODE((tmp_path / "page.html").stat().st_mode)


def test_page_of_those_that_are_wanted(tmp_path: Path) -> None:
    """A page says which prompts were asked for, and has no others."""
    root_with(tmp_path, *PROMPTS)
    page = page_in(tmp_path, "--user", "bob", "--since", "2026-01-01")
    said = "From the spool spool --user bob --since 2026-01-01T00:00"
    assert said in Page(page).texts
    assert "alice" not in page


@pytest.mark.parametrize(
    "field",
    ["user_id", "thread_id", "model", "prompt", "generation", "run_name", "status"],
)
def test_nothing_of_anybody_is_markup(field: str, tmp_path: Path) -> None:
    """What users and models say is text on the page, wherever it stands."""
    root_with(tmp_path, line(1, thread_id="a"), line(2, **{field: EVIL}, tags=(EVIL,)))
    page = Page(page_in(tmp_path, "--title", EVIL))
    assert EVIL in page.texts
    assert {"script", "img", "link", "iframe"}.isdisjoint(page.elements)


def test_nothing_is_from_elsewhere(tmp_path: Path) -> None:
    """Nothing is loaded, no script runs, and the page forbids both itself."""
    root_with(tmp_path, *PROMPTS)
    text = page_in(tmp_path)
    page = Page(text)
    names = {name for name, _ in page.attributes}
    assert {"src", "href", "srcset", "action"}.isdisjoint(names)
    assert not [name for name in names if name.startswith("on")]
    assert not re.findall(r"https?:|//|url\(|@import", text.partition("</style>")[0])
    assert "default-src 'none'; style-src 'unsafe-inline'" in text


def test_a_long_text_is_cut(tmp_path: Path) -> None:
    """Of a long text the page has the beginning, and says how long it is."""
    root_with(tmp_path, line(1, prompt="x" * 9_000))
    assert f"{'x' * 4_000}… (9,000 characters)" in Page(page_in(tmp_path)).texts


def test_more_than_a_page_shows(tmp_path: Path) -> None:
    """What a table has no room for is counted below it."""
    root_with(tmp_path, *(line(n, user_id=f"user-{n}") for n in range(120)))
    texts = Page(page_in(tmp_path)).texts
    assert "and 105 more" in texts
    assert "and 20 more" in texts


def test_groups_beyond_their_number() -> None:
    """A name beyond the number of groups is counted with others."""
    groups = Groups(most=1)
    for name in ("a", "b", "a"):
        groups.add(name, told_in({"status": "complete"}))
    assert (1, 2, 0, 1) == (
        len(groups),
        groups.prompts_of("a"),
        groups.prompts_of("b"),
        groups.others.prompts,
    )


def test_latest_are_bounded() -> None:
    """Of many prompts those that ended last are kept, newest first."""
    date = "2026-01-02T03:04:05+00:00"
    prompts = (
        {"kind": "prompt", "record_id": str(n), "started_at": date, "latency_seconds": n}
        for n in range(250)
    )
    latest = figures_of(Kept("local", b"", values) for values in prompts).latest
    assert [str(n) for n in range(249, 49, -1)] == [one["record_id"] for one in latest]


def test_seconds() -> None:
    """A quantile is a time that was told, in two digits; of none there is none."""
    seconds = Seconds()
    assert None is seconds.quantile(0.5)
    for told in (1.234, 0.01234, 99.0, "long", None, True):
        seconds.add(told)
    assert [0.012, 1.2, 99.0] == [seconds.quantile(share) for share in (0.1, 0.5, 0.95)]


@pytest.mark.parametrize(
    ("hours", "step_hours", "totals"),
    [
        (["2026-01-02T03"], 1, [1]),
        (["2026-01-02T03", "2026-01-02T05"], 1, [1, 0, 1]),
        (["2026-01-02T03", "2026-01-04T03"], 24, [1, 0, 1]),
        (["2026-01-02T23", "2026-01-05T00"], 24, [1, 0, 0, 1]),
        (["2026-01-01T00", "2026-04-30T23"], 48, [1, *[0] * 58, 1]),
        ([], 24, []),
    ],
)
def test_bars(hours: list[str], step_hours: int, totals: list[int]) -> None:
    """Bars stand side by side without a gap, for hours, days, or several days."""
    _, step, bars = bars_of({hour: Counter(complete=1) for hour in hours})
    assert step_hours == step.total_seconds() / 3600
    assert totals == [bar.total() for bar in bars]


def test_chart_of_few_days() -> None:
    """Where bars do not take the whole width, no date stands far from its bar."""
    days = ("2026-01-02T03", "2026-01-05T00")
    chart = Page(chart_of({day: Counter(complete=1) for day in days}))
    assert "2026-01-02 to 2026-01-05" in chart.texts
    assert "2026-01-05" not in chart.texts
    alone = Page(chart_of({"2026-01-02T03": Counter(complete=1)}))
    assert "2026-01-02 03:00" in alone.texts


def test_chart() -> None:
    """Each bar tells what is in it, and the legend what there is."""
    counts = Counter(complete=3, error=1)
    chart = Page(chart_of({"2026-01-02T03": counts, "2026-01-20T00": Counter(complete=1)}))
    assert "2026-01-02 00:00: 3 complete, 1 error" in chart.texts
    assert "up to 4 a day" in chart.texts
    assert {"2026-01-02", "2026-01-20"} <= set(chart.texts)
    assert "stopped " not in chart.texts
    assert 3 == chart.elements["rect"]
    assert "No prompt says" in chart_of({})
    assert "in 2 days" in chart_of(
        {"2026-01-01T00": counts, "2026-04-30T23": Counter(complete=1)}
    )


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (percent_of(0.0), "0%"),
        (percent_of(0.034), "3.4%"),
        (percent_of(0.5), "50%"),
        (short_of(999_999), "999,999"),
        (short_of(1_250_000), "1.2 M"),
        (short_of(3e9), "3.0 B"),
        (seconds_of(0.25), "250 ms"),
        (seconds_of(9.9), "9.9 s"),
        (seconds_of(22.0), "22 s"),
        (seconds_of("long"), "-"),
    ],
)
def test_numbers(shown: str, expected: str) -> None:
    """Numbers are short enough for a tile."""
    assert expected == shown


def test_a_record_of_odd_values(tmp_path: Path) -> None:
    """A prompt whose fields are of other kinds is told as far as it can be."""
    odd: dict[str, Any] = {
        "kind": "prompt",
        "record_id": "1",
        "prompt": 7,
        "tags": "chat",
        "started_at": "soon",
        "input_tokens": "many",
        "status": ["?"],
    }
    root_with(tmp_path, json.dumps(odd).encode() + b"\n")
    page = Page(page_in(tmp_path))
    assert 1 == page.elements["details"]
    assert "No prompt says when it began." in page.texts
