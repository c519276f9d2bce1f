"""Tasks of several kinds, for real workers: `celery --app tests.real.celery_app`."""

# mypy: disable-error-code="untyped-decorator"
# Celery ships no types.

from __future__ import annotations

import asyncio
import os

from celery import Celery
from langchain_core.language_models import FakeListChatModel

from trubrics_trace import arg, identify, trubrics_trace
from trubrics_trace.integrations.celery import install

# It takes its time, so that tasks meet inside.
llm = FakeListChatModel(responses=["42"], sleep=0.001)
app = Celery("tests", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
install(app)


@app.task
def answer(prompt: str) -> str:
    """Ask at once, in the task."""
    return str(llm.invoke(prompt).content)


@app.task
def answer_soon(prompt: str) -> str:
    """Ask in an event loop of the task's own."""
    return str(asyncio.run(llm.ainvoke(prompt)).content)


@app.task
def stream(prompt: str) -> str:
    """Ask for a stream, and consume it in the task."""
    return "".join(str(chunk.content) for chunk in llm.stream(prompt))


@app.task
def answer_as(user: str | None, prompt: str) -> str:
    """Ask as somebody whom only the task knows."""
    if user is not None:
        identify(user)
    return str(llm.invoke(prompt).content)


@app.task
@trubrics_trace(user_id=arg("user"))
def answer_traced(user: str | None, prompt: str) -> str:
    """Ask as the decorator reads it from the task's arguments."""
    return str(llm.invoke(prompt).content)
