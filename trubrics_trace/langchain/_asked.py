"""What was asked of a model: prompt, messages, parameters. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._frozen import FrozenDict
from ._content import kept, text_of
from ._messages import prompt_of, tell_messages

# Where a model's name stands, in what is asked of it and in what it answers.
MODEL = ("model_name", "model", "model_id")

_LENGTHS = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "num_predict",
)
# What of a call's parameters is told; the rest may hold anything, keys included.
_PARAMETERS = (
    "temperature",
    "top_p",
    "top_k",
    *_LENGTHS,
    "stop",
    "stop_sequences",
    "seed",
    "n",
    "frequency_penalty",
    "presence_penalty",
    "reasoning_effort",
    "reasoning",
    "thinking",
    "tool_choice",
)
_PLACES = {name: place for place, name in enumerate(_PARAMETERS)}
# What LangChain tells its tracers, all that some models say; and what says the same.
_STANDARD: Mapping[str, tuple[str, ...]] = {
    "ls_temperature": ("temperature",),
    "ls_max_tokens": _LENGTHS,
    "ls_stop": ("stop", "stop_sequences"),
}
_NOTHING: Mapping[str, Any] = {}


def tell_asked(asked: str | Sequence[Any]) -> dict[str, Any]:
    """Return what was asked, as fields of the record."""
    if isinstance(asked, str):
        return {"prompt": text_of(asked)}
    messages = tell_messages(asked)
    return {"prompt": prompt_of(messages), "messages": messages}


def tell_model(
    asked: str | Sequence[Any], metadata: Mapping[str, Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return who was asked, and how: fields of the record that say something."""
    said = kwargs.get("invocation_params") or _NOTHING
    told: dict[str, Any] = {}
    model = metadata.get("ls_model_name") or None
    if not isinstance(model, str):
        model = first_of((said,), *MODEL)
    if model is not None:
        told["model"] = model
    provider = metadata.get("ls_provider") or None
    if not isinstance(provider, str) and isinstance(asked, str):
        provider = said.get("_type")  # its `generate` has no `ls_provider`
    if provider and isinstance(provider, str):
        told["provider"] = provider
    if parameters := _parameters(said, metadata):
        told["parameters"] = parameters
    return told


def first_of(infos: Iterable[Mapping[str, Any]], *keys: str) -> str | None:
    """Return the first that is a text, and not an empty one."""
    for info in infos:
        for key in keys if info else ():
            value = info.get(key)
            if value and isinstance(value, str):
                return value
    return None


def _parameters(said: Mapping[str, Any], metadata: Mapping[str, Any]) -> FrozenDict | None:
    told: dict[str, Any] = {}
    for name in said:
        if name in _PLACES and said[name] is not None:
            told[name] = kept(said[name])
    if len(told) > 1:
        told = {name: told[name] for name in sorted(told, key=_PLACES.__getitem__)}
    if metadata.keys().isdisjoint(_STANDARD):
        return FrozenDict(told) if told else None
    for standard, words in _STANDARD.items():
        if metadata.get(standard) is not None and told.keys().isdisjoint(words):
            told[words[0]] = kept(metadata[standard])
    return FrozenDict(told) if told else None
