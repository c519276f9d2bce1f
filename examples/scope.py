"""A block that belongs to a user, and a block inside it: scopes merge.

Prints:
    alice chat None {'plan': 'free'}
    alice chat,search t-1 {'plan': 'free', 'index': 'docs'}
    None chat None {'plan': 'free'}
"""

from langchain_core.language_models import FakeListChatModel

from trubrics_trace import trubrics_scope
from trubrics_trace.testing import capture_prompts

llm = FakeListChatModel(responses=["42"])

alice = trubrics_scope(user_id="alice", tags="chat", plan="free")

with capture_prompts() as records, alice:
    llm.invoke("The answer?")
    with trubrics_scope(tags="search", thread_id="t-1", index="docs"):
        llm.invoke("Where is it written?")
    with trubrics_scope(user_id=None):  # nobody; to inherit alice, leave it out
        llm.invoke("And for the log?")

for record in records:
    tags = ",".join(record.tags[1:])
    print(record.user_id, tags, record.thread_id, dict(record.metadata))
