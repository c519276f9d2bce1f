"""A LangGraph agent, whose question is one record, however often it asks its model.

Prints:
    alice asked 'Where is my parcel?'
    and was told 'It left Lyon this morning.'
    after 2 calls, with the tools ('track',)
"""

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from trubrics_trace import configure, trubrics_trace
from trubrics_trace.testing import capture_prompts


@tool
def track(parcel: str) -> str:
    """Say where a parcel is."""
    return f"{parcel} left Lyon this morning."


call = {"name": "track", "args": {"parcel": "P-1"}, "id": "1"}
answers = [AIMessage("", tool_calls=[call]), AIMessage("It left Lyon this morning.")]
llm = GenericFakeChatModel(messages=iter(answers))


def model(state: MessagesState) -> dict[str, list[AIMessage]]:
    """Ask the model what to do, or what to say."""
    return {"messages": [llm.invoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_node(model)
builder.add_node(ToolNode([track]))
builder.add_edge(START, "model")
builder.add_conditional_edges("model", tools_condition)
builder.add_edge("tools", "model")
graph = builder.compile()


@trubrics_trace(user_id=lambda user: user)
def ask(user: str, question: str) -> None:
    """Let the agent find an answer."""
    graph.invoke({"messages": [HumanMessage(question)]})


configure(record="root")
with capture_prompts() as records:
    ask("alice", "Where is my parcel?")

(record,) = records
turn = record.metadata["turn"]
print(f"{record.user_id} asked {record.prompt!r}")
print(f"and was told {record.generation!r}")
print(f"after {turn['calls']} calls, with the tools {turn['tools']}")
