"""What the whole process shares, from `configure` to its fork or exit.

Lower rooms never call this one, and higher rooms are never imported here: what a room
wants done at installing, settling or forking it puts into a slot below.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import dataclasses
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from . import _clock, _fork, _notices
from ._configuration import notice_credentials, settings_from
from ._ledger import ledger
from ._record import Record
from ._settings import Configuration, Settings
from ._stats import FlushReport, Stats
from ._threads import start_thread
from .delivery import _delivery
from .delivery._delivery import deliveries
from .delivery._flushes import Flushes
from .errors import TelemetryError
from .pipeline._pipeline import accept as take_through_pipeline
from .scope._current import before_first_open, forget_elsewhere, prepare, switch
from .scope._scope import Scope

if TYPE_CHECKING:
    from typing_extensions import Unpack

_EXIT_SECONDS = 1.0  # the most that delivery may hold up the end of a program

when_settling: list[Callable[[], None]] = []
when_ending: list[Callable[[], None]] = []
when_forked: list[Callable[[], object]] = []

_known: dict[str, Settings] = {}  # what holds, once somebody has asked or said
_is_installed = False
_installing = threading.Lock()
_captures: list[Callable[[Record], object]] = []

# Threads that are inside the pipeline: a collection in the middle of it may end a stream,
# whose record then waits for its turn. How deep: a record that was told in such a turn may
# have made another, and so on; in an app's own `before_send` for ever.
_busy: dict[int, int] = {}
_waiting: deque[tuple[int, Record, Scope | None, Sequence[Settings]]] = deque()
_DEEPEST = 8


def settings() -> Settings:
    """Return what `configure` said; else the environment, read once."""
    known = _known.get("settings")
    if known is None:  # of two threads, or of `configure` and a thread, one is believed
        known = _known.setdefault("settings", settings_from({}))
        _obey(known)
    return known


def _obey(new: Settings) -> None:
    """Let lower rooms do as the settings say."""
    ledger.strict = new.strict
    switch.is_on = new.enabled
    notice_credentials(new)


def settings_with(**given: Any) -> Settings | None:
    """Return what holds, with these credentials in place of the usual ones.

    None among them is not given; where nothing is, the answer is None: the usual ones.
    """
    said = {name: value for name, value in given.items() if value is not None}
    if not said:
        return None
    own = settings_from(said, environment={})
    names = {"api_key", "host"} if "client" in said else set()
    names |= said.keys() - {"client"}
    if names & {"email", "password"}:
        names |= {"api_key"}  # none: who gives an e-mail means the older platform
    if names & {"api_key", "email", "password"}:
        names |= {"account"}  # the name of the usual key's is no name for this one's
    return dataclasses.replace(settings(), **{name: getattr(own, name) for name in names})


def configure(**arguments: Unpack[Configuration]) -> Settings:
    """Say where records go and how they are treated, from here on.

    Takes the fields of `Settings`, and `client=`, an official `Trubrics` object whose key
    and host are taken. What is left out comes from the environment, else is the default.
    Records that wait for the destination of before stay meant for it.

    Raises:
        ConfigurationError: An argument is unknown, of the wrong type or out of bounds.
    """
    new = settings_from(arguments)
    try:
        _settle_notes()
    finally:  # in strict mode settling raises
        deliveries.close(_EXIT_SECONDS)
        deliveries.begin_again()
        _notices.forget_said()
        forget_elsewhere()
        _known["settings"] = new
        _obey(new)
    if new.capture == "all":
        prepare()  # no scope need ever open
    return new


def install(watch_for_langchain: Callable[[], object]) -> None:
    """Let LangChain know of us, once; the first scope or handler calls this."""
    global _is_installed
    with _installing:
        if _is_installed:
            return
        watch_for_langchain()
        atexit.register(_at_exit)
        _fork.register(
            before=deliveries.hold,
            after_in_parent=deliveries.release,
            after_in_child=_after_fork_in_child,
        )
        _is_installed = True
        before_first_open.clear()
        settings()  # strict mode, said by the environment, begins here


def accept(
    record: Record, scope: Scope | None = None, recipients: Sequence[Settings] = ()
) -> None:
    """Take a record through the pipeline, to where it was meant to go.

    Never raises, save in strict mode.

    Args:
        recipients: Where it was meant to go, where that is not the usual place: the
            settings of each handler with a destination of its own. It is logged once.
    """
    thread = threading.get_ident()
    depth = _busy.get(thread)
    if depth is None:
        try:
            _busy[thread] = 0  # inside: a signal's handler may raise right after it
            _accept(record, scope, recipients or (settings(),))
        finally:
            _tell_waiting(thread)
    elif depth < _DEEPEST:
        _waiting.append((depth + 1, record, scope, recipients or (settings(),)))
    else:  # what is told records again, each time
        ledger.skip("inside_pipeline")


def is_telling() -> bool:
    """Whether this thread is inside the pipeline."""
    return threading.get_ident() in _busy


def flush(timeout: float = 5.0) -> FlushReport:
    """Send what was accepted before this call, and wait for it.

    Args:
        timeout: Seconds to wait at most. What has not arrived by then stays in the spool.

    Returns:
        A report that is true only if every one of those records was acknowledged.
        Without credentials nothing can be: it is true only where nothing waits.
    """
    deadline = _clock.monotonic() + timeout
    _settle_notes()
    return _flush_until(deadline)


async def aflush(timeout: float = 5.0) -> FlushReport:
    """Do what `flush` does, without blocking the event loop."""
    deadline = _clock.monotonic() + timeout
    _settle_notes()
    if not deliveries.pending:
        return _flush_until(0.0)
    over: Future[FlushReport] = Future()
    over.set_running_or_notify_cancel()  # who waits may be cancelled, the wait is not

    def wait() -> None:
        """Wait outside of the loop, and tell it."""
        try:
            over.set_result(_flush_until(deadline))
        except TelemetryError as error:  # strict mode: raised where it is waited for
            over.set_exception(error)

    # A thread of its own: the loop's clock may be frozen, and its threads all busy.
    try:
        start_thread(wait)
    except RuntimeError:  # there is none to be had; what waits is safe on disk
        return _flush_until(0.0)
    return await asyncio.wrap_future(over)


def shutdown(timeout: float = 5.0) -> FlushReport:
    """Flush, end the sender's thread and close the spool.

    What has not arrived stays on disk for the next process. A record that comes later is
    kept as ever, and opens delivery again.
    """
    deadline = _clock.monotonic() + timeout
    try:
        return flush(timeout)
    finally:  # in strict mode a flush raises what it met
        deliveries.close(max(0.0, deadline - _clock.monotonic()))


def stats() -> Stats:
    """Return what became of every record of this process, at one moment."""
    return dataclasses.replace(
        deliveries.stats(),
        skipped=ledger.counts("skipped"),
        noticed=ledger.counts("noticed"),
    )


@contextlib.contextmanager
def capture(take: Callable[[Record], object]) -> Iterator[None]:
    """Give records to `take`, not to a spool: no disk, no network, no thread."""
    _captures.append(take)
    try:
        yield
    finally:
        try:
            _settle_notes()
        finally:  # in strict mode settling raises
            _captures.remove(take)


def _accept(record: Record, scope: Scope | None, recipients: Sequence[Settings]) -> None:
    settings = recipients[0]  # they differ in credentials only
    if not settings.enabled:
        ledger.skip("disabled")
        return

    def keep(record: Record, line: bytes) -> None:
        if _captures:
            _captures[-1](record)
            return
        for one in recipients:
            deliveries.to(one.destination_of(record.user_id), one).keep(record, line)

    kept = take_through_pipeline(record, settings, keep)
    while kept is not None and scope is not None:
        scope.last_record_id = kept.record_id
        scope = scope.parent


def _next_waiting() -> tuple[int, Record, Scope | None, Sequence[Settings]] | None:
    try:
        return _waiting.popleft()
    except IndexError:  # another thread has taken the last
        return None


def _tell_waiting(thread: int) -> None:
    """Tell what came in the middle of another: in a collection, or a signal."""
    try:
        while _waiting and (next_one := _next_waiting()) is not None:
            _busy[thread], record, scope, recipients = next_one
            _accept(record, scope, recipients)
    finally:
        _busy.pop(thread, None)


def _flush_until(deadline: float) -> FlushReport:
    deliveries.open_again(settings())
    flushes = Flushes()
    flushes.wait(deadline)
    return flushes.report()


def _settle_notes() -> None:
    if not is_telling():  # a signal's handler may record, and then end what it came into
        _tell_waiting(threading.get_ident())
    for do in when_settling:
        do()


def _at_exit() -> None:
    """Wait for delivery only where it can be expected to happen."""
    with contextlib.suppress(TelemetryError):  # in strict mode; here nobody can catch it
        _settle_notes()
        for do in when_ending:
            do()
    is_worth_waiting = any(
        one.sender is not None and one.spool.pending and not one.sender.is_failing
        for one in deliveries.all()
    )
    if is_worth_waiting:
        with contextlib.suppress(TelemetryError):
            shutdown(_EXIT_SECONDS)
    else:
        deliveries.close(0.0)
    deliveries.revoke()


def _after_fork_in_child() -> None:
    """Begin anew: nothing of the parent's is used, sent or counted again."""
    global _installing
    _installing = threading.Lock()
    _busy.clear()
    _waiting.clear()
    ledger.reset()
    deliveries.drop_in_child()
    for do in when_forked:
        do()


_delivery.front = sys.modules[__name__]
