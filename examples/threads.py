"""A thread pool has no user of its own: `carry_scope` gives it yours.

Prints:
    alice: ['summary of page 1', 'summary of page 2', 'summary of page 3']
    bob: ['summary of page 1', 'summary of page 2', 'summary of page 3']
"""

from concurrent.futures import ThreadPoolExecutor

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from trubrics_trace import carry_scope, trubrics_trace
from trubrics_trace.testing import capture_prompts

pool = ThreadPoolExecutor(max_workers=4)


def summarise(page: int) -> None:
    """Summarise one page, on whatever thread."""
    answer = iter([AIMessage(f"summary of page {page}")])
    GenericFakeChatModel(messages=answer).invoke(f"Summarise page {page}")


@trubrics_trace(user_id=lambda user: user)
def summarise_all(user: str) -> None:
    """Summarise three pages at once."""
    list(carry_scope(pool).map(summarise, [1, 2, 3]))


with capture_prompts() as records:
    summarise_all("alice")
    summarise_all("bob")

for user in ("alice", "bob"):
    answers = [record.generation or "" for record in records if record.user_id == user]
    print(f"{user}: {sorted(answers)}")
