"""The public words are those of the design, and no others."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import trubrics_trace
from trubrics_trace import TrubricsCallbackHandler, identify, trubrics_scope

PUBLIC = [
    "DurableTrubrics",
    "EventRecord",
    "FeedbackRecord",
    "PromptRecord",
    "Record",
    "Scope",
    "Settings",
    "Stats",
    "TrubricsCallbackHandler",
    "aflush",
    "arg",
    "carry_scope",
    "configure",
    "current_scope",
    "errors",
    "flush",
    "identify",
    "shutdown",
    "stats",
    "track_event",
    "track_feedback",
    "trubrics_scope",
    "trubrics_trace",
]
VOCABULARY = {
    "user_id",
    "thread_id",
    "session_id",
    "assistant_id",
    "run_name",
    "tags",
    "metadata",
    "more_metadata",
}


def test_all_is_sorted_and_complete() -> None:
    """`__all__` is the list of the design, sorted, and so is `dir`."""
    assert sorted(PUBLIC) == PUBLIC == trubrics_trace.__all__ == dir(trubrics_trace)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_is_there_and_told(name: str) -> None:
    """Each public name can be taken from the package, and has a docstring."""
    assert inspect.getdoc(getattr(trubrics_trace, name))


def test_the_version_is_said_once() -> None:
    """The package tells the version that it is built as."""
    built = (Path(__file__).parents[1] / "pyproject.toml").read_text()

    assert f'\nversion = "{trubrics_trace.__version__}"\n' in built


def test_an_unknown_name_is_an_attribute_error() -> None:
    """What the package does not have, it does not pretend to have."""
    with pytest.raises(AttributeError, match="nothing_like_this"):
        _ = trubrics_trace.nothing_like_this  # type: ignore[attr-defined]


@pytest.mark.parametrize("speaker", [trubrics_scope, identify, TrubricsCallbackHandler])
def test_one_vocabulary(speaker: object) -> None:
    """Scope, `identify` and handler take the same keywords."""
    parameters = set(inspect.signature(speaker).parameters)  # type: ignore[arg-type]

    assert VOCABULARY <= parameters
