"""The only room that speaks the older platform, of e-mail and password.

What `trubrics` 1.5 and 1.6 spoke: Firebase's sign-in, and documents of Firestore's REST
API (`trubrics/platform/auth.py` and `__init__.py` of those versions). A token lives an
hour and is asked for anew before it ends; organisation and project are looked up once.
The emulators are found by the variables that Firebase's own tools use.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from .. import _clock
from .._ledger import ledger
from .._record import EventRecord, FeedbackRecord, PromptRecord, Record, TrackedRecord
from .._settings import PLATFORM_HOST
from ._http import Answer, Connection, NoAnswerError
from ._transport import Delivered, Outcome, Rejected, Retry

# Public by design: the web key and Google project of the old client's TrubricsDefaults.
_GOOGLE_PROJECT = "trubrics-streamlit"
_WEB_KEY = "AIzaSyB6WPIVzMaRCnlL1ZmRosrQsbQYYagZARQ"

_SIGN_IN_HOST = "https://identitytoolkit.googleapis.com"
_RENEW_BEFORE_SECONDS = 300.0
_REFUSED_WAIT_SECONDS = 60.0
_PROMPTS = "prompts"
_COMPONENT = "default"  # what a project is made with; others are named by people, there

_UNTELLABLE = (AttributeError, TypeError, ValueError)
_STRANGE = (AttributeError, KeyError, TypeError, ValueError, OverflowError)


class PlatformTransport:
    """One account and project of the older platform. For one thread."""

    max_batch = 1  # a document a request: Firestore's batches are another API

    def __init__(self, email: str, password: str, project: str) -> None:
        self._email = email  # as the platform spells it, once it has answered
        self._password = password
        self._project = project
        self._connection = Connection()
        self._token: str | None = None
        self._token_until = 0.0
        self._root: str | None = None

    def route_of(self, record: Record) -> str:
        """Return the collection that takes this record."""
        if isinstance(record, FeedbackRecord):
            return f"feedback/{_COMPONENT}/responses"
        return _PROMPTS

    def send(self, route: str, records: Sequence[Record]) -> Outcome:
        """Store one document and say what became of it. Never raises."""
        (record,) = records
        if isinstance(record, (EventRecord, TrackedRecord)):
            return Rejected("the e-mail and password platform takes no events")
        try:
            document = document_of(record)
        except _UNTELLABLE:
            return Rejected("a value that the platform cannot be told")
        try:
            refusal = self._sign_in() or self._find_project()
            if refusal is not None:
                return refusal
            # With an id of our own: feedback names it, and a second copy is none.
            project, name = quote(self._project, safe=""), quote(record.record_id, safe="")
            answer = self._call(
                "POST",
                f"{self._root}/projects/{project}/{route}?documentId={name}",
                document,
            )
        except NoAnswerError as error:
            return Retry(f"no answer: {error}", is_heard=error.is_heard)
        except _STRANGE as error:
            return Retry(f"a strange answer: {type(error).__name__}")
        outcome = self._outcome_of(answer)
        if isinstance(outcome, Delivered) and route == _PROMPTS:
            ledger.tell(f"prompt {record.record_id} has been saved to Trubrics")
        return outcome

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __repr__(self) -> str:
        return f"<PlatformTransport to project {self._project!r}>"

    def _sign_in(self) -> Retry | None:
        if self._token is not None and _clock.monotonic() < self._token_until:
            return None
        host = _emulated("FIREBASE_AUTH_EMULATOR_HOST", _SIGN_IN_HOST)
        answer = self._connection.request(
            "POST",
            f"{host}/v1/accounts:signInWithPassword?key={_WEB_KEY}",
            body={
                "email": self._email,
                "password": self._password,
                "returnSecureToken": True,
            },
        )
        if not answer.is_success or "idToken" not in answer.body:
            is_refused = answer.status == 400
            return Retry(
                f"sign-in: HTTP {answer.status}",
                _REFUSED_WAIT_SECONDS if is_refused else answer.retry_after_seconds,
                is_refused_key=is_refused,
            )
        lives = float(answer.body.get("expiresIn", 3600))
        self._email = answer.body.get("email", self._email)  # it knows it in any case
        self._token = answer.body["idToken"]
        ledger.tell("the Trubrics account has been authenticated")
        self._token_until = _clock.monotonic() + max(1.0, lives - _RENEW_BEFORE_SECONDS)
        return None

    def _find_project(self) -> Retry | None:
        if self._root is not None:
            return None
        database = f"projects/{_GOOGLE_PROJECT}/databases/(default)/documents"
        found = self._call("POST", f"{database}:runQuery", _organisation_of(self._email))
        documents = found.body if isinstance(found.body, list) else []
        roots = [item["document"]["name"] for item in documents if "document" in item]
        if found.status != 200 or not roots:
            return Retry(f"organisation: HTTP {found.status}", found.retry_after_seconds)
        listed = self._call("GET", f"{roots[0]}/projects?pageSize=50")
        if not listed.is_success:
            return Retry(f"projects: HTTP {listed.status}", listed.retry_after_seconds)
        names = [
            document["name"].rpartition("/")[2]
            for document in listed.body.get("documents", [])
            if not document.get("fields", {}).get("archived", {}).get("booleanValue")
        ]
        if self._project not in names:
            return Retry(
                f"there is no project {self._project!r}, only {', '.join(names) or 'none'}",
                _REFUSED_WAIT_SECONDS,
                is_refused_key=True,
            )
        self._root = roots[0]
        return None

    def _call(self, method: str, path: str, body: Any = None) -> Answer:
        host = _emulated("FIRESTORE_EMULATOR_HOST", PLATFORM_HOST)
        headers = {"Authorization": f"Bearer {self._token}"}
        answer = self._connection.request(
            method, f"{host}/v1/{path}", headers=headers, body=body
        )
        if answer.status in (401, 403):
            self._token = None
        return answer

    def _outcome_of(self, answer: Answer) -> Outcome:
        if answer.is_success or answer.status == 409:  # there already: sent before
            return Delivered()
        if answer.status in (400, 413):
            return Rejected(f"HTTP {answer.status}")
        return Retry(f"HTTP {answer.status}", answer.retry_after_seconds)


def document_of(record: Record) -> dict[str, Any]:
    """Return the record as a document, each field as the old client wrote it."""
    if isinstance(record, FeedbackRecord):
        fields = _fields(_feedback(record))
    elif isinstance(record, PromptRecord):
        fields = _fields(_prompt(record))
    else:
        message = f"no document is made of a record of kind {record.kind!r}"
        raise TypeError(message)
    return {"fields": {**fields, "created_on": {"timestampValue": record.started_at}}}


def value_of(value: Any) -> dict[str, Any]:  # noqa: PLR0911 - a table of types
    """Return a value in Firestore's own words, its type spelled out."""
    if value is None:
        return {"nullValue": None}
    if isinstance(value, bool):  # before integers: True is one of those too
        return {"booleanValue": value}
    if isinstance(value, int):
        return {"integerValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, Mapping):
        return {"mapValue": {"fields": _fields(value)}}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [_item(item) for item in value]}}
    return {"stringValue": str(value)}


def _item(value: Any) -> dict[str, Any]:
    """Return a value as it stands in an array, which holds no array directly."""
    if isinstance(value, (list, tuple)):
        return {"stringValue": json.dumps(value)}
    return value_of(value)


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value_of(value) for name, value in values.items()}


def _prompt(record: PromptRecord) -> dict[str, Any]:
    metadata = {**record.metadata, "langchain_run_id": record.record_id}
    if record.messages is not None:
        metadata["messages"] = record.messages
    parameters = record.parameters or {}
    return {
        "config_model": {
            "model": record.model or "NA",
            "prompt_template": "{prompt}",  # the old client's own default
            "temperature": parameters.get("temperature"),
        },
        "prompt": record.prompt,
        "generation": record.generation or "",
        "user_id": record.user_id,
        "session_id": record.session_id or record.thread_id,
        "tags": record.tags,
        "metadata": metadata,
    }


def _feedback(record: FeedbackRecord) -> dict[str, Any]:
    return {
        "component": _COMPONENT,
        "model": "NA",  # a text, to the old client's own model
        "user_response": {
            "type": record.type,
            "score": str(record.score),
            "text": record.comment,
        },
        "prompt_id": record.about,
        "user_id": record.user_id,
        "tags": (),
        "metadata": record.metadata,
    }


def _organisation_of(email: str) -> dict[str, Any]:
    return {
        "structuredQuery": {
            "from": [{"collectionId": "organisations"}],
            "where": {
                "fieldFilter": {
                    "field": {"fieldPath": "users"},
                    "op": "ARRAY_CONTAINS",
                    "value": {"stringValue": email},
                }
            },
        }
    }


def _emulated(variable: str, host: str) -> str:
    """Return the host, or its emulator where the variable names one.

    The sign-in's emulator serves its API below that API's own name.
    """
    emulator = os.environ.get(variable)
    if not emulator:
        return host
    is_sign_in = variable == "FIREBASE_AUTH_EMULATOR_HOST"
    below = "/identitytoolkit.googleapis.com" if is_sign_in else ""
    return f"http://{emulator}{below}"
