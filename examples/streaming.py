"""A stream is its user's to the last word, and stopping it is no error.

Prints:
    alice complete 'It is on its way.'
    bob stopped 'It is'
"""

from collections.abc import Iterator

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from trubrics_trace import trubrics_trace
from trubrics_trace.testing import capture_prompts


@trubrics_trace(user_id=lambda user: user)
def answer(user: str) -> Iterator[str]:
    """Stream an answer; a generator stays one."""
    llm = GenericFakeChatModel(messages=iter([AIMessage("It is on its way.")]))
    for chunk in llm.stream("Where is my parcel?"):
        yield str(chunk.content)


with capture_prompts() as records:
    list(answer("alice"))
    for word in (stream := answer("bob")):
        if word == "is":
            break
    stream.close()  # type: ignore[attr-defined] # what a web server does when a client goes

for record in records:
    print(record.user_id, record.status, repr(record.generation))
