"""A Django site in one file: a line in `MIDDLEWARE`, for sync and async views.

Prints:
    200 It is on its way.
    200 It is on its way.
    alice complete 'Where is my parcel?'
    bob complete 'And mine?'
"""

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import Client
from django.urls import path
from langchain_core.language_models import FakeListChatModel

from trubrics_trace.testing import capture_prompts

settings.configure(
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["trubrics_trace.integrations.django.TrubricsMiddleware"],
    ROOT_URLCONF=__name__,
    # Where people log in: "user_id": lambda request: request.user.pk
    TRUBRICS={"user_id": lambda request: request.headers.get("x-user-id")},
)
django.setup()
llm = FakeListChatModel(responses=["It is on its way."])


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Answer a question, a word at a time."""
    question = request.GET["question"]
    return StreamingHttpResponse(str(chunk.content) for chunk in llm.stream(question))


async def chat(request: HttpRequest) -> HttpResponse:
    """Answer a question, all at once."""
    return HttpResponse((await llm.ainvoke(request.GET["question"])).content)


urlpatterns = [path("stream", stream), path("chat", chat)]

with capture_prompts() as records:
    for user, url, question in [
        ("alice", "/stream", "Where is my parcel?"),
        ("bob", "/chat", "And mine?"),
    ]:
        answer = Client(headers={"x-user-id": user}).get(url, {"question": question})
        print(answer.status_code, b"".join(answer).decode())

for record in records:
    print(record.user_id, record.status, repr(record.prompt))
