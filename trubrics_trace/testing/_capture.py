"""`capture_prompts()`: what would have been sent, as a plain list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .. import _runtime
from .._record import Record


@contextmanager
def capture_prompts() -> Iterator[list[Record]]:
    """Yield a list that every record of this process goes to, while the block runs.

    No disk, no network, no thread. Redaction, limits and `before_send` apply as ever, and
    so does the log. Blocks may be nested: the innermost has the records.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from trubrics_trace import trubrics_scope
        >>> from trubrics_trace.testing import capture_prompts
        >>> with capture_prompts() as records, trubrics_scope(user_id="alice"):
        ...     _ = FakeListChatModel(responses=["42"]).invoke("The answer?")
        >>> [(record.user_id, record.prompt, record.generation) for record in records]
        [('alice', 'The answer?', '42')]
    """
    with _runtime.capture() as records:
        yield records
