"""An app in a process of its own, and what it says on its way and at its end.

What it prints is read line by line, in a thread: a number for each event whose call has
returned, and at the end one line of JSON, how its counts stand.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .server import KEY

_ENDED_SECONDS = 60.0  # what outlives its own deadline by that much hangs


class App:
    """One of `benchmarks.faults.apps`, running with this spool and this host."""

    def __init__(
        self, name: str, spool_dir: Path, host: str, *arguments: object, **settings: str
    ) -> None:
        self.said: list[str] = []
        self.errors: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.apps.{name}", *map(str, arguments)],
            env=environment(spool_dir, host, **settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self._readers = [
            threading.Thread(target=self._read, args=(stream, into), daemon=True)
            for stream, into in (
                (self._process.stdout, self.said),
                (self._process.stderr, self.errors),
            )
        ]
        for reader in self._readers:
            reader.start()

    def wait(self, timeout: float) -> int:
        """Wait for its end and return its exit code; what hangs is killed.

        Raises:
            TimeoutError: It had to be killed.
        """
        try:
            code = self._process.wait(timeout + _ENDED_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            message = f"{self._process.args!r} did not end: {self.errors[-5:]}"
            raise TimeoutError(message) from None
        self._join()
        return code

    def kill(self, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal, and wait for its end."""
        self._process.send_signal(with_signal)
        self._process.wait(_ENDED_SECONDS)
        self._join()

    def ended(self, timeout: float) -> dict[str, Any]:
        """Wait for its end and return the JSON that it said last.

        Raises:
            RuntimeError: It ended badly, or said nothing.
        """
        code = self.wait(timeout)
        if code or not self.said:
            message = f"the app ended with {code}: {''.join(self.errors[-20:])}"
            raise RuntimeError(message)
        told: dict[str, Any] = json.loads(self.said[-1])
        return told

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait_until_said(self, lines: int, timeout: float) -> None:
        """Wait until it has said that many lines, or has ended."""
        deadline = time.monotonic() + timeout
        while len(self.said) < lines and self.is_running and time.monotonic() < deadline:
            time.sleep(0.01)

    def _join(self) -> None:
        for reader in self._readers:
            reader.join()

    @staticmethod
    def _read(stream: Any, into: list[str]) -> None:
        with stream:
            for line in stream:  # not `extend`: what it says is watched meanwhile
                into.append(line)  # noqa: PERF402


def environment(spool_dir: Path, host: str, **settings: str) -> dict[str, str]:
    """Return this environment without any setting of ours but those given."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("TRUBRICS")
    }
    return {
        **kept,
        "TRUBRICS_API_KEY": KEY,
        "TRUBRICS_HOST": host,
        "TRUBRICS_TRACE_SPOOL_DIR": str(spool_dir),
        **settings,
    }


@contextmanager
def spool() -> Iterator[Path]:
    """Make a directory for a spool, on a disk, and remove it after the block."""
    directory = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
