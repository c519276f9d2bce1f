"""Two users who send tasks at once, to real workers behind a real Redis."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.process import test_celery
from tests.process.program import clean_environment, output_of
from tests.process.test_celery import REPOSITORY, running
from tests.real.test_frameworks import NOBODY, USERS, flush, users_of
from trubrics_trace.testing import IngestionServer

broker = test_celery.broker

SENT = ("answer", "answer_soon", "stream")  # from the scope of whoever asks
TOLD = ("answer_as", "answer_traced")  # with the user among the arguments
TASKS = 20  # of each kind, for each user

# Each user in a thread; after every tenth task comes one that is nobody's.
SENDER = f"""
    from concurrent.futures import ThreadPoolExecutor
    from tests.real import celery_app
    from trubrics_trace import trubrics_scope

    def send(user, prompt, kind):
        task = getattr(celery_app, kind)
        if kind in {TOLD}:
            return task.delay(user, prompt)
        if user is None:
            return task.delay(prompt)
        with trubrics_scope(user_id=user):
            return task.delay(prompt)

    def send_all(user):
        sent = []
        for number in range({TASKS}):
            for kind in {SENT + TOLD}:
                prompt = f"{{kind}}.{{user}}.{{number}}"
                sent.append(send(user, prompt, kind))
                if number % 10 == 0:
                    sent.append(send(None, prompt + ".nobody", kind))
        return [result.get(timeout=50) for result in sent]

    with ThreadPoolExecutor() as pool:
        for answers in pool.map(send_all, {USERS}):
            assert {{"42"}} == set(answers)
    """


@pytest.mark.timeout(180)  # three processes begin, on a machine that may be busy
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_two_users_at_once(
    broker: str, trubrics_server: IngestionServer, tmp_path: Path, pool: str
) -> None:
    """Each task has one record, of who sent it, or as it says; else of nobody."""
    pytest.importorskip("celery")
    spool = tmp_path / "spool"
    known = {
        "BROKER": broker,
        "TRUBRICS_API_KEY": trubrics_server.api_key,
        "TRUBRICS_HOST": trubrics_server.url,
        "TRUBRICS_TRACE_FLUSH_INTERVAL": "0.5",
        "PYTHONPATH": str(REPOSITORY),
    }
    worker = [sys.executable, "-m", "celery", "--app", "tests.real.celery_app"]
    worker += ["worker", "--pool", pool, "--concurrency", "2" if pool == "prefork" else "8"]
    with running(worker, clean_environment(spool, **known)):
        output_of(SENDER, spool, **known)
    assert 0 == flush(spool, known)

    asked = {}
    for kind in SENT + TOLD:
        for user in USERS:
            for number in range(TASKS):
                asked[f"{kind}.{user}.{number}"] = [user]
                if number % 10 == 0:
                    asked[f"{kind}.{user}.{number}.nobody"] = [NOBODY]
    assert asked == users_of(trubrics_server)
