"""What had returned survives the kill of its process, at whatever moment it comes.

    python -m benchmarks.faults.kills [--rounds 20]

Line 10: SIGTERM and SIGKILL at random moments, while the server is up, slow and down: of
those events whose call had returned 0 are lost after run 2, and at most one batch a kill
is doubled. Every second round records calls of a fake model.
"""

from __future__ import annotations

import argparse
import functools
import random
import signal
import sys
import time

from .app import App, spool
from .outcome import figures_of, names_of, ours_of, run_again
from .report import Figure, Report, arguments
from .server import FaultServer, serving

_BATCH = 100
_SLOW_SECONDS = 0.5
_LONGEST_LIFE_SECONDS = 3.0


def kill_once(
    server: FaultServer, state: str, how: signal.Signals, *, is_model: bool
) -> tuple[int, list[Figure]]:
    """Kill one app; return how many it had recorded, and what became of them."""
    server.be_well()
    server.forget()
    if state == "slow":
        server.delay(_SLOW_SECONDS)
    elif state == "down":
        server.down()
    with spool() as spool_dir:
        app = App(
            *("steady", spool_dir, server.url, "--events", 1_000_000),
            *(["--model"] if is_model else []),
        )
        app.wait_until_said(1, 60)
        time.sleep(random.uniform(0.0, _LONGEST_LIFE_SECONDS))  # noqa: S311 - no secret
        app.kill(how)
        server.be_well()
        told = run_again(spool_dir, server.url)
        said = names_of(line for line in app.said if line.endswith("\n"))
        figures = figures_of(said, server, spool_dir, told, duplicates=_BATCH)
        # The call in which it was killed may have been recorded, or not.
        figures.append(Figure("unsaid", len(ours_of(server.seen()) - said), at_most=1))
        return len(said), figures


def kill(report: Report, state: str, how: signal.Signals, rounds: int) -> None:
    """Print the sums of many kills in one state of the server."""
    recorded = 0
    sums: dict[str, float] = {}
    worst: dict[str, Figure] = {}
    with serving() as server:
        for number in range(rounds):
            said, figures = kill_once(server, state, how, is_model=number % 2 == 1)
            recorded += said
            for figure in figures:
                sums[figure.name] = sums.get(figure.name, 0) + figure.value
                if figure.name not in worst or figure.value > worst[figure.name].value:
                    worst[figure.name] = figure
    doubled = worst.pop("duplicates")
    report.row(
        f"{how.name}, server {state}, {rounds} rounds",
        Figure("recorded", recorded),
        *worst.values(),
        Figure("most duplicates a kill", doubled.value, at_most=doubled.at_most),
        Figure("duplicates", sums["duplicates"]),
    )


def main() -> int:
    """Print a row a signal and state; 0 if each holds."""
    parser: argparse.ArgumentParser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, help="of each; default 20")
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 20)
    report = Report("10", as_json=options.json)
    report.run(
        {
            f"{how.name} {state}": functools.partial(kill, report, state, how, rounds)
            for how in (signal.SIGTERM, signal.SIGKILL)
            for state in ("up", "slow", "down")
        },
        at_once=3,
    )
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
