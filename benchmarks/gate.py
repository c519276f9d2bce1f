"""Whether a recorded call executes more than it did: in CI, where no time can be trusted.

    python -m benchmarks.gate            also as `make gate`
    python -m benchmarks.gate --write    what is counted now is the ceiling from now on

The ceilings stand in `benchmarks/gate.json`, by Python, for each counts its own
instructions. Each count is made in a process of its own, of a call that is recorded, logged
by structlog and kept in the spool.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_suffix(".json")
KINDS = ("sync", "async")
WORDS = ("instructions", "calls")
MOST_PERCENT = 5  # beyond its ceiling: what a fix may cost without a new table
MOST_SHOWN = 10

PYTHON = ".".join(platform.python_version_tuple()[:2])
_COUNTED_WITH = ("langchain-core", "structlog")

# By owner (whose code it is), then by word, then by function: what one call executes.
Found = Mapping[str, Mapping[str, Mapping[str, int]]]
Ceilings = Mapping[str, Mapping[str, int]]


def excesses(ceilings: Ceilings, found: Found) -> Iterator[str]:
    """Yield what was counted beyond its ceiling: whose it is, and by how much."""
    for owner, words in ceilings.items():
        for word, ceiling in words.items():
            count = sum(found[owner][word].values())
            more = count - ceiling
            if more > ceiling * MOST_PERCENT / 100:
                share = f" ({100 * more / ceiling:.0f} %)" if ceiling else ""
                yield (
                    f"{owner} executes {count:,} {word}, {more:,}{share} more than "
                    f"{ceiling:,}"
                )


def has_room(ceilings: Ceilings, found: Found) -> bool:
    """Whether something has become cheaper by so much that a new ceiling would hold it."""
    return any(
        sum(found[owner][word].values()) < ceiling * (1 - MOST_PERCENT / 100)
        for owner, words in ceilings.items()
        for word, ceiling in words.items()
    )


def most_expensive(found: Found) -> Iterator[str]:
    """Yield a line for each of the ten functions that execute most."""
    merged = {
        f"{owner}: {function}": count
        for owner, words in found.items()
        for function, count in words["instructions"].items()
    }
    for name in sorted(merged, key=lambda name: -merged[name])[:MOST_SHOWN]:
        yield f"{merged[name]:8,}  {name}"


def totals(found: Found) -> dict[str, dict[str, int]]:
    """Return the sums over all functions."""
    return {
        owner: {word: sum(words[word].values()) for word in WORDS}
        for owner, words in found.items()
    }


def count(kind: str) -> Any:
    """Return what a call executes, counted in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not is_watched_by(name)}
    printed = subprocess.run(
        [sys.executable, "-m", __spec__.name, "--count", kind],
        env={**kept, "PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    return json.loads(printed.splitlines()[-1])


def is_watched_by(variable: str) -> bool:
    """Whether a variable would have the process trace itself, or record otherwise."""
    return variable.startswith(("COVERAGE_", "TRUBRICS_"))


def print_count(kind: str) -> None:
    """Print what a call executes in this process."""
    from benchmarks.counting import counted
    from benchmarks.ways import recording

    with recording("and a durable spool", "http://127.0.0.1:9") as way:
        found = counted(way, kind)
    print(json.dumps({owner: one.by_function() for owner, one in found.items()}))


def write(found: Mapping[str, Found]) -> None:
    """Make what was counted the ceilings of this Python."""
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    table[PYTHON] = {
        "with": {package: version(package) for package in _COUNTED_WITH},
        **{kind: totals(found[kind]) for kind in KINDS},
    }
    ordered = dict(sorted(table.items(), key=lambda row: float(row[0][2:])))
    TABLE.write_text(json.dumps(ordered, indent=2) + "\n")


def is_within(row: Mapping[str, Any], found: Mapping[str, Found]) -> bool:
    """Say what is beyond its ceiling, and where to look; true where nothing is."""
    beyond = [
        f"{kind}: {one}" for kind in KINDS for one in excesses(row[kind], found[kind])
    ]
    if not beyond:
        if any(has_room(row[kind], found[kind]) for kind in KINDS):
            print(
                "\nless than its ceilings: python -m benchmarks.gate --write holds it there"
            )
        return True
    print("\na recorded call has become more expensive:", *beyond, sep="\n  ")
    for kind in KINDS:
        print(f"\nmost of a call, {kind}, in instructions:")
        print(*most_expensive(found[kind]), sep="\n")
    for package, told in row["with"].items():
        if told != version(package):
            print(f"\nthe ceilings are of {package} {told}, and here is {version(package)}")
    print("\nif it is worth that: python -m benchmarks.gate --write, and say why")
    return False


def main() -> int:
    """Print what a call executes; 1 if that is beyond its ceilings."""
    if "--count" in sys.argv:
        print_count(sys.argv[-1])
        return 0
    is_writing = "--write" in sys.argv
    row = json.loads(TABLE.read_text()).get(PYTHON) if TABLE.exists() else None
    if row is None and not is_writing:
        print(f"no ceilings are known for Python {PYTHON}: nothing is compared")
        return 0
    found = {kind: count(kind) for kind in KINDS}
    for kind in KINDS:
        for owner, words in totals(found[kind]).items():
            told = ", ".join(f"{words[word]:,} {word}" for word in WORDS)
            print(f"{kind:6} {owner:15} {told}")
    if row is None or is_writing:
        write(found)
        return 0
    return 0 if is_within(row, found) else 1


if __name__ == "__main__":
    sys.exit(main())
