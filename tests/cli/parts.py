"""What the tests of the commands share: a spool with lines in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.delivery.parts import die, spool_in
from trubrics_trace.delivery._directory import make_private


def root_with(tmp_path: Path, *lines: bytes, label: str = "local") -> Path:
    """Return the spool that the environment names, with these lines of a dead process."""
    root = tmp_path / "spool"
    assert make_private(root)
    spool = spool_in(root / label)
    for one in lines:
        spool.put(one)
    die(spool)
    return root


def behind_spool(printed: str) -> str:
    """Return what is printed behind the first line, which says where the spool is."""
    first, _, rest = printed.partition("\n")
    assert first.startswith("spool: /")
    return rest


def records_in(printed: str) -> list[dict[str, Any]]:
    """Return what was printed as lines of JSON."""
    return [json.loads(one) for one in printed.splitlines()]


def ids_in(printed: str) -> list[str]:
    """Return the ids of the records that were printed as lines of JSON."""
    return [one["record_id"] for one in records_in(printed)]
