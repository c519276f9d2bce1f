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
import requests.adapters

from .. import _clock
from .._json import to_json
from ._deadline import Deadline, pools_within, was_heard

_CONNECT_SECONDS = 5.0
_TOTAL_SECONDS = 30.0  # the slowest answer that is still waited for
_MAX_ANSWER_BYTES = 262_144
_CHUNK_BYTES = 8192
_PROXIES = ("http", "https", "all")
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
    """Nothing came back, or nothing whole: nobody knows what the server did.

    Unless it was not heard: then no connection was made, and the server did nothing.
    """

    def __init__(self, why: str, *, is_heard: bool = True) -> None:
        super().__init__(why)
        self.is_heard = is_heard


class Connection:
    """Requests to one origin, over one connection. For one thread."""

    def __init__(self, deadline: Deadline | None = None) -> None:
        self._deadline = deadline or Deadline()
        self._session = _Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(self._deadline))
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
        self._deadline.begin(_TOTAL_SECONDS)
        # What is on this machine is not to leave it by a proxy that the environment names.
        proxies: Any = dict.fromkeys(_PROXIES) if _is_loopback(url) else {}
        try:
            with self._session.request(
                method,
                url,
                headers={"Content-Type": "application/json", **(headers or {})},
                data=None if body is None else _bytes_of(body),
                proxies=proxies,
                timeout=(_CONNECT_SECONDS, _TOTAL_SECONDS),
                allow_redirects=False,
                stream=True,
            ) as response:
                return Answer(
                    response.status_code,
                    _parsed(_read(response)),
                    _seconds_of(response.headers.get("Retry-After")),
                )
        # What requests raises is an OSError. So is a CA bundle that is not there, and a
        # host that is no name is a ValueError: those it lets pass.
        except (OSError, ValueError) as error:
            raise NoAnswerError(type(error).__name__, is_heard=was_heard(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


class _Session(requests.Session):
    """Asks the environment once for each address.

    It takes as long as the rest of a request. Proxies and certificates are those of the
    connection, which stays.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[str, str], dict[str, Any]] = {}

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """Return what holds for a request to this address."""
        address = urlsplit(url)[:2]
        if address not in self._known:
            self._known[address] = super().merge_environment_settings(
                url, proxies, stream, verify, cert
            )
        return self._known[address]


class _Adapter(requests.adapters.HTTPAdapter):
    """What a session sends with, every answer within one deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Let every connection know the deadline."""
        super().init_poolmanager(*args, **kwargs)
        self._set_deadline(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Let connections through a proxy know the deadline, too."""
        is_new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **kwargs)
        if is_new:
            self._set_deadline(manager)
        return manager

    def _set_deadline(self, manager: Any) -> None:
        pools = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = pools_within(self._deadline, pools)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bytes_of(body: Any) -> bytes:
    # As they are, and not as `\u0416`, which is three times as long: a batch is bounded by
    # what its lines take.
    try:
        return to_json(body)
    except (TypeError, ValueError):  # what UTF-8 cannot say is no text
        return json.dumps(body, ensure_ascii=False).encode(errors="replace")


def _read(response: requests.Response) -> bytes:
    content = bytearray()
    for chunk in response.iter_content(_CHUNK_BYTES):
        content += chunk
        if len(content) > _MAX_ANSWER_BYTES:
            message = "the answer is too long"
            raise requests.ConnectionError(message)
    length = response.headers.get("Content-Length", "")
    is_plain = length.isdecimal() and "Content-Encoding" not in response.headers
    if is_plain and len(content) < int(length):  # urllib3 tells only since its version 2
        message = "the answer was cut"
        raise requests.ConnectionError(message)
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
