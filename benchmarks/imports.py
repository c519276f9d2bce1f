"""What `import trubrics_trace` adds to `import wrapt, structlog`: milliseconds, modules.

    python -m benchmarks.imports [--quick]

Each round is a process of its own, and measures both; of all rounds the fastest counts,
because a busy machine only ever adds. Exits with 1 beyond the bounds of the design.
"""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.results import keep

ROUNDS = 5 if "--quick" in sys.argv else 20  # what is quick is not kept
MOST_MILLISECONDS = 15.0
MOST_MODULES = 25

MEASURE = """
import sys, time
import structlog, wrapt
before, started = set(sys.modules), time.perf_counter()
{statement}
print((time.perf_counter() - started) * 1000, len(set(sys.modules) - before))
"""

STATEMENTS = {
    "import trubrics_trace": True,  # what the bounds are for
    "from trubrics_trace import trubrics_trace, trubrics_scope": True,
    "from trubrics_trace import configure": False,
    "from trubrics_trace import TrubricsCallbackHandler": False,
}


def measured(statement: str) -> tuple[float, int]:
    """Return the milliseconds and modules of the fastest of many imports."""
    rounds = []
    # As on a user's machine: what was compiled once is not compiled again.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    for _ in range(ROUNDS):
        printed = subprocess.run(
            [sys.executable, "-c", MEASURE.format(statement=statement)],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        ).stdout.split()
        rounds.append((float(printed[0]), int(printed[1])))
    return min(rounds)


def main() -> int:
    """Print a line a statement; 0 if those that are bounded are within their bounds."""
    is_within, figures = True, {}
    for statement, is_bounded in STATEMENTS.items():
        milliseconds, modules = measured(statement)
        figures[statement] = [round(milliseconds, 1), modules]
        print(f"{milliseconds:7.1f} ms {modules:5} modules  {statement}")
        if is_bounded and (milliseconds > MOST_MILLISECONDS or modules > MOST_MODULES):
            is_within = False
    if "--quick" not in sys.argv:
        told = {"unit": "added to `import wrapt, structlog`"}
        keep("imports", {**told, "columns": ("milliseconds", "modules"), **figures})
    return 0 if is_within else 1


if __name__ == "__main__":
    sys.exit(main())
