"""The old client, `trubrics` 1.6.2: its own models take what we store, and store the same.

It cannot be installed beside today's. Where `OLD_TRUBRICS_PYTHON` names a Python that has
it, its own code runs there, in a process of its own; what its models want is written down
here too, so that the rest holds everywhere.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import UnionType
from typing import Any, TypeAlias, get_args

import pytest
from langchain_core.language_models import FakeListChatModel, FakeListLLM
from langchain_core.messages import HumanMessage, SystemMessage

from tests.delivery.platform_server import (
    EMAIL,
    PASSWORD,
    PlatformServer,
    serve_platform,
)
from tests.process.program import clean_environment
from trubrics_trace import (
    TrubricsCallbackHandler,
    configure,
    flush,
    track_feedback,
    trubrics_scope,
)

OLD_PYTHON = os.environ.get("OLD_TRUBRICS_PYTHON", "")
PROMPTS = "default/prompts"
RESPONSES = "default/feedback/default/responses"

needs_old_client = pytest.mark.skipif(
    not OLD_PYTHON, reason="OLD_TRUBRICS_PYTHON names no Python with trubrics 1.6.2"
)

# What a model's fields take.
Rules: TypeAlias = "Mapping[str, type | UnionType | Rules]"

# trubrics/platform/prompts.py of 1.6.2: Prompt, and ModelConfig within. `id` is not stored:
# trubrics/platform/firestore.py, save_document_to_collection.
PROMPT: Rules = {
    "config_model": {
        "model": str,
        "prompt_template": str,
        "temperature": float | None,
    },
    "prompt": str,
    "generation": str,
    "created_on": datetime,
    "user_id": str | None,
    "session_id": str | None,
    "tags": list,
    "metadata": dict,
}

# trubrics/platform/feedback.py of 1.6.2: Feedback, and Response within.
FEEDBACK: Rules = {
    "component": str,
    "model": str,
    "user_response": {"type": str, "score": str | None, "text": str | None},
    "created_on": datetime,
    "prompt_id": str | None,
    "user_id": str | None,
    "tags": list,
    "metadata": dict,
}

collections = pytest.mark.parametrize(
    ("collection", "rules"), [(PROMPTS, PROMPT), (RESPONSES, FEEDBACK)]
)


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlatformServer]:
    """Serve the platform where the emulators' variables say, and configure it."""
    with serve_platform() as server:
        for variable in ("FIREBASE_AUTH_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST"):
            monkeypatch.setenv(variable, server.address)
        configure(email=EMAIL, password=PASSWORD)
        yield server


def run_calls() -> None:
    """Ask models as the handler's documentation does, and in ways that tell us less."""
    handler = TrubricsCallbackHandler(
        tags=["chat model"],
        user_id="user-id-1234",
        session_id="session",
        some_metadata={"hello": [1, 2.5]},
    )
    chat = FakeListChatModel(responses=["Why did the tomato turn red?"])
    asked = [SystemMessage("You are a comedian."), HumanMessage("Tell me a joke")]
    chat.invoke(asked, config={"callbacks": [handler]})
    with trubrics_scope(user_id="alice", thread_id="t-1", odd=[None, True], deep=[[1]]):
        FakeListLLM(responses=["Roses are red."]).generate(["A poem", "A joke"])
        track_feedback(True, "Good.")
    with trubrics_scope():
        chat.invoke("Nobody asks")
        track_feedback(0.5)
    with pytest.raises(ValueError, match="no answer"), trubrics_scope(user_id="alice"):
        FailingModel(responses=[""]).invoke("Hi")
    assert flush(30)


class FailingModel(FakeListChatModel):
    """A model that answers nothing."""

    def _call(self, *args: Any, **kwargs: Any) -> str:
        raise ValueError("no answer")


def plain(value: Mapping[str, Any]) -> Any:
    """Return a Firestore value as Python's own: its REST reference, `Value`."""
    ((kind, held),) = value.items()
    if kind == "mapValue":
        return {name: plain(item) for name, item in held["fields"].items()}
    if kind == "arrayValue":
        return [plain(item) for item in held["values"]]
    if kind == "integerValue":
        return int(held)
    return datetime.fromisoformat(held) if kind == "timestampValue" else held


def documents(platform: PlatformServer, collection: str) -> list[dict[str, Any]]:
    """Return each document of a collection in Python's own values."""
    return [
        {name: plain(value) for name, value in fields.items()}
        for fields in platform.stored_in(collection)
    ]


def broken(rules: Rules, values: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields that a model would not take, or does not know."""
    found = list(rules.keys() ^ values.keys())
    for name in rules.keys() & values.keys():
        rule, value = rules[name], values[name]
        if isinstance(rule, Mapping):
            found += [f"{name}.{inner}" for inner in broken(rule, value)]
        elif not isinstance(value, rule):
            found.append(name)
    return found


@collections
def test_rules(platform: PlatformServer, collection: str, rules: Rules) -> None:
    """Each document has the fields of the old client's model, of the types they take."""
    run_calls()

    stored = documents(platform, collection)
    assert stored
    assert [] == [name for document in stored for name in broken(rules, document)]


def old_client(program: str, said: Any = None) -> Any:
    """Run a program beside the old client: JSON goes in as `said`, comes as `answer`."""
    ended = subprocess.run(
        [OLD_PYTHON, "-c", f"{BEFORE}{program}{AFTER}"],
        input=json.dumps(said, default=str),
        env=clean_environment(Path(os.devnull), PYTHONPATH=""),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 0 == ended.returncode, ended.stderr
    return json.loads(ended.stdout)


BEFORE = """
import json, sys
from trubrics.platform.feedback import Feedback
from trubrics.platform.firestore import dict_to_firestore_document
from trubrics.platform.prompts import Prompt
models = {"default/prompts": Prompt, "default/feedback/default/responses": Feedback}
said = json.load(sys.stdin)
"""
AFTER = """
print(json.dumps(answer, default=str))
"""


@needs_old_client
@collections
def test_models_take_our_documents(
    platform: PlatformServer, collection: str, rules: Rules
) -> None:
    """What we store comes through the old client's own models as it went in."""
    run_calls()

    ours = documents(platform, collection)
    read = old_client(
        """
model = models[said["collection"]]
answer = [model(**document).dict() for document in said["documents"]]
        """,
        {"collection": collection, "documents": ours},
    )
    assert ours
    for document, other in zip(ours, read, strict=True):
        read_on = datetime.fromisoformat(other["created_on"])
        other.pop("id", None)
        assert document == {**other, "created_on": read_on}


@needs_old_client
@collections
def test_rules_are_the_models(collection: str, rules: Rules) -> None:
    """The rules that are written down here are the old client's own, field by field."""
    assert spelled(rules) == old_client(
        """
from typing import get_args
def spelled(hint):
    if hasattr(hint, "__fields__"):
        return {name: spelled(of) for name, of in hint.__annotations__.items()}
    return sorted(kind.__name__ for kind in get_args(hint) or [hint])
answer = spelled(models[said])
answer.pop("id", None)
        """,
        collection,
    )


def spelled(rule: type | UnionType | Rules) -> Any:
    """Return the names of the types that are taken."""
    if isinstance(rule, Mapping):
        return {name: spelled(inner) for name, inner in rule.items()}
    kinds: tuple[type, ...] = get_args(rule) or (rule,)
    return sorted(kind.__name__ for kind in kinds)


@needs_old_client
def test_the_same_call(platform: PlatformServer) -> None:
    """The old client would have stored the same call as the same document."""
    run_calls()

    [ours] = [
        document
        for document in documents(platform, PROMPTS)
        if document["user_id"] == "user-id-1234"
    ]
    theirs = old_client(
        "answer = dict_to_firestore_document(Prompt(**said).dict())['fields']",
        {
            "config_model": {"model": "NA"},
            "prompt": "Tell me a joke",
            "generation": "Why did the tomato turn red?",
            "user_id": "user-id-1234",
            "session_id": "session",
            "tags": ["langchain", "chat model"],
            "metadata": {
                "langchain_run_id": ours["metadata"]["langchain_run_id"],
                "messages": [
                    {"role": "system", "content": "You are a comedian."},
                    {"role": "user", "content": "Tell me a joke"},
                ],
                "some_metadata": {"hello": [1, 2.5]},
            },
        },
    )
    del ours["created_on"], theirs["created_on"], theirs["id"]
    assert ours == {name: plain(value) for name, value in theirs.items()}
