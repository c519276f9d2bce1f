"""Everything that is measured, one after the other: also as `make bench`.

    python -m benchmarks [--quick]

Writes the figures to `benchmarks/results.json`, drawings to `docs/`, and what pages quote
of them into those pages; in a hurry nothing is written. What is not within its bounds is
named at the end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

BENCHMARKS = (
    "overhead",
    "overhead --rate 200",
    "wrapping",
    "imports",
    "scale",
    "delivery",
    "memory",
)


def main() -> int:
    """Measure everything, and have the pages quote it; 0 if all is within its bounds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a look, nothing is kept")
    is_quick = parser.parse_args().quick
    beyond = []
    for name in BENCHMARKS:
        print(f"\n{name}", flush=True)
        words = f"{__package__}.{name}".split() + ["--quick"] * is_quick
        command = [sys.executable, "-m", *words]
        if subprocess.run(command, check=False).returncode:
            beyond.append(name)
    if not is_quick:
        subprocess.run([sys.executable, "-m", f"{__package__}.page"], check=True)
    if beyond:
        print(f"\nnot within its bounds, or not measured: {', '.join(beyond)}")
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
