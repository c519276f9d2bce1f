"""A Chromium without a window, driven by its DevTools protocol: what a person would do.

The protocol: https://chromedevtools.github.io/devtools-protocol/.
"""

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE_SECONDS = 30.0
LOOK_EVERY_SECONDS = 0.02


def found() -> str | None:
    """Return where a Chromium is installed, if one is."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """What is shown in the one tab of a browser."""

    def __init__(self, connection: ClientConnection) -> None:
        """Take the connection to the tab."""
        self._connection = connection
        self._numbers = itertools.count(1)

    def open(self, url: str) -> None:
        """Go there, and wait until all of it is there."""
        self._ask("Page.navigate", url=url)
        self.wait_for(
            f"location.href.startsWith({url!r}) && document.readyState", "complete"
        )

    def value_of(self, script: str) -> Any:
        """Return what a script is worth in the page."""
        said = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        return said["result"].get("value")

    def wait_for(self, script: str, wanted: object = True) -> None:  # noqa: FBT002 - a value
        """Wait until a script is worth what is wanted."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (value := self.value_of(script)) != wanted:
            assert time.monotonic() < deadline, f"{script} is still {value!r}"
            time.sleep(LOOK_EVERY_SECONDS)

    def write(self, field: str, text: str) -> None:
        """Type a text into a field, in place of what it holds."""
        self.value_of(f"document.querySelector({field!r}).select()")
        self._ask("Input.insertText", text=text)

    def press(self, button: str) -> None:
        """Press a button with the mouse, in its middle."""
        x, y, width, height = self.value_of(
            f"(({{x, y, width, height}}) => [x, y, width, height])"
            f"(document.querySelector({button!r}).getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._ask(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x + width / 2,
                y=y + height / 2,
                button="left",
                clickCount=1,
            )

    def _ask(self, method: str, **parameters: object) -> Any:
        number = next(self._numbers)
        asked = {"id": number, "method": method, "params": parameters}
        self._connection.send(json.dumps(asked))
        while True:
            said = json.loads(self._connection.recv(timeout=PATIENCE_SECONDS))
            if said.get("id") == number:  # the rest is news that nobody asked for
                assert "error" not in said, said
                return said["result"]


@contextmanager
def chromium_page(browser: str) -> Iterator[Page]:
    """Start a browser that knows nothing, yield its tab, and end it."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:  # it goes on writing
        running = subprocess.Popen(
            [
                browser,
                "--headless=new",
                "--disable-gpu",
                "--no-first-run",
                *(["--no-sandbox"] if os.getuid() == 0 else []),  # as root there is none
                "--remote-debugging-port=0",
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            stderr=subprocess.DEVNULL,
        )
        try:
            with connect(_tab_of(Path(profile))) as connection:
                yield Page(connection)
        finally:
            running.terminate()
            running.wait(PATIENCE_SECONDS)


def _tab_of(profile: Path) -> str:
    """Return where the tab of a browser that has just been started listens."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_SECONDS)
        try:
            port = (profile / "DevToolsActivePort").read_text().splitlines()[0]
            tabs = httpx.get(f"http://127.0.0.1:{port}/json/list", trust_env=False).json()
        except (OSError, IndexError, httpx.TransportError):
            continue  # it is not there yet, or not whole
        for tab in tabs:
            if tab["type"] == "page":
                return str(tab["webSocketDebuggerUrl"])
    message = "the browser opens no tab"
    raise TimeoutError(message)
