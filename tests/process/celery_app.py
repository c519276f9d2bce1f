"""Tasks for a real worker: it is started as `celery --app tests.process.celery_app`."""

# mypy: disable-error-code="untyped-decorator"
# Celery ships no types.

from __future__ import annotations

import os

from celery import Celery
from langchain_core.language_models import FakeListChatModel

from trubrics_trace.integrations.celery import install

llm = FakeListChatModel(responses=["42"])
app = Celery("tests", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
install(app)


@app.task
def answer(prompt: str) -> str:
    """Ask the model, in a child of the worker."""
    return str(llm.invoke(prompt).content)
