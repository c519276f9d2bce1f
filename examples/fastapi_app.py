"""A FastAPI route: the decorator below the framework's own, and a streamed answer.

Prints:
    200 It is on its way.
    alice complete chat-7 'Where is my parcel?'
"""

from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from trubrics_trace import trubrics_trace
from trubrics_trace.testing import capture_prompts

app = FastAPI()


async def words(question: str) -> AsyncIterator[str]:
    """Ask the model; runs after the route has returned, and still in its scope."""
    llm = GenericFakeChatModel(messages=iter([AIMessage("It is on its way.")]))
    async for chunk in llm.astream(question):
        yield str(chunk.content)


@app.post("/chat/{thread}")
@trubrics_trace(
    user_id=lambda request: request.headers.get("x-user-id"),
    thread_id=lambda thread: f"chat-{thread}",
)
async def chat(request: Request, thread: int, question: str) -> StreamingResponse:
    """Answer a question, a word at a time."""
    return StreamingResponse(words(question))


with capture_prompts() as records, TestClient(app) as client:
    answer = client.post(
        "/chat/7",
        params={"question": "Where is my parcel?"},
        headers={"x-user-id": "alice"},
    )

print(answer.status_code, answer.text)
for record in records:
    print(record.user_id, record.status, record.thread_id, repr(record.prompt))
