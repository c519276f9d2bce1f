"""Where figures are kept: one file of results, with machine, versions and date."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

_RESULTS = Path(__file__).with_name("results.json")
_PACKAGES = ("langchain-core", "structlog", "trubrics", "trubrics-trace", "wrapt")


def kept() -> dict[str, Any]:
    """Return the figures of each benchmark that was measured."""
    known: dict[str, Any] = json.loads(_RESULTS.read_text()) if _RESULTS.exists() else {}
    return known


def keep(name: str, figures: Mapping[str, Any]) -> None:
    """Keep the figures of one benchmark, beside those of the others."""
    known = kept()
    known[name] = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "python": platform.python_version(),
        "versions": {package: version(package) for package in _PACKAGES},
        **figures,
    }
    _RESULTS.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n")
