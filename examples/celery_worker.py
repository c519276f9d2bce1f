"""A Celery task belongs to whoever sent it: the scope travels with the message.

Prints:
    alice celery_worker.answer 'Where is my parcel?'
    bob celery_worker.answer 'And mine?'
    nobody celery_worker.answer 'Is it Monday?'
"""

from celery import Celery
from langchain_core.language_models import FakeListChatModel

from trubrics_trace import trubrics_scope
from trubrics_trace.integrations.celery import install
from trubrics_trace.testing import capture_prompts

app = Celery("celery_worker", broker="memory://")
install(app)
app.conf.task_always_eager = True  # with a broker, leave this out and start a worker
llm = FakeListChatModel(responses=["It is on its way."])


@app.task(name="celery_worker.answer")  # type: ignore[untyped-decorator]
def answer(question: str) -> str:
    """Answer a question, in the worker."""
    return str(llm.invoke(question).content)


with capture_prompts() as records:
    for user, question in [("alice", "Where is my parcel?"), ("bob", "And mine?")]:
        with trubrics_scope(user_id=user):  # as a web framework's door does
            answer.delay(question)
    answer.delay("Is it Monday?")  # as beat does

for record in records:
    print(record.user_id or "nobody", record.run_name, repr(record.prompt))
