"""The scope that sends a Celery task, opened anew in the task's worker.

It travels as one header of the message, as JSON text, which every broker carries. In the
worker it is a root: nothing of what the worker did before is inherited.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack, closing
from typing import Any

from celery import Celery, Task, signals

from .._frozen import FrozenDict
from .._ledger import ledger
from ..scope._attributes import (
    IDENTITY_NAMES,
    NOT_GIVEN,
    VOCABULARY,
    Attributes,
    attributes_of,
    merge,
)
from ..scope._current import current_scope, open_scope
from ..scope._scope import Scope
from ._door import Step

HEADER = "trubrics_scope"

# RabbitMQ refuses headers beyond one frame, 131,072 bytes by default; others are there too.
_MAX_HEADER_BYTES = 32_768

_OPENED = "trubrics_trace_opened"  # where a running task's request keeps its open scope


def install(app: Celery) -> None:
    """Let the current scope travel with each sent task to the app's workers.

    Call it where the app is made, so that clients and workers both do. A task's model
    calls then belong to whoever sent it, also through retries, chains and groups; sent
    from no scope, to nobody. The task's name is their `run_name`, unless one was given;
    `celery_task_id` and `celery_worker` are in their metadata. Metadata that JSON cannot
    say, or that is too long, does not travel; it is counted. Eager tasks do as if they
    had been sent. A task that is called as a function runs in its caller's scope.

    Celery does not say whose task is sent: every task that this process sends has the
    header, whichever app it belongs to. Installing twice is installing once.
    """

    def open_for_task(task: Task, **_: object) -> None:
        if task.app == app:
            _open(task)

    signals.before_task_publish.connect(_send_scope, weak=False, dispatch_uid=HEADER)
    signals.task_prerun.connect(open_for_task, weak=False, dispatch_uid=(HEADER, id(app)))
    signals.task_postrun.connect(_close, weak=False, dispatch_uid=HEADER)


def _send_scope(headers: dict[str, Any], **_: object) -> None:
    scope = current_scope()
    if scope is not None:
        headers[HEADER] = _text_of(scope)


def _open(task: Task) -> None:
    request = task.request
    told = _told_in(_eager_header() if request.is_eager else request.get(HEADER))
    here = {"celery_task_id": request.id, "celery_worker": request.hostname}
    scope = open_scope(
        merge(
            attributes_of({name: told[name] for name in VOCABULARY if name in told}),
            Attributes(metadata=FrozenDict(here)),
        ),
        fresh=True,
        enabled=told.get("enabled") is not False,
        called=task.name,
    )
    opened = ExitStack()
    opened.enter_context(closing(scope))
    opened.enter_context(Step(scope))
    setattr(request, _OPENED, opened)


def _close(task: Task, **_: object) -> None:
    opened = vars(task.request).pop(_OPENED, None)
    if opened is not None:
        opened.close()


def _eager_header() -> str | None:
    scope = current_scope()
    return None if scope is None else _text_of(scope)


def _text_of(scope: Scope) -> str:
    """Return what travels; what is not given stays so, and is not nobody."""
    attributes = scope.attributes
    said: dict[str, Any] = {"enabled": scope.is_enabled}
    said.update(
        (name, given)
        for name in IDENTITY_NAMES
        if (given := getattr(attributes, name)) is not NOT_GIVEN
    )
    whole = {
        **said,
        "tags": attributes.tags,
        "metadata": {
            key: value for key, value in attributes.metadata.items() if _is_json(key, value)
        },
    }
    text = json.dumps(whole)
    if len(text) <= _MAX_HEADER_BYTES:
        return text
    ledger.fault(
        "celery_header_too_long",
        f"the tags and metadata of a scope take {len(text):,} bytes, and a task's header "
        f"at most {_MAX_HEADER_BYTES:,}; they stay behind, the user travels; send less",
    )
    return json.dumps(said)


def _is_json(key: str, value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        ledger.fault(
            "celery_metadata_left_behind",
            f"metadata {key!r} of type {type(value).__name__} cannot travel with a Celery "
            "task; give what JSON can say",
        )
        return False
    return True


def _told_in(text: object) -> Mapping[str, Any]:
    """Return what a header says; absent, or none of ours, it says nothing."""
    try:
        told = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        told = None
    return told if isinstance(told, dict) else {}
