"""What `config` says of a call, without LangChain's own noise."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from trubrics_trace import stats
from trubrics_trace.langchain._config import config_attributes
from trubrics_trace.scope._attributes import NOT_GIVEN, Attributes


def test_nothing_said() -> None:
    """A config that says nothing names nobody, tags nothing, and knows nothing."""
    assert Attributes() == config_attributes(None, {})


def test_identity() -> None:
    """The three words of ours name user, thread and tags, and are no metadata."""
    user = uuid.uuid4()
    said = config_attributes(
        ["prod"],
        {
            "trubrics_user_id": user,
            "trubrics_thread_id": 7,
            "trubrics_tags": ["vip", "prod"],
            "trubrics_anything": "else",
            "plan": "free",
        },
    )

    assert (str(user), "7") == (said.user_id, said.thread_id)
    assert ("vip", "prod") == said.tags
    assert {"plan": "free"} == said.metadata


@pytest.mark.parametrize("nobody", [None, ""])
def test_nobody(nobody: str | None) -> None:
    """Who is said to be nobody is nobody, which is more than not to be said."""
    assert config_attributes([], {"trubrics_user_id": nobody}).user_id is None
    assert NOT_GIVEN is config_attributes([], {}).user_id


def test_value_that_is_no_id() -> None:
    """What cannot be an id is nobody, and counted."""
    assert config_attributes([], {"trubrics_user_id": ["mallory"]}).user_id is None
    assert 1 == stats().noticed["bad_user_id"]


@pytest.mark.parametrize(
    ("metadata", "thread_id"),
    [
        ({"thread_id": "graph"}, "graph"),
        ({"thread_id": 7}, "7"),
        ({"thread_id": "graph", "trubrics_thread_id": "ours"}, "ours"),
        ({"thread_id": ""}, NOT_GIVEN),
        ({"thread_id": None}, NOT_GIVEN),
    ],
)
def test_thread_of_langgraph(metadata: dict[str, Any], thread_id: object) -> None:
    """LangGraph's `thread_id` serves where no other is given, and is no metadata."""
    said = config_attributes(None, metadata)

    assert thread_id == said.thread_id
    assert {} == said.metadata


def test_langgraph() -> None:
    """What LangGraph tells of its step stands together, under one key."""
    said = config_attributes(
        ["graph:step:1"],
        {
            "langgraph_node": "agent",
            "langgraph_step": 1,
            "langgraph_triggers": ("branch:to:agent",),
            "langgraph_checkpoint_ns": "agent:1",
            "checkpoint_ns": "agent:1",
            "__pregel_task_id": "t",
            "plan": "free",
        },
    )

    step = {
        "node": "agent",
        "step": 1,
        "triggers": ("branch:to:agent",),
        "checkpoint_ns": "agent:1",
    }
    assert {"plan": "free", "langgraph": step} == said.metadata
    assert () == said.tags


def test_noise() -> None:
    """LangChain's own words are left out; the app's stay, of whatever type their key."""
    noise = ["seq:step:1", "map:key:a", "langsmith:hidden", "branch:x", "condition:1"]
    metadata: dict[Any, Any] = {
        "ls_provider": "openai",
        "ls_model_name": "gpt",
        "lc_versions": {},
        "plan": "free",
        7: "seven",
    }
    said = config_attributes([*noise, "prod", 7], metadata)  # type: ignore[list-item]

    assert ("prod",) == said.tags
    assert {"plan": "free", "7": "seven"} == said.metadata
