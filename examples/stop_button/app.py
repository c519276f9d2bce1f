"""A chat page with a stop button: what had come is kept, and stopping is no error.

    TRUBRICS_TRACE_CONSOLE=true uvicorn examples.stop_button.app:app

Open http://127.0.0.1:8000, ask, press stop, and look at the terminal.
"""

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from langchain_core.language_models import FakeListChatModel

from trubrics_trace import trubrics_trace

PAGE = Path(__file__).with_name("page.html").read_text()
STORY = "Once upon a time there was a queue that never ended, and everybody was in it."

app = FastAPI()
llm = FakeListChatModel(responses=[STORY], sleep=0.03)  # seconds a letter


@app.get("/", response_class=HTMLResponse)
def page() -> str:
    """Return the page."""
    return PAGE


@app.post("/chat")
@trubrics_trace(user_id=lambda request: request.headers.get("x-user-id"))
async def chat(request: Request, question: str) -> StreamingResponse:
    """Answer a question, a letter at a time, to whoever stays that long."""
    return StreamingResponse(
        (str(chunk.content) async for chunk in llm.astream(question)),
        media_type="text/plain; charset=utf-8",
    )
