"""A chat app as anybody would write it, with one line of tracing a route."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Annotated

import uvicorn
from fastapi import Body, FastAPI, Request
from fastapi.responses import StreamingResponse
from langchain_core.language_models import BaseChatModel

from trubrics_trace import trubrics_trace

Question = Annotated[str, Body()]
Questions = Annotated[list[str], Body()]
Asker = Callable[[Request], str | None]


def asker(request: Request) -> str | None:
    """Return who asks, as the request's own header says; without it, nobody."""
    return request.headers.get("x-user-id")


def mistaken_asker(request: Request) -> str | None:
    """Plant one wrong user: take Dave's stream for Alice's."""
    is_daves_stream = asker(request) == "dave" and request.url.path == "/stream"
    return "alice" if is_daves_stream else asker(request)


def conversation(request: Request) -> str | None:
    """Return the conversation that this belongs to."""
    return request.headers.get("x-thread-id")


def chat_app(llm: BaseChatModel, who: Asker = asker) -> FastAPI:
    """Return an app with four routes to one model: sync, async, batch, streaming."""
    app = FastAPI()
    traced = trubrics_trace(tags=["chat"], user_id=who, thread_id=conversation)

    @app.post("/sync")
    @traced
    def answer(request: Request, question: Question) -> str:
        return str(llm.invoke(question).content)

    @app.post("/async")
    @traced
    async def answer_soon(request: Request, question: Question) -> str:
        return str((await llm.ainvoke(question)).content)

    @app.post("/batch")
    @traced
    def answer_all(request: Request, questions: Questions) -> list[str]:
        return [str(message.content) for message in llm.batch(list(questions))]

    @app.post("/stream")
    @traced
    async def answer_as_it_comes(request: Request, question: Question) -> StreamingResponse:
        return StreamingResponse(
            str(chunk.content) async for chunk in llm.astream(question)
        )

    return app


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serve the app by a real uvicorn, at the address that is yielded."""
    config = uvicorn.Config(app, log_level="warning", lifespan="off")
    server, listener = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
    thread = Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield "http://{}:{}".format(*listener.getsockname())
    finally:
        server.should_exit = True
        thread.join()
