"""What would have been sent, as a plain list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .. import _runtime
from .._record import PromptRecord, Record
from ._places import noted_places


@contextmanager
def capture_prompts() -> Iterator[list[PromptRecord]]:
    """Yield a list that each prompt of this process goes to during the block.

    No disk, no network, no thread. Redaction, limits and `before_send` apply as ever, and
    so does the log. Blocks may be nested: the innermost has the records. Feedback and
    events of the block go nowhere; `capture_records` has them too.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from trubrics_trace import trubrics_scope
        >>> from trubrics_trace.testing import capture_prompts
        >>> with capture_prompts() as prompts, trubrics_scope(user_id="alice"):
        ...     _ = FakeListChatModel(responses=["42"]).invoke("The answer?")
        >>> [(record.user_id, record.prompt, record.generation) for record in prompts]
        [('alice', 'The answer?', '42')]
    """
    prompts: list[PromptRecord] = []

    def take(record: Record) -> None:
        if isinstance(record, PromptRecord):
            prompts.append(record)

    with noted_places(), _runtime.capture(take):
        yield prompts


@contextmanager
def capture_records() -> Iterator[list[Record]]:
    """Yield a list of what `capture_prompts` has, and of feedback and events.

    Example:
        >>> from trubrics_trace import track_event, trubrics_scope
        >>> from trubrics_trace.testing import capture_records
        >>> with capture_records() as records, trubrics_scope(user_id="alice"):
        ...     track_event("Signed up")
        >>> [(record.kind, record.user_id) for record in records]
        [('event', 'alice')]
    """
    records: list[Record] = []
    with noted_places(), _runtime.capture(records.append):
        yield records
