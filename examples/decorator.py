"""A user read from the function's arguments: the decorator.

Prints:
    alice asked 'Where is my parcel?' [support]
    nobody asked 'Where is the shop?' [support]
"""

from langchain_core.language_models import FakeListChatModel

from trubrics_trace import arg, trubrics_trace
from trubrics_trace.testing import capture_prompts

llm = FakeListChatModel(responses=["It left Lyon this morning."])


@trubrics_trace(tags=["support"], user_id=arg("request.user"))
def chat(request: dict[str, str | None], question: str) -> str:
    """Answer a question."""
    return str(llm.invoke(question).content)


with capture_prompts() as records:
    chat({"user": "alice"}, "Where is my parcel?")
    chat({"user": None}, "Where is the shop?")

for record in records:
    print(f"{record.user_id or 'nobody'} asked {record.prompt!r} [{record.tags[-1]}]")
