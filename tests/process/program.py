"""A program run in a process of its own, as a user would run it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path


def run_program(
    source: str, spool_dir: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the source with this Python, its spool in `spool_dir`, and wait for its end."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(source), *arguments],
        env=clean_environment(spool_dir, **environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def output_of(source: str, spool_dir: Path, **environment: str) -> str:
    """Return what the source prints; fails where it fails."""
    ended = run_program(source, spool_dir, **environment)
    assert 0 == ended.returncode, ended.stderr
    return ended.stdout.strip()


def clean_environment(spool_dir: Path, **environment: str) -> dict[str, str]:
    """Return this environment without any setting of ours but those given."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("TRUBRICS")
    }
    return {
        **kept,
        # A program whose disk is full would leave half a compiled module behind.
        "PYTHONDONTWRITEBYTECODE": "1",
        "TRUBRICS_TRACE_SPOOL_DIR": str(spool_dir),
        **environment,
    }
