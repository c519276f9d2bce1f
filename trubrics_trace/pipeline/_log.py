"""Each record as one structured event: the only door of structlog.

Where the app has configured structlog, the event goes through the app's own processors,
whenever it was configured. Where it has not, the event is one line of JSON at INFO on the
standard library's logger `trubrics_trace`, which prints nothing unless the app asks.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timedelta
from typing import Any

import structlog

from .. import _notices
from .._record import (
    HOLDERS,
    EventRecord,
    FeedbackRecord,
    PromptRecord,
    Record,
    field_names,
    thawed,
)
from .._settings import Settings

LOGGER_NAME = _notices.logger.name


def log(record: Record, settings: Settings, said: dict[str, Any] | None = None) -> None:
    """Tell the record to whoever listens.

    Args:
        said: What `record.to_dict()` returns, where that is known already.

    Raises:
        BaseException: What a processor of the app raises.
    """
    if structlog.is_configured():
        fields = _fields(said or record.to_dict(), settings)
        # What the record does not say, the app's own context must not say for it.
        for name in structlog.contextvars.get_contextvars():
            if name in field_names(type(record)):
                fields.setdefault(name, None)
        logger = _logger()
        is_error = isinstance(record, PromptRecord) and record.status == "error"
        (logger.warning if is_error else logger.info)(record.event, **fields)
    elif _notices.logger.isEnabledFor(logging.INFO):
        said = said or record.to_dict()
        fields = {"event": record.event, **_fields(said, settings)}
        line = json.dumps(fields, default=str, ensure_ascii=False)
        _notices.logger.info("%s", line)


# Who logs while a configuration holds that lets loggers be kept, and where they print to.
_kept: tuple[dict[str, Any], tuple[Any, Any], Any] | None = None


def _logger() -> Any:
    """Return a logger of the app's structlog, as it is configured now.

    One that is kept longer would keep the configuration of its first use, and the app may
    configure after us; and its stream, which is another `sys.stdout` in each test.
    """
    global _kept
    config, streams = structlog.get_config(), (sys.stdout, sys.stderr)
    if _kept is not None:
        known, known_streams, logger = _kept
        # The list itself, which `structlog.testing.capture_logs` changes.
        is_same = known == config and known["processors"] is config["processors"]
        if is_same and known_streams == streams:
            return logger
    logger = structlog.get_logger(LOGGER_NAME).bind()
    logger = getattr(logger, "sync_bl", logger)  # an async one would need awaiting
    if config["cache_logger_on_first_use"]:
        _kept = config, streams, logger
    return logger


def print_line(record: Record) -> None:
    """Tell people the record, on stderr; one write, so threads do not mix."""
    sys.stderr.write(f"{console_line(record)}\n")


def console_line(record: Record) -> str:
    """Return the record as one line for people, some 160 characters at most."""
    who = _short(record.user_id or "nobody", 24)
    when = _ended_at(record)
    if isinstance(record, PromptRecord):
        tokens = f"{_count(record.input_tokens)}→{_count(record.output_tokens)} tokens"
        return (
            f"{when}  {who:<12} {record.status:<9} "
            f"{_short(record.prompt, 40)!r} → {_short(record.generation or '', 40)!r}"
            f"  {tokens}  {record.latency_seconds:.2f} s"
        )
    if isinstance(record, FeedbackRecord):
        return f"{when}  {who:<12} feedback  {record.type} {record.score!r}"
    name = record.event_name if isinstance(record, EventRecord) else record.kind
    return f"{when}  {who:<12} event     {_short(name, 60)!r}"


def _ended_at(record: Record) -> str:
    """Return the time of day it ended at, in UTC: lines come in that order."""
    lasted = record.latency_seconds if isinstance(record, PromptRecord) else 0.0
    try:
        ended = datetime.fromisoformat(record.started_at) + timedelta(seconds=lasted)
    except (ValueError, TypeError, OverflowError):  # as `before_send` may leave it
        return "--:--:--"
    return ended.strftime("%H:%M:%S")


def _fields(said: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Return what a record says, the app's processors' own to change."""
    fields = said.copy()
    fields.pop("kind", None)
    if not settings.log_messages:
        fields.pop("messages", None)
    for name in HOLDERS & fields.keys():
        fields[name] = thawed(fields[name])
    return fields


def _count(tokens: int | None) -> str:
    return "?" if tokens is None else str(tokens)


def _short(text: str, length: int) -> str:
    line = " ".join(text[: 4 * length].split())
    line = "".join(one if one.isprintable() else "?" for one in line)
    return line if len(line) <= length else f"{line[: length - 1]}…"
