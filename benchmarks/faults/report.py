"""The rows of a script: what was measured, beside its bound.

A row begins with `ok` where all its figures are within their bounds, with `NOT` where one
is not; that one has a `!`. `--json` prints a line of JSON a row instead.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """A number with its name, its unit in it, and its bound where it has one."""

    name: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it is within its bounds."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    def __str__(self) -> str:
        value = f"{self.value:,.{0 if float(self.value).is_integer() else 2}f}"
        bounds = [
            f"{sign} {bound:,g}"
            for sign, bound in (("<=", self.at_most), (">=", self.at_least))
            if bound  # that it is to be 0 need not be said
        ]
        told = " ".join([self.name, value, *(f"({bound})" for bound in bounds)])
        return told if self.holds else f"!{told}"


class Report:
    """Prints rows as they come, from any thread, and knows whether all of them hold."""

    def __init__(self, line: str, *, as_json: bool) -> None:
        self._line = line
        self._as_json = as_json
        self._printing = threading.Lock()
        self.holds = True

    def row(self, case: str, *figures: Figure) -> None:
        """Print what was measured in one case."""
        holds = all(figure.holds for figure in figures)
        with self._printing:
            self.holds = self.holds and holds
            if self._as_json:
                told = {figure.name: figure.value for figure in figures}
                line = {"line": self._line, "case": case, "holds": holds, **told}
                print(json.dumps(line), flush=True)
                return
            said = " · ".join(map(str, figures))
            verdict = "ok " if holds else "NOT"
            print(f"{verdict} {self._line:>3} {case:<38} {said}", flush=True)

    def run(self, cases: Mapping[str, Callable[[], object]], at_once: int) -> None:
        """Run cases, some at once, each of which prints its row; tell who came to no end.

        They mostly wait; more than a few would wait for each other.
        """
        with ThreadPoolExecutor(at_once) as threads:
            running = {threads.submit(do): case for case, do in cases.items()}
            for done in as_completed(running):
                error = done.exception()
                if error is not None:
                    self.row(f"{running[done]}: {error!r}", Figure("ended", 0, at_least=1))

    @property
    def exit_code(self) -> int:
        """1 where a line does not hold."""
        return 0 if self.holds else 1


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return the words that every script takes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer events, fewer rounds")
    parser.add_argument("--json", action="store_true", help="a line of JSON a row")
    return parser
