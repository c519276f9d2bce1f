"""The scope that sends a Celery task, opened anew in the worker that runs it.

It travels as one header of the message, as JSON text, which every broker carries. In the
worker it is a root: nothing of what the worker did before is inherited.
"""

from __future__ import annotations

from typing import Any

from celery import Celery, Task, signals  # type: ignore[import-untyped] # has no types

from .._record import FrozenDict
from ..scope._attributes import (
    Attributes,
    attributes_of,
    merge,
)
from ..scope._current import current_scope, open_scope

HEADER = "trubrics_scope"

# RabbitMQ refuses a message whose headers exceed one frame, 131,072 bytes by default.
_MAX_HEADER_BYTES = 32_768


def install(app: Celery) -> None:
    """Let the current scope travel with each task that is sent, to the app's workers.

    Call it where the app is made, so that clients and workers both do. A task's model
    calls then belong to whoever sent it, also through retries, chains and groups; sent
    from no scope, to nobody. The task's name is their `run_name`, unless one was given;
    `celery_task_id` and `celery_worker` are in their metadata. Metadata that JSON cannot
    say does not travel; it is counted. Eager tasks do as if they had been sent. A task
    that is called as a function runs in its caller's scope.

    Celery tells of sending without telling the app: every task that this process sends
    has the header, whichever app it belongs to. Installing twice is installing once.
    """

    def open_for_task(task: Task, **_: object) -> None:
        if task.app == app:
            _open(task)

    signals.before_task_publish.connect(_put_scope, weak=False, dispatch_uid=HEADER)
    signals.task_prerun.connect(open_for_task, weak=False, dispatch_uid=(HEADER, id(app)))
    signals.task_postrun.connect(_close, weak=False, dispatch_uid=HEADER)


def _put_scope(headers: dict[str, Any], **_: object) -> None:
    scope = current_scope()
    if scope is not None:
        headers[HEADER] = _text_of(scope)


def _open(task: Task) -> None:
    request = task.request
    told = _told_by(current_scope() if request.is_eager else request.get(HEADER))
    here = Attributes(
        metadata=FrozenDict(
            celery_task_id=request.id,
            celery_worker=request.hostname,
        )
    )
    scope = open_scope(
        merge(attributes_of(told), here),
        fresh=True,
        enabled=told.get("enabled") is not False,
        called=task.name,
    )
