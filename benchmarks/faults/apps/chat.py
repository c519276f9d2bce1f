"""A small Flask app that asks a fake model, for a real `gunicorn --preload`.

    python -m benchmarks.faults.apps.chat

Becomes gunicorn with four workers on a free port. The app has asked its model once before
its workers are forked. It answers with the process id of the worker that answers.
"""

from __future__ import annotations

import os
import sys

from flask import Flask
from langchain_core.language_models import FakeListChatModel

from trubrics_trace import stats, trubrics_trace

app = Flask(__name__)
model = FakeListChatModel(responses=["42"])


@app.get("/ask/<int:number>")
@trubrics_trace(user_id="alice")
def ask(number: int) -> str:
    """Ask the model, and say who answered."""
    model.invoke(f"event {number}")
    return str(os.getpid())


@app.get("/balance")
def balance() -> str:
    """Say whether the law holds in this worker."""
    return str(int(stats().is_balanced))


if __name__ == "__main__":
    gunicorn = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "4"]
    os.execv(  # noqa: S606 - itself
        sys.executable, [*gunicorn, "--bind", "127.0.0.1:0", f"{__spec__.name}:app"]
    )
else:
    ask(-1)  # in the parent, before the fork
