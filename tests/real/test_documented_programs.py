"""The programs that LangChain documents for Trubrics, unchanged but for the import line.

Each runs as its user runs it: a file, a process of its own, and an environment that says
where the model is and whose account the prompts are for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import SecretStr

from examples.chat import smollm2
from tests.delivery.platform_server import (
    EMAIL,
    PASSWORD,
    PlatformServer,
    serve_platform,
)
from tests.delivery.test_platform import mapping, text
from tests.process.faults import settled_in
from tests.process.program import clean_environment
from tests.process.test_local import command
from tests.real.openai_server import answer_to, serve_openai, usage_of
from trubrics_trace.delivery._census import take_census
from trubrics_trace.testing import IngestionServer

# As LangChain's page on Trubrics has them; the account and the model's key, which the page
# puts into `os.environ` as `***`, are in the environment.
COMPLETION = """
from trubrics_trace import TrubricsCallbackHandler
from langchain_openai import OpenAI

llm = OpenAI(callbacks=[TrubricsCallbackHandler()])
res = llm.generate(["Tell me a joke", "Write me a poem"])
print("--> GPT's joke: ", res.generations[0][0].text)
print()
print("--> GPT's poem: ", res.generations[1][0].text)
"""
CHAT = """
from trubrics_trace import TrubricsCallbackHandler
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

chat_llm = ChatOpenAI(
    callbacks=[
        TrubricsCallbackHandler(
            project="default",
            tags=["chat model"],
            user_id="user-id-1234",
            some_metadata={"hello": [1, 2]},
        )
    ]
)
chat_res = chat_llm.invoke(
    [
        SystemMessage(content="Every answer of yours must be about OpenAI."),
        HumanMessage(content="Tell me a joke"),
    ]
)
print(chat_res.content)
"""
JOKE, POEM = "Tell me a joke", "Write me a poem"
SYSTEM = "Every answer of yours must be about OpenAI."

REPOSITORY = Path(__file__).parents[2]
ANSWER_TOKENS = 12  # the programs ask for as many as it takes
COUNTS = ("input_tokens", "output_tokens", "total_tokens")
BY_CHANCE = (
    "record_id",
    "started_at",
    "finish_reason",
    "parameters",
    *COUNTS,
    "cached_tokens",
)
PATIENCE_SECONDS = 60

# Under load the first import of LangChain's client takes its time, and so may the model.
pytestmark = pytest.mark.timeout(300)


class Llm(NamedTuple):
    """A server of language models: where it is, and if its answers are echoes."""

    url: str
    echoes: bool


@pytest.fixture(scope="module")
def stub() -> Iterator[Llm]:
    """Yield a server whose answers and counts are known beforehand."""
    with serve_openai() as url:
        yield Llm(url, echoes=True)


@pytest.fixture(scope="module")
def small_model() -> Iterator[Llm]:
    """Yield the real small language model, where `make demo` has installed it."""
    if not smollm2.is_installed():
        pytest.skip("the real model is not installed here; `make demo` installs it")
    server = subprocess.Popen(
        [sys.executable, "-m", smollm2.__name__],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with server:
        assert server.stdin is not None
        assert server.stdout is not None
        with relay_to(server.stdout.readline().strip()) as url:
            yield Llm(f"{url}/v1", echoes=False)
        server.stdin.close()


@pytest.fixture(params=["stub", "small_model"])
def llm(request: pytest.FixtureRequest) -> Llm:
    """Return each of the servers in turn."""
    server: Llm = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def platform() -> Iterator[PlatformServer]:
    """Yield the older platform."""
    with serve_platform() as server:
        yield server


@contextmanager
def relay_to(url: str) -> Iterator[str]:
    """Pass requests on, asking for few words: a program's `OpenAI()` asks for 256."""

    class Request(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({**asked, "max_tokens": ANSWER_TOKENS}).encode()
            headers = {"Content-Type": "application/json"}
            passed_on = urllib.request.Request(f"{url}{self.path}", body, headers)
            with urllib.request.urlopen(passed_on, timeout=PATIENCE_SECONDS) as answer:
                content = answer.read()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing: a test has output of its own."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Request) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}"
        finally:
            http.shutdown()
            thread.join()


def run(
    source: str, directory: Path, llm: Llm, account: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a documented program to its end, and see to it that its prompts are sent.

    What had not arrived within the second that its end may take is left to the command
    line, as its user would.
    """
    file, spool = directory / "program.py", directory / "spool"
    file.write_text(source)
    known = {**account, "OPENAI_BASE_URL": llm.url, "OPENAI_API_KEY": "none"}
    ended = subprocess.run(
        [sys.executable, str(file)],
        env=clean_environment(spool, **known),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert 0 == ended.returncode, ended.stderr
    if any(one.pending for one in take_census(spool)):
        assert 0 == command(spool, "flush", **known).returncode
    return ended


def todays(server: IngestionServer) -> dict[str, str]:
    """Return the environment of somebody with a key."""
    return {"TRUBRICS_API_KEY": server.api_key, "TRUBRICS_HOST": server.url}


def older(server: PlatformServer) -> dict[str, str]:
    """Return the environment of somebody with an e-mail and a password."""
    return {
        "TRUBRICS_EMAIL": EMAIL,
        "TRUBRICS_PASSWORD": PASSWORD,
        "FIREBASE_AUTH_EMULATOR_HOST": server.address,
        "FIRESTORE_EMULATOR_HOST": server.address,
    }


def event(arrived: dict[str, Any], prompt: str, model: str, **more: Any) -> dict[str, Any]:
    """Return what is to have arrived: `more` is of its properties, which are flat.

    What no one can know beforehand is taken from what did arrive.
    """
    said = arrived["properties"]
    ended = datetime.fromisoformat(said["started_at"]) + timedelta(
        seconds=arrived["latency"]
    )
    return {
        "user_id": "anonymous",
        "prompt": prompt,
        "generation": arrived["generation"],
        "prompt_event_name": "Prompt",
        "generation_event_name": "Generation",
        "assistant_id": model,
        "timestamp": ended.isoformat(),
        "latency": arrived["latency"],
        "thread_id": None,
        "properties": {
            "langchain_run_id": said["record_id"],
            "status": "complete",
            "attempts": 1,
            "model": model,
            "tags": ["langchain"],
            # LangChain need not name it, nor does `generate` in its older versions.
            **({"provider": "openai"} if "provider" in said else {}),
            **{name: said[name] for name in BY_CHANCE if name in said},
            **more,
        },
    }


def document(
    arrived: dict[str, Any], prompt: str, client: OpenAI | ChatOpenAI, **metadata: Any
) -> dict[str, Any]:
    """Return what is to be stored, with this beside the run's id in its metadata."""
    degrees = client.temperature
    temperature = {"nullValue": None} if degrees is None else {"doubleValue": degrees}
    run_id = arrived["metadata"]["mapValue"]["fields"]["langchain_run_id"]
    return {
        "config_model": mapping(
            model=text(client.model_name),
            prompt_template=text("{prompt}"),
            temperature=temperature,
        ),
        "prompt": text(prompt),
        "generation": arrived["generation"],
        "created_on": arrived["created_on"],
        "user_id": {"nullValue": None},
        "session_id": {"nullValue": None},
        "tags": {"arrayValue": {"values": [text("langchain")]}},
        "metadata": mapping(langchain_run_id=run_id, **metadata),
    }


def generated(documents: list[dict[str, Any]]) -> list[str]:
    """Return what the documents say that the model said."""
    return [fields["generation"]["stringValue"] for fields in documents]


def two_answers(joke: str, poem: str) -> str:
    """Return what the first program prints of these answers."""
    return f"--> GPT's joke:  {joke}\n\n--> GPT's poem:  {poem}\n"


def assert_nobody_was_missed(ended: subprocess.CompletedProcess[str], *, told: int) -> None:
    """Fail unless a call without a user was told of so often."""
    assert told == ended.stderr.count("has no user"), ended.stderr


def completion() -> OpenAI:
    """Return the first program's client, for what it is by default."""
    return OpenAI(api_key=SecretStr("none"))


def chat() -> ChatOpenAI:
    """Return the second program's client, for what it is by default."""
    return ChatOpenAI(api_key=SecretStr("none"))


def test_two_prompts(llm: Llm, trubrics_server: IngestionServer, tmp_path: Path) -> None:
    """With a key two prompts are saved, each with its own generation, and of nobody."""
    ended = run(COMPLETION, tmp_path, llm, todays(trubrics_server))

    joke, poem = trubrics_server.events
    assert event(joke, JOKE, completion().model_name) == joke
    assert event(poem, POEM, completion().model_name) == poem
    assert two_answers(joke["generation"], poem["generation"]) == ended.stdout
    assert [1, 1] == list(trubrics_server.record_ids.values())
    assert_nobody_was_missed(ended, told=1)
    assert 2 == settled_in(tmp_path / "spool")
    for each in (joke, poem):
        parameters = each["properties"]["parameters"]
        assert completion().temperature == parameters["temperature"]
    if llm.echoes:
        answers = [answer_to(JOKE), answer_to(POEM)]
        assert answers == [joke["generation"], poem["generation"]]
        # Of several prompts LangChain tells the tokens once, with the first.
        counted = [joke["properties"][name] for name in COUNTS]
        assert list(usage_of([JOKE, POEM], answers).values()) == counted


def test_two_documents(llm: Llm, platform: PlatformServer, tmp_path: Path) -> None:
    """With e-mail and password two prompts are saved, each with its own generation."""
    ended = run(COMPLETION, tmp_path, llm, older(platform))

    joke, poem = platform.stored_in("default/prompts")
    assert document(joke, JOKE, completion()) == joke
    assert document(poem, POEM, completion()) == poem
    assert two_answers(*generated([joke, poem])) == ended.stdout
    assert_nobody_was_missed(ended, told=1)
    assert 2 == settled_in(tmp_path / "spool")
    assert ["sign-in", "organisation", "projects"] == platform.steps[:3]
    assert_named_by_their_runs(platform)
    if llm.echoes:
        assert [answer_to(JOKE), answer_to(POEM)] == generated([joke, poem])


def test_chat(llm: Llm, trubrics_server: IngestionServer, tmp_path: Path) -> None:
    """With a key a chat is saved under its user, with its tags, metadata and messages."""
    ended = run(CHAT, tmp_path, llm, todays(trubrics_server))

    (arrived,) = trubrics_server.events
    said = {
        "tags": ["langchain", "chat model"],
        "some_metadata": {"hello": [1, 2]},
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": JOKE},
        ],
        "provider": "openai",
    }
    expected = event(arrived, JOKE, chat().model_name, **said)
    assert {**expected, "user_id": "user-id-1234"} == arrived
    assert f"{arrived['generation']}\n" == ended.stdout
    assert_nobody_was_missed(ended, told=0)
    assert 1 == settled_in(tmp_path / "spool")
    counted = [arrived["properties"][name] for name in COUNTS]
    assert counted[0] + counted[1] == counted[2] > 0
    if llm.echoes:
        answer = answer_to(JOKE)
        assert answer == arrived["generation"]
        assert list(usage_of([SYSTEM, JOKE], [answer]).values()) == counted


def test_document_of_a_chat(llm: Llm, platform: PlatformServer, tmp_path: Path) -> None:
    """With e-mail and password a chat is saved likewise, each value with its type."""
    ended = run(CHAT, tmp_path, llm, older(platform))

    (arrived,) = platform.stored_in("default/prompts")
    one, two = {"integerValue": "1"}, {"integerValue": "2"}
    messages = [
        mapping(role=text("system"), content=text(SYSTEM)),
        mapping(role=text("user"), content=text(JOKE)),
    ]
    expected = document(
        arrived,
        JOKE,
        chat(),
        some_metadata=mapping(hello={"arrayValue": {"values": [one, two]}}),
        messages={"arrayValue": {"values": messages}},
    )
    tags = {"arrayValue": {"values": [text("langchain"), text("chat model")]}}
    assert {**expected, "user_id": text("user-id-1234"), "tags": tags} == arrived
    assert [ended.stdout.removesuffix("\n")] == generated([arrived])
    assert_nobody_was_missed(ended, told=0)
    assert 1 == settled_in(tmp_path / "spool")
    assert_named_by_their_runs(platform)
    if llm.echoes:
        assert [answer_to(JOKE)] == generated([arrived])


def assert_named_by_their_runs(platform: PlatformServer) -> None:
    """Fail unless each document bears the id of the run that it tells of, and its time."""
    for name, fields in platform.documents.items():
        run_id = fields["metadata"]["mapValue"]["fields"]["langchain_run_id"]
        assert f"default/prompts/{run_id['stringValue']}" == name
        begun = datetime.fromisoformat(fields["created_on"]["timestampValue"])
        assert timedelta(0) == begun.utcoffset()


def test_log_of_the_older_platform(
    stub: Llm, platform: PlatformServer, tmp_path: Path
) -> None:
    """An app's log says that its account is authenticated, and that a prompt is saved."""
    logged = f"import logging\nlogging.basicConfig(level=logging.INFO)\n{CHAT}"
    ended = run(logged, tmp_path, stub, older(platform))

    (name,) = platform.documents
    record_id = name.rpartition("/")[2]
    for said in (
        "INFO:trubrics_trace:the Trubrics account has been authenticated",
        f"INFO:trubrics_trace:prompt {record_id} has been saved to Trubrics",
    ):
        assert 1 == ended.stderr.splitlines().count(said), ended.stderr
    assert PASSWORD not in ended.stderr
