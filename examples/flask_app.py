"""A Flask app: one extension, which asks Flask's own session who is there.

Prints:
    200 It is on its way.
    alice complete 'Where is my parcel?' [web]
    nobody complete 'Where is the shop?' [web]
"""

from flask import Flask, Response, request, session
from langchain_core.language_models import FakeListChatModel

from trubrics_trace.integrations.flask import Trubrics
from trubrics_trace.testing import capture_prompts

app = Flask(__name__)
app.secret_key = "of this example"  # noqa: S105 - it signs nobody's session
Trubrics(app, user_id=lambda: session.get("user"), tags=["web"])
llm = FakeListChatModel(responses=["It is on its way."])


@app.post("/login")
def login() -> str:
    """Believe whoever comes."""
    session["user"] = request.form["user"]
    return "Hello."


@app.post("/chat")
def chat() -> Response:
    """Answer a question, a word at a time; the stream is still its user's."""
    question = request.form["question"]
    return Response(str(chunk.content) for chunk in llm.stream(question))


with capture_prompts() as records:
    alice, walk_in = app.test_client(), app.test_client()
    alice.post("/login", data={"user": "alice"})
    answer = alice.post("/chat", data={"question": "Where is my parcel?"})
    print(answer.status_code, answer.text)
    _ = walk_in.post("/chat", data={"question": "Where is the shop?"}).text

for record in records:
    print(record.user_id or "nobody", record.status, repr(record.prompt), "[web]")
