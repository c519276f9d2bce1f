"""What is noted of running calls, and of the runs around them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from .. import _clock
from .._ledger import ledger
from .._settings import Settings
from ..scope._attributes import NOT_GIVEN, NOTHING, Attributes, merge
from ..scope._scope import Scope
from ._content import text_of
from ._user_turns import UserTurn


def whose(
    own: Attributes, config: Attributes, scope: Scope | None
) -> tuple[Attributes, Attributes]:
    """Return who asks, without a handler's own keywords, and with them."""
    inner = NOTHING if scope is None else scope.attributes
    if config is NOTHING and own is NOTHING:  # most often
        return inner, inner
    said = merge(config, inner)
    attributes = merge(own, said)
    if attributes is not inner:
        note_conflict(own, config, inner)
    return said, attributes


def note_conflict(*told: Attributes) -> None:
    """Count it where these name more than one user."""
    users = [one.user_id for one in told if one.user_id is not NOT_GIVEN]
    if len(users) > 1 and len(set(users)) > 1:
        ledger.note("user_conflict")


class Turn:
    """One running model call: what is known of it before its end.

    Attributes:
        asked: What was asked, as fields of its record.
        model: Who was asked, likewise.
        pieces: What was heard of a stream.
        said: What no handler's own keywords have said of who asks.
        is_usual: Whether it was heard of by the scope's handler alone.
        recipients: Where the record goes, by destination.
        apart: Where another user's handler sends: to that one it is the other user's.
        attempts: Those that it is one of.
        user_turn: What it is told as a part of.
        watch: What tells that nobody can report its end any more.
        watched: The calls of the task that it ends with.
        began_in_loop: Whether it did, and so might be cancelled.
    """

    first_token: float | None = None
    pieces: Sequence[str] = ()
    apart: Sequence[tuple[Settings, Attributes]] = ()
    said: Attributes = NOTHING
    is_usual = True
    attempts: Attempts | None = None
    user_turn: UserTurn | None = None
    watch: object = None
    watched: set[int] | None = None
    began_in_loop = False

    def __init__(
        self,
        record_id: str,
        parent_run_id: str | None,
        scope: Scope | None,
        attributes: Attributes,
        run_name: str | None,
        asked: Mapping[str, Any],
        model: Mapping[str, Any],
    ) -> None:
        self.record_id = record_id
        self.parent_run_id = parent_run_id
        self.scope = scope
        self.attributes = attributes
        self.run_name = run_name
        self.asked = asked
        self.model = model
        self.started_at = _clock.utc_now()
        self.started = _clock.monotonic()
        self.recipients: dict[str, Settings] = {}

    def send_to(self, recipient: Settings) -> None:
        """Have the record sent there, too."""
        self.recipients.setdefault(recipient.destination.label, recipient)

    def join(self, own: Attributes, recipient: Settings) -> None:
        """Take in what another handler of the same call says: one record, of both.

        Save where that names another user and sends to a place of its own.
        """
        note_conflict(own, self.attributes)
        theirs = merge(own, self.said)
        if self.is_usual:  # whoever was given by hand sends it, and nobody else
            self.is_usual = False
            self.recipients.clear()
            self.attributes = theirs
        is_elsewhere = recipient.destination.label not in self.recipients
        if is_elsewhere and theirs.user_id != self.attributes.user_id:
            vars(self).setdefault("apart", []).append((recipient, theirs))
            return
        self.attributes = merge(own, self.attributes)
        self.send_to(recipient)

    def note_token(self, token: object) -> None:
        """Note that something came, and what, should nothing else be left of it."""
        if self.first_token is None:
            self.first_token = _clock.monotonic()
        # A list of content blocks, where the answer may be more than text.
        piece = token if isinstance(token, str) else text_of(token, between="")
        vars(self).setdefault("pieces", []).append(piece)  # of threads, one makes the list


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that failed: its note, what there was of an answer, and when."""

    turn: Turn
    response: Any
    error: BaseException
    ended: float


@dataclasses.dataclass(slots=True)
class Attempts:
    """The attempts at one call that have failed so far."""

    failed: list[Failure] = dataclasses.field(default_factory=list)
    is_over: bool = False

    def take(self) -> list[Failure]:
        """Take all that failed, and begin anew."""
        failed, self.failed = self.failed, []
        return failed


@dataclasses.dataclass(frozen=True, slots=True)
class LiveRun:
    """A chain, tool or retriever that runs: whose it is, and its tree's name.

    Attributes:
        began_in: What its context held, open or closed.
        place: Where the app began it, if a notice may ask.
        attempts: Those at one call, where that is what it runs for.
        tries: What they are called, where that alone can show that it runs for them.
        is_outermost: Whether these end with it, and not with a run around it.
        user_turn: What its tree is told as, if as one.
        is_root: Whether that ends with it.
    """

    scope: Scope | None
    began_in: Scope | None
    root_name: str | None
    place: str | None
    attempts: Attempts | None
    tries: str | None
    is_outermost: bool
    user_turn: UserTurn | None
    is_root: bool
