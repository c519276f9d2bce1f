"""What LangChain's `config` says of a call, without LangChain's noise.

A client of the app may have written it, so who it names only fills what no scope says. All
here is pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..scope._attributes import NOTHING, Attributes, attributes_of, union

_IDENTITY = {
    "trubrics_user_id": "user_id",
    "trubrics_thread_id": "thread_id",
    "trubrics_tags": "tags",
}
# LangChain's own words in tags and metadata, which nobody who asked has said.
_NOISY_TAGS = (
    "seq:step:",
    "map:key:",
    "graph:step:",
    "langsmith:",
    "branch:",
    "condition:",
)
# What stands in the metadata of most calls, and nothing else.
_LANGCHAINS_OWN = frozenset(
    (
        "ls_provider",
        "ls_model_name",
        "ls_model_type",
        "ls_temperature",
        "ls_max_tokens",
        "ls_stop",
        "ls_integration",
        "lc_versions",
    )
)
_NOISY_METADATA = ("ls_", "lc_", "__pregel", "checkpoint_", "trubrics_")


def config_attributes(tags: list[str] | None, metadata: Mapping[str, Any]) -> Attributes:
    """Return what LangChain's `config` says; a client may have written it."""
    if not tags and metadata.keys() <= _LANGCHAINS_OWN:
        return NOTHING
    said: dict[str, Any] = {
        ours: metadata[theirs] for theirs, ours in _IDENTITY.items() if theirs in metadata
    }
    if "thread_id" not in said and metadata.get("thread_id"):
        said["thread_id"] = metadata["thread_id"]  # LangGraph's own
    kept: dict[str, Any] = {}
    graph: dict[str, Any] = {}
    for any_key, value in metadata.items():
        key = str(any_key)  # LangChain takes any
        if key.startswith("langgraph_"):
            graph[key.removeprefix("langgraph_")] = value
        elif not key.startswith(_NOISY_METADATA) and key != "thread_id":
            kept[key] = value
    if graph:
        kept["langgraph"] = graph
    heard = tuple(
        str.__str__(tag)
        for tag in tags or ()
        if isinstance(tag, str) and not tag.startswith(_NOISY_TAGS)
    )
    if not (said or kept or heard):
        return NOTHING
    attributes = attributes_of({**said, "metadata": kept})
    return attributes._replace(tags=union(attributes.tags, heard))
