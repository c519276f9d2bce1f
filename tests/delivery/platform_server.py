"""A loopback stand-in for the e-mail and password platform: sign-in and documents.

It refuses what Firebase and Firestore refuse of what we send (their REST references), and
can be told to fail at any step, to forget the tokens it gave, and to give short ones.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

EMAIL = "alice@example.com"
PASSWORD = "correct horse"

Step: TypeAlias = Literal["sign-in", "organisation", "projects", "document"]
Answer: TypeAlias = "tuple[int, bytes, Mapping[str, str]]"

_SIGN_IN = "/identitytoolkit.googleapis.com/v1/accounts:signInWithPassword"
_DATABASE = "projects/trubrics-streamlit/databases/(default)/documents"
_PROJECTS = f"{_DATABASE}/organisations/acme/projects"
_PLAIN_VALUES: Mapping[str, tuple[type, ...]] = {
    "nullValue": (type(None),),
    "booleanValue": (bool,),
    "integerValue": (str,),
    "doubleValue": (float, int),
    "stringValue": (str,),
}


class PlatformServer:
    """One account with its projects, and what was stored there. Safe under threads.

    Attributes:
        address: What the emulators' variables name: host and port.
        projects: The organisation's projects, and whether each is archived.
        token_lives: How many seconds a token is said to live, as the sign-in spells it.
        steps: What each request was for, in order of arrival.
        documents: The fields of each document by its name below the projects, in order.
        connections: How many connections are open.
    """

    def __init__(self) -> None:
        self.address = ""
        self.projects = {"default": False, "old": True}
        self.token_lives = "3600"
        self.steps: list[Step] = []
        self.documents: dict[str, dict[str, Any]] = {}
        self.connections = 0
        self._tokens: set[str] = set()
        self._answers: defaultdict[Step, deque[Answer]] = defaultdict(deque)
        self._lock = threading.Lock()

    def answer_next(
        self, step: Step, status: int, body: Any = None, **headers: str
    ) -> None:
        """Answer the next request for this like this; `_` in a header's name is `-`."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        with self._lock:
            self._answers[step].append((status, content, said))

    def forget_tokens(self) -> None:
        """Let no token that was given hold any more."""
        with self._lock:
            self._tokens.clear()

    def stored_in(self, collection: str) -> list[dict[str, Any]]:
        """Return the fields of each document of a collection, in order of arrival."""
        with self._lock:
            return [
                fields
                for name, fields in self.documents.items()
                if name.rpartition("/")[0] == collection
            ]

    def answer(self, method: str, target: str, token: str | None, body: bytes) -> Answer:
        """Return status, body and headers for one request."""
        parts = urlsplit(target)
        path, query = parts.path, parse_qs(parts.query)
        step = _step_of(method, path)
        with self._lock:
            self.steps.append(step)
            if self._answers[step]:
                return self._answers[step].popleft()
            if step == "sign-in":
                status, said = self._sign_in(query, json.loads(body))
            elif token not in self._tokens:
                status, said = _refusal(401, "UNAUTHENTICATED")
            elif step == "organisation":
                status, said = self._organisations(json.loads(body))
            elif step == "projects":
                status, said = self._listed_projects()
            else:
                status, said = self._create(path, query, json.loads(body))
        return status, json.dumps(said).encode(), {}

    def count_connection(self, change: int) -> None:
        """Note that a connection was opened, or has ended."""
        with self._lock:
            self.connections += change

    def _sign_in(self, query: Any, said: Any) -> tuple[int, Any]:
        if "key" not in query:
            return _refusal(403, "PERMISSION_DENIED")
        # Firebase knows an e-mail in any case, and answers it in lower case.
        if (said["email"].lower(), said["password"]) != (EMAIL, PASSWORD):
            return _refusal(400, "INVALID_LOGIN_CREDENTIALS")
        token = f"token-{len(self.steps)}"
        self._tokens.add(token)
        return 200, {"idToken": token, "email": EMAIL, "expiresIn": self.token_lives}

    def _organisations(self, said: Any) -> tuple[int, Any]:
        asked = said["structuredQuery"]
        wanted = {
            "field": {"fieldPath": "users"},
            "op": "ARRAY_CONTAINS",
            "value": {"stringValue": EMAIL},
        }
        is_ours = asked["where"]["fieldFilter"] == wanted
        is_asked = asked["from"] == [{"collectionId": "organisations"}]
        read = {"readTime": "2026-01-02T03:04:05Z"}
        if not (is_ours and is_asked):
            return 200, [read]
        return 200, [{**read, "document": {"name": _PROJECTS.rpartition("/")[0]}}]

    def _listed_projects(self) -> tuple[int, Any]:
        documents = [
            {
                "name": f"{_PROJECTS}/{name}",
                "fields": {"archived": {"booleanValue": is_archived}},
            }
            for name, is_archived in self.projects.items()
        ]
        return 200, {"documents": documents} if documents else {}

    def _create(self, path: str, query: Any, said: Any) -> tuple[int, Any]:
        # Below the projects: a project, then pairs of a collection and a document.
        parts = path.removeprefix(f"/v1/{_PROJECTS}/").split("/")
        if len(parts) % 2 or not all(parts):
            return _refusal(400, "INVALID_ARGUMENT")
        if not all(_is_value(value) for value in said["fields"].values()):
            return _refusal(400, "INVALID_ARGUMENT")
        [document_id] = query.get("documentId", [uuid.uuid4().hex])
        name = "/".join([*map(unquote, parts), document_id])
        if name in self.documents:
            return _refusal(409, "ALREADY_EXISTS")
        self.documents[name] = said["fields"]
        return 200, {"name": f"{_PROJECTS}/{name}", "fields": said["fields"]}


@contextmanager
def serve_platform() -> Iterator[PlatformServer]:
    """Serve the platform on a free port of 127.0.0.1 while the block runs."""
    server = PlatformServer()
    with _HttpServer(server) as http:
        server.address = f"127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, platform: PlatformServer) -> None:
        self.platform = platform
        super().__init__(("127.0.0.1", 0), _Request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away."""


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept alive
    wbufsize = -1  # an answer is one packet: in two, the second waits for Nagle's 40 ms
    server: _HttpServer

    def setup(self) -> None:
        """Count a connection that is opened."""
        super().setup()
        self.server.platform.count_connection(1)

    def finish(self) -> None:
        """Count a connection that is closed."""
        self.server.platform.count_connection(-1)
        super().finish()

    def do_POST(self) -> None:
        """Answer as the platform would, having noted the token."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        status, content, headers = self.server.platform.answer(
            self.command, self.path, token, body
        )
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        """Answer as to any other request."""
        self.do_POST()

    def log_message(self, *_: object) -> None:
        """Say nothing: a test has output of its own."""


def _step_of(method: str, path: str) -> Step:
    if path == _SIGN_IN:
        return "sign-in"
    if path == f"/v1/{_DATABASE}:runQuery":
        return "organisation"
    if (method, path) == ("GET", f"/v1/{_PROJECTS}"):
        return "projects"
    return "document"


def _refusal(status: int, why: str) -> tuple[int, Any]:
    return status, {"error": {"code": status, "message": why}}


def _is_value(value: Any, *, is_in_array: bool = False) -> bool:
    """Whether it is one value as Firestore takes it; an array holds no other directly."""
    if not isinstance(value, dict) or len(value) != 1:
        return False
    [(kind, held)] = value.items()
    if kind == "mapValue":
        return all(_is_value(item) for item in held.get("fields", {}).values())
    if kind == "arrayValue":
        return not is_in_array and all(
            _is_value(item, is_in_array=True) for item in held.get("values", [])
        )
    if kind == "timestampValue":
        return _is_date(held)
    return isinstance(held, _PLAIN_VALUES.get(kind, ()))


def _is_date(text: Any) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except (TypeError, ValueError):
        return False
