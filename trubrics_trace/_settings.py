"""What `configure` takes and `Settings` holds: where records go, and how."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias, TypedDict
from urllib.parse import urlsplit

from ._record import Record

DEFAULT_HOST = "https://app.trubrics.com/api/ingestion"  # the official client's default
PLATFORM_HOST = "https://firestore.googleapis.com"
MIB = 1024 * 1024
DAY_SECONDS = 24 * 3600.0

BeforeSend = Callable[[Record], "Record | None"]
Redactor = Callable[[str], str]
PatternName: TypeAlias = Literal[
    "url_credentials", "jwt", "api_key", "email", "iban", "card", "ip", "phone"
]
OnError = Callable[[BaseException, "list[Record]"], object]


@dataclasses.dataclass(frozen=True, slots=True)
class Destination:
    """Where a record was meant to go: a platform's host, and an account there.

    What was spooled for one destination is never sent to another, so both are part of
    its label, and the label is a directory of the spool.
    """

    platform: Literal["ingestion", "platform", "local"]
    host: str = ""
    account: str = ""
    label: str = dataclasses.field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self._label())

    def _label(self) -> str:
        """Return its directory's name: readable, and unlike that of any other."""
        if self.platform == "local":
            return "local"
        readable = re.sub(r"[^a-z0-9.-]", "-", (urlsplit(self.host).hostname or "host"))
        return f"{readable[:60]}-{fingerprint(f'{self.host} {self.account}')}"


LOCAL = Destination("local")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `configure` takes; each is described in `docs/settings.md`.

    Times are seconds, sizes are bytes, lengths are characters. Secrets are not shown by
    `repr`.
    """

    api_key: str | None = dataclasses.field(default=None, repr=False)
    host: str = DEFAULT_HOST
    email: str | None = dataclasses.field(default=None, repr=False)
    password: str | None = dataclasses.field(default=None, repr=False)
    project: str = "default"
    account: str | None = None
    enabled: bool = True
    spool_dir: str | None = None
    spool_max_bytes: int = 256 * MIB
    spool_max_age: float = 30 * DAY_SECONDS
    keep_delivered: float = 0.0
    flush_interval: float = 5.0
    batch_size: int = 100
    sample_rate: float = 1.0
    capture_content: bool = True
    max_text_length: int = 32_768
    log_messages: bool = False
    console: bool = False
    anonymous_user: str = "anonymous"
    environment: str | None = None
    strict: bool = False
    capture: Literal["scoped", "all"] = "scoped"
    record: Literal["calls", "root"] = "calls"
    # Not shown: a bound method or a partial shows what it is bound to.
    redact: tuple[Redactor | PatternName, ...] = dataclasses.field(default=(), repr=False)
    pseudonymize: bytes | None = dataclasses.field(default=None, repr=False)
    before_send: BeforeSend | None = dataclasses.field(default=None, repr=False)
    on_error: OnError | None = dataclasses.field(default=None, repr=False)
    # What every record asks, found out once.
    destination: Destination = dataclasses.field(init=False, compare=False, repr=False)
    changes_content: bool = dataclasses.field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "destination", self._destination())
        changes = bool(self.redact or self.pseudonymize) or not self.capture_content
        object.__setattr__(self, "changes_content", changes)

    def destination_of(self, user_id: str | None) -> Destination:
        """Return where a user's records go: nobody's may be told to stay."""
        return self.destination if user_id or self.anonymous_user else LOCAL

    def _destination(self) -> Destination:
        """Return where records go: today's platform, the older one, or only here."""
        if self.api_key:
            return Destination(
                "ingestion", self.host, self.account or fingerprint(self.api_key)
            )
        if self.email and self.password:
            account = self.account or f"{self.email} {self.project}"
            return Destination("platform", PLATFORM_HOST, account)
        return LOCAL


class Configuration(TypedDict, total=False):
    """What `configure` takes by keyword; None is not given.

    Numbers and truths may be given as text, read as the environment's is.
    """

    api_key: str | None
    host: str | None
    email: str | None
    password: str | None
    project: str | None
    account: str | None
    client: object
    enabled: bool | None
    spool_dir: str | os.PathLike[str] | None
    spool_max_bytes: int | None
    spool_max_age: float | None
    keep_delivered: float | None
    flush_interval: float | None
    batch_size: int | None
    sample_rate: float | None
    capture_content: bool | None
    max_text_length: int | None
    log_messages: bool | None
    console: bool | None
    anonymous_user: str | None
    environment: str | None
    strict: bool | None
    capture: Literal["scoped", "all"] | None
    record: Literal["calls", "root"] | None
    redact: (
        Redactor | PatternName | Literal["all"] | Iterable[Redactor | PatternName] | None
    )
    pseudonymize: str | bytes | None
    before_send: BeforeSend | None
    on_error: OnError | None


def fingerprint(secret: str) -> str:
    """Return twelve characters that tell secrets apart and give none away."""
    return hashlib.sha256(secret.encode()).hexdigest()[:12]
