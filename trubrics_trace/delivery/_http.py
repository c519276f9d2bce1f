"""One kept-alive connection that never follows, and never hangs.

This is the door of `requests`. A redirect is an answer like any other, so a key never
leaves for another origin; and an answer is read to its end within a deadline, and within a
bound.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests

from .. import _clock

_CONNECT_SECONDS = 5.0
_TOTAL_SECONDS = 30.0  # the slowest answer that is still waited for
_MAX_ANSWER_BYTES = 262_144
_MAX_RETRY_AFTER_SECONDS = 24 * 3600.0  # beyond a day it is a mistake, or no number


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a status, and the body where it is JSON."""

    status: int
    body: Any = None
    retry_after_seconds: float = 0.0

    @property
    def is_success(self) -> bool:
        """Whether it is 2xx *and* a JSON object: a proxy's HTML is neither."""
        return 200 <= self.status < 300 and isinstance(self.body, dict)


class NoAnswerError(Exception):
    """Nothing came back, or nothing whole: nobody knows what the server did."""


class Connection:
    """Requests to one origin, over one connection. For one thread."""

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.headers["Accept-Encoding"] = "identity"
        self._session.headers["User-Agent"] = "trubrics-trace"
        # Said, so that requests asks no netrc file, whose password would take its place.
        self._session.auth = lambda request: request

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Answer:
        """Send one request, its body as JSON, and return the whole answer.

        Raises:
            NoAnswerError: No connection, no answer in time, or a broken one.
        """
        deadline = _clock.monotonic() + _TOTAL_SECONDS
        # What is on this machine is not to leave it by a proxy that the environment names.
        self._session.trust_env = not _is_loopback(url)
        try:
            with self._session.request(
                method,
                url,
                headers={"Content-Type": "application/json", **(headers or {})},
                data=None if body is None else json.dumps(body).encode(),
                timeout=(_CONNECT_SECONDS, _TOTAL_SECONDS),
                allow_redirects=False,
                stream=True,
            ) as response:
                content = _read(response, deadline)
                return Answer(
                    response.status_code,
                    _parsed(content),
                    _seconds_of(response.headers.get("Retry-After")),
                )
        except requests.RequestException as error:
            raise NoAnswerError(type(error).__name__) from error

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(response: requests.Response, deadline: float) -> bytes:
    content = bytearray()
    # A larger chunk is waited for until it is full: who drips would outlast the deadline.
    for chunk in response.iter_content(1):
        content += chunk
        if len(content) > _MAX_ANSWER_BYTES:
            message = "the answer is too long"
            raise requests.ConnectionError(message)
        if _clock.monotonic() > deadline:
            message = "the answer takes too long"
            raise requests.Timeout(message)
    return bytes(content)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _seconds_of(retry_after: str | None) -> float:
    """Return the seconds that `Retry-After` says (RFC 9110, 10.2.3), else 0."""
    if not retry_after:
        return 0.0
    try:
        seconds = float(retry_after)
    except ValueError:
        seconds = _seconds_until(retry_after)
    return min(max(0.0, seconds), _MAX_RETRY_AFTER_SECONDS)


def _seconds_until(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp() - _clock.wall_seconds()
    except (ValueError, TypeError, OverflowError):
        return 0.0
