"""What the built-in patterns find, what they leave, and that nothing gets around them."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel

from trubrics_trace import (
    DurableTrubrics,
    PromptRecord,
    Settings,
    configure,
    flush,
    track_event,
    track_feedback,
    trubrics_scope,
)
from trubrics_trace._settings import PatternName
from trubrics_trace.pipeline._patterns import PATTERNS
from trubrics_trace.pipeline._pseudonym import pseudonym
from trubrics_trace.pipeline._redact import prepare
from trubrics_trace.testing import IngestionServer, capture_records

CORPUS = (Path(__file__).parent / "corpus.txt").read_text().replace("¦", "")
GUIDE = (Path(__file__).parents[2] / "docs/how-to/privacy.md").read_text()
MASKS = {
    **{str(name): f"[{name}]" for name in PATTERNS},
    "api_key": "[api key]",
    "url_credentials": "[credentials]",
}
CASES = {
    section.partition("\n")[0]: re.findall(r"^([+-]) (.*)$", section, re.MULTILINE)
    for section in CORPUS.split("\n# ")[1:]
}
SECRETS = re.findall("«(.*?)»", CORPUS)
TEXTS = [re.sub("[«»]", "", text) for cases in CASES.values() for _, text in cases]


def redacted(text: str) -> str:
    """Return what all patterns leave of a text."""
    for redactor in PATTERNS.values():
        text = redactor(text)
    return text


def measured(name: str) -> tuple[int, int, int, int]:
    """Return how many true cases there are and are found, false ones, and are masked."""
    found = wrong = 0
    for kind, text in CASES[name]:
        said = PATTERNS[name](re.sub("[«»]", "", text))  # type: ignore[index] # a section
        if kind == "+":
            found += said == re.sub("«.*?»", MASKS[name], text)
        else:
            wrong += said != text
    kinds = [kind for kind, _ in CASES[name]]
    return kinds.count("+"), found, kinds.count("-"), wrong


def test_corpus_is_large() -> None:
    """At least three hundred true cases and as many false ones are held against them."""
    kinds = [kind for cases in CASES.values() for kind, _ in cases]
    assert min(kinds.count("+"), kinds.count("-")) >= 300
    assert set(get_args(PatternName)) == set(CASES) == set(PATTERNS)


@pytest.mark.parametrize("name", PATTERNS)
def test_figures_of_the_guide(name: str) -> None:
    """Precision and recall of each pattern are those that its page tells."""
    true, found, false, wrong = measured(name)
    precision, recall = found / (found + wrong), found / true
    row = f"| {true} | {false} | {precision:.1%} | {recall:.1%} |"
    assert re.search(rf"^\| `{name}` \|.*{re.escape(row)}$", GUIDE, re.MULTILINE), row


PIECES = st.lists(
    st.sampled_from(SECRETS)
    | st.sampled_from(TEXTS)
    | st.text("+-.:/@()[]= 01a49?&%'\"", max_size=4)
    | st.sampled_from(["http://", "?token=", "Bearer ", "version "])
    | st.text(max_size=3),
    max_size=6,
).map("".join)


@pytest.mark.parametrize("name", PATTERNS)
@given(text=PIECES)
@example(text="two: redis://:@b and redis://:c@d")
def test_idempotent(name: PatternName, text: str) -> None:
    """To redact twice is to redact once, and a mask is twelve characters longer at most."""
    once = PATTERNS[name](text)
    assert once == PATTERNS[name](once)
    # `:@` may be credentials: that is the shortest of all, and its mask the longest.
    assert len(once) <= len(text) + 12 * once.count("[")


@given(text=PIECES)
def test_all_idempotent(text: str) -> None:
    """All patterns after each other find nothing in what they have left."""
    once = redacted(text)
    assert once == redacted(once)


PROMPT = "I am alice.5eed@example.com, card 4111 1111 1111 1111, call +49 30 12345678"
ANSWER = "Not DE89 3704 0044 0532 0130 00 at 203.0.113.7, postgres://app:hunter5eed@db/x"
SEEDED = (
    "alice.5eed@example.com",
    "4111 1111 1111 1111",
    "+49 30 12345678",
    "DE89 3704 0044 0532 0130 00",
    "203.0.113.7",
    "hunter5eed",
    "carol-5eed",
)


class Failing(FakeListChatModel):
    """A model whose error repeats what it was asked."""

    def _call(self, *_: Any, **__: Any) -> str:
        raise ValueError(PROMPT)


def say_everything() -> None:
    """Let what is secret be said in each field that people or models fill."""
    with trubrics_scope(user_id="carol-5eed", thread_id="t", note=PROMPT, told={PROMPT: 1}):
        config: Any = {"metadata": {"said": [ANSWER], "deep": {"er": PROMPT}}}
        FakeListChatModel(responses=[ANSWER]).invoke(PROMPT, config)
        list(FakeListChatModel(responses=[ANSWER]).stream([("system", ANSWER), PROMPT]))
        failing = Failing(responses=[]).with_retry(stop_after_attempt=1)
        with pytest.raises(ValueError, match="5eed"):
            failing.invoke(PROMPT)
        track_feedback(1, PROMPT, said=ANSWER)
        track_event("clicked", said=ANSWER)
        DurableTrubrics().track_llm("carol-5eed", PROMPT, ANSWER, properties={"a": PROMPT})


def bytes_left(
    server: IngestionServer, caplog: pytest.LogCaptureFixture, spool_dir: Path
) -> dict[str, str]:
    """Return all that log, spool and wire hold, once it has arrived."""
    caplog.set_level(logging.DEBUG)
    say_everything()
    spool = [path.read_bytes() for path in spool_dir.rglob("*.jsonl")]
    assert flush(timeout=30)
    with capture_records() as records:
        say_everything()
    return {
        "log": caplog.text,
        "spool": b"".join(spool).decode(),
        "wire": repr(server.events),
        "records": repr([record.to_dict() for record in records]),
    }


def test_seeded_secrets(
    trubrics_server: IngestionServer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """After a run that says secrets everywhere no unredacted copy is found anywhere."""
    configure(
        api_key=trubrics_server.api_key,
        host=trubrics_server.url,
        redact="all",
        pseudonymize="key-5eed-of-the-test",
        keep_delivered=600,
    )
    places = bytes_left(trubrics_server, caplog, tmp_path / "spool")
    named = pseudonym("carol-5eed", b"key-5eed-of-the-test")
    for place, text in places.items():
        assert "[email]" in text, place
        assert named in text, place
        found = [secret for secret in (*SEEDED, "key-5eed") if secret in text]
        assert [] == found, place


def test_no_content_anywhere(
    trubrics_server: IngestionServer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Without content no byte of a prompt or an answer is in log, spool or wire."""
    configure(
        api_key=trubrics_server.api_key,
        host=trubrics_server.url,
        capture_content=False,
    )
    caplog.set_level(logging.DEBUG)
    with trubrics_scope(user_id="alice", plan="free"):
        FakeListChatModel(responses=[ANSWER]).invoke(PROMPT, config={"metadata": {"k": 1}})
        list(FakeListChatModel(responses=[ANSWER]).stream([("system", ANSWER), PROMPT]))
        with pytest.raises(ValueError, match="5eed"):
            Failing(responses=[]).with_retry(stop_after_attempt=1).invoke(PROMPT)
        track_feedback(1, PROMPT)
        DurableTrubrics().track_llm("alice", PROMPT, ANSWER)
    spool = b"".join(path.read_bytes() for path in (tmp_path / "spool").rglob("*.jsonl"))
    assert flush(timeout=30)
    for text in (caplog.text, spool.decode(), repr(trubrics_server.events)):
        assert "alice" in text
        assert [] == [said for said in SEEDED if said in text]


def test_pseudonyms() -> None:
    """Under one key a user has one name, under another another, and nobody has none."""
    record = PromptRecord(record_id="1", user_id="alice", thread_id="t")
    one, again, other = (
        prepare(record, Settings(pseudonymize=key)) for key in (b"one", b"one", b"other")
    )
    assert one.user_id == again.user_id == pseudonym("alice", b"one")
    assert one.user_id != other.user_id
    assert "t" == one.thread_id
    nobody = PromptRecord(record_id="1")
    assert prepare(nobody, Settings(pseudonymize=b"one")).user_id is None


def test_user_of_the_client_that_is_no_text() -> None:
    """Whatever the official client is given as a user leaves under a pseudonym."""
    configure(pseudonymize=b"a key of bytes")
    with capture_records() as records:
        DurableTrubrics().track(7, "clicked")  # type: ignore[arg-type] # as apps do
    [record] = records
    assert pseudonym("7", b"a key of bytes") == record.user_id
    assert f"'user_id': {record.user_id!r}" in repr(record.to_dict())


def test_keys_of_metadata() -> None:
    """An address that is a key is masked, and costs none of the values."""
    mine = {"a@example.com": 1, "b@example.com": 2, "c@example.com": 3, "[email] 3": 4}
    record = PromptRecord(record_id="1", metadata={"by": dict(reversed(mine.items()))})
    said = prepare(record, Settings(redact=("email", str.upper))).metadata["by"]
    assert {"[email] 3": 4, "[email]": 3, "[email] 3'": 2, "[email] 4": 1} == said


@pytest.mark.parametrize("name", PATTERNS)
def test_linear_time(name: PatternName) -> None:
    """A long text that nearly has a shape again and again is gone through once."""
    for almost in ("a@a.", "+1(", "DE89 ", "eyJaaaaaaaa", "sk-", "://a:", "12.", ":1"):
        PATTERNS[name](almost * (100_000 // len(almost)))
