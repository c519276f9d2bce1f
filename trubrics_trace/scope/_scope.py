"""A scope: who is asking, while it is open, and what was said since.

Its attributes are read through to its parent's, so that who is identified later is known
to everything inside; they are merged once, and again only after an `identify`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from weakref import ref

from ._attributes import NOT_GIVEN, NOTHING, Attributes, Given, merge

# Another object after each `identify` of this process: a scope that merged at an older
# epoch merges again. An object, for two threads may count to the same number.
_identify_epoch = object()

_UNMERGED: tuple[object, Attributes] = (None, NOTHING)


class Scope:
    """Who is asking, while it is open.

    Its attributes are its own, read through to its parent's. Safe to read from any
    thread and task. `tags` leave out "langchain", which every record bears; `is_enabled`
    says whether calls inside are recorded; `last_record_id` is that of the last record.
    """

    _merged: tuple[object, Attributes]  # since which epoch, and what

    __slots__ = (
        "__weakref__",
        "_merged",
        "_own",
        "_stood_in",
        "called",
        "is_enabled",
        "is_open",
        "last_record_id",
        "names_its_own_user",
        "opener",
        "parent",
        "stands_in",
    )

    def __init__(
        self,
        own: Attributes = NOTHING,
        parent: Scope | None = None,
        called: str | None = None,
        *,
        enabled: bool = True,
        opener: object = None,
    ) -> None:
        # What the work is called where nobody gave it a run_name.
        self.called: str | None = called or (parent.called if parent else None)
        self.is_open: bool = True
        self.last_record_id: str | None = None
        self.opener: object = opener
        self.stands_in: Scope | None = None  # what is around its block or step, now
        self._stood_in: tuple[ref[Scope], ...] = ()  # the same, once closed
        self.parent: Scope | None = parent
        self.is_enabled: bool = enabled and (parent is None or parent.is_enabled)
        self.names_its_own_user: bool = own.user_id is not NOT_GIVEN
        self._own = own
        self._merged = _UNMERGED  # until somebody asks

    @property
    def is_root(self) -> bool:
        """Whether it inherits from no other: a door's, or a fresh one."""
        return self.parent is None

    @property
    def attributes(self) -> Attributes:
        """What holds in this scope: its parent's attributes and its own over them."""
        epoch = _identify_epoch
        merged_at, merged = self._merged
        if merged_at is not epoch:
            parent, own = self.parent, self._own
            merged = own if parent is None else merge(parent.attributes, own)
            self._merged = epoch, merged  # at once: another thread may merge, too
        return merged

    @property
    def user_id(self) -> str | None:
        """Who is asking; None is nobody."""
        return _said(self.attributes.user_id)

    @property
    def thread_id(self) -> str | None:
        """The conversation."""
        return _said(self.attributes.thread_id)

    @property
    def session_id(self) -> str | None:
        """The session, where the app has its own notion of one."""
        return _said(self.attributes.session_id)

    @property
    def assistant_id(self) -> str | None:
        """Who answers; on Trubrics the model's name where nothing is said."""
        return _said(self.attributes.assistant_id)

    @property
    def run_name(self) -> str | None:
        """What the work is called: the name given, else the traced function's."""
        given = self.attributes.run_name
        return self.called if given is NOT_GIVEN else given

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags, outer first."""
        return self.attributes.tags

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Everything else that was said."""
        return self.attributes.metadata

    def encloses(self, other: Scope | None) -> bool:
        """Whether `other` is this scope, or was opened somewhere inside it.

        Inside is below it, as a child, or within it, in a block or a step: a fresh scope
        inherits nothing, and carried work comes from elsewhere, but while they are open
        they know where they stand.
        """
        return other is not None and any(scope is self for scope in _all_around(other))

    @property
    def around(self) -> tuple[Scope | None, ...]:
        """What it is below, and what it stands in, as far as that is still held."""
        return (self.parent, self.stands_in, *(held() for held in self._stood_in))

    @property
    def place(self) -> str | None:
        """Where its block stands, or what is traced."""
        return getattr(self.opener, "_place", self.called and f"{self.called}()")

    @property
    def says_nothing(self) -> bool:
        """Whether everything that it says is its parent's."""
        parent = self.parent
        return (
            parent is not None
            and self._own is NOTHING
            and self.called == parent.called
            and self.is_enabled == parent.is_enabled
        )

    def close(self) -> None:
        """Be current nowhere from here on. Closing twice is closing once."""
        self.is_open = False
        around = self.stands_in
        if around is not None and around is not self.parent:
            # Held strongly, each request of a connection would hold the one before.
            stands_in_nothing = around.around == (None, None)  # most often
            each = (around,) if stands_in_nothing else _all_around(around)
            self._stood_in = tuple(map(ref, each))
        self.stands_in = None

    def learn(self, own: Attributes) -> None:
        """Take the attributes that were given to it, where they had to be awaited."""
        self.names_its_own_user = own.user_id is not NOT_GIVEN
        self.identify(own)

    def identify(self, attributes: Attributes) -> None:
        """Say who it is, for everything that reads this scope from here on.

        This is no user of its own: the next `identify` may correct it.
        """
        global _identify_epoch
        self._own = merge(self._own, attributes)
        _identify_epoch = object()

    def __repr__(self) -> str:
        said = {
            name: value
            for name in ("user_id", "thread_id", "run_name", "tags")
            if (value := getattr(self, name))
        }
        words = [f"{name}={value!r}" for name, value in said.items()]
        return f"<Scope {' '.join(['open' if self.is_open else 'closed', *words])}>"


def _all_around(scope: Scope) -> Iterator[Scope]:
    """Yield the scope and all that it stands in, each once."""
    waiting: list[Scope | None] = [scope]
    seen = set()
    while waiting:
        found = waiting.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            yield found
            waiting += found.around


class Nowhere(Scope):
    """What stands for no scope: closed, and nobody's.

    For work that was carried from where none is open, while it runs.

    Attributes:
        is_outside: Whether none ever was: then the work is not late, but outside.
    """

    __slots__ = ("is_outside",)

    def __init__(self, *, is_outside: bool) -> None:
        super().__init__()
        self.is_open = False
        self.is_outside = is_outside


def _said(given: Given) -> str | None:
    return None if given is NOT_GIVEN else given
