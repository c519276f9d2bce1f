"""No answer but a good one is taken for success, and none loses an event.

    python -m benchmarks.faults.answers

Line 3: 408, 429 with `Retry-After: 20`, 500, 502, 503, 504: 0 lost, and no request before
`Retry-After`. Line 4: hang, reset before, within and after the answer, answers after 2 s,
five lost after storing: 0 lost, at most one batch of duplicates an ambiguous answer, each
with the same `record_id`. Line 5: bodies that are no JSON object, cut gzip, 200 with HTML,
a redirect to another origin: 0 lost once the server is well, by the same process; the key
never reaches the other origin.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable

from .app import App, spool
from .outcome import figures_of, names_of
from .report import Figure, Report, arguments
from .server import HTML, TRUNCATED_GZIP, FaultServer, Moment, Seen, serving

_BATCH = 100
_RETRY_AFTER_SECONDS = 20
_TIMES = 3  # how often in a row a server answers badly


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """How a server goes wrong, and how many duplicates it may make."""

    line: str
    break_it: Callable[[FaultServer], None]
    duplicates: int = 0
    look: Callable[[Seen], list[Figure]] = lambda seen: []


def answers(
    status: int, body: bytes = b'{"detail": "none"}', **headers: str
) -> Callable[[FaultServer], None]:
    """Return what makes a server answer like this a few times."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda server: server.answer(status, body, told, times=_TIMES)


def resets(moment: Moment, times: int) -> Callable[[FaultServer], None]:
    """Return what makes a server reset connections a few times."""
    return lambda server: server.reset(moment, times=times)


def throttles(server: FaultServer) -> None:
    """Let the server ask once for some time."""
    server.answer(429, headers={"Retry-After": str(_RETRY_AFTER_SECONDS)}, times=1)


def wait_after_throttle(seen: Seen) -> list[Figure]:
    """Return how long the next request waited."""
    at = next(i for i, one in enumerate(seen.requests) if one.status == 429)
    after = [one.at for one in seen.requests[at + 1 :]]
    waited = (after[0] if after else float("inf")) - seen.requests[at].at
    return [Figure("seconds to the next request", waited, at_least=_RETRY_AFTER_SECONDS)]


CASES = {
    **{str(status): Case("3", answers(status)) for status in (408, 500, 502, 503, 504)},
    "429 with Retry-After: 20": Case("3", throttles, look=wait_after_throttle),
    "hang": Case("4", lambda server: server.hang(times=1)),
    "reset before reading": Case("4", resets("before", _TIMES)),
    "reset within the answer": Case("4", resets("within", 1), duplicates=_BATCH),
    "reset after the answer": Case("4", resets("after", 1), duplicates=_BATCH),
    "answers after 2 s": Case("4", lambda server: server.delay(2.0, seconds=20)),
    "5 answers lost after storing": Case("4", resets("stored", 5), duplicates=5 * _BATCH),
    '500 "oops"': Case("5", answers(500, b'"oops"')),
    "500 []": Case("5", answers(500, b"[]")),
    "500 null": Case("5", answers(500, b"null")),
    "500 HTML": Case("5", answers(500, HTML, Content_Type="text/html")),
    "500 cut gzip": Case("5", answers(500, TRUNCATED_GZIP, Content_Encoding="gzip")),
    '200 "oops"': Case("5", answers(200, b'"oops"')),
    "200 []": Case("5", answers(200, b"[]")),
    "200 null": Case("5", answers(200, b"null")),
    "200 HTML": Case("5", answers(200, HTML, Content_Type="text/html")),
    "200 cut gzip": Case("5", answers(200, TRUNCATED_GZIP, Content_Encoding="gzip")),
}


def run(reports: dict[str, Report], name: str, case: Case, events: int) -> None:
    """Print what becomes of an app whose server goes wrong in the middle."""
    with serving() as server, spool() as spool_dir:
        app = App("steady", spool_dir, server.url, "--events", events, "--flush", 120)
        app.wait_until_said(events // 4, 60)
        case.break_it(server)
        told = app.ended(180)
        reports[case.line].row(
            name,
            *figures_of(
                *(names_of(events), server, spool_dir, told), duplicates=case.duplicates
            ),
            *case.look(server.seen()),
        )


def redirect(reports: dict[str, Report], events: int) -> None:
    """Print what another origin is shown, to which the server redirects."""
    with serving() as other:
        figures: list[Figure] = []
        for status in (302, 307):
            with serving() as server, spool() as spool_dir:
                app = App(
                    *("steady", spool_dir, server.url),
                    *("--events", events // 2, "--flush", 120),
                )
                app.wait_until_said(events // 8, 60)
                answers(status, b"", Location=f"{other.url}/publish_events")(server)
                told = app.ended(180)
                figures = figures_of(names_of(events // 2), server, spool_dir, told)
                shown = other.seen().requests
                reports["5"].row(
                    f"{status} to another origin",
                    *figures,
                    Figure("keys shown there", sum(bool(one.key) for one in shown), 0),
                    Figure("requests there", len(shown), at_most=0),
                )


def main() -> int:
    """Print a row an answer; 0 if each holds."""
    parser = arguments(__doc__)
    parser.add_argument("--only", help="the cases whose name holds this")
    options = parser.parse_args()
    events = 400 if options.quick else 2000
    reports = {line: Report(line, as_json=options.json) for line in ("3", "4", "5")}
    cases: dict[str, Callable[[], object]] = {
        name: functools.partial(run, reports, name, case, events)
        for name, case in CASES.items()
    }
    cases["redirect"] = lambda: redirect(reports, events)
    if options.only:
        cases = {name: do for name, do in cases.items() if options.only in name}
    reports["3"].run(cases, at_once=4)
    return max(report.exit_code for report in reports.values())


if __name__ == "__main__":
    sys.exit(main())
