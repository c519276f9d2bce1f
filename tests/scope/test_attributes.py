"""Who is asking: how two answers merge, and what is no answer at all."""

from __future__ import annotations

import enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trubrics_trace import configure, current_scope, stats, trubrics_scope
from trubrics_trace._frozen import FrozenDict
from trubrics_trace.errors import TelemetryError
from trubrics_trace.scope._attributes import (
    IDENTITY_NAMES,
    NOT_GIVEN,
    NOTHING,
    Attributes,
    merge,
)

WORDS = st.text("abc", max_size=2)
IDENTITIES = st.one_of(st.just(NOT_GIVEN), st.none(), st.sampled_from(["alice", "bob"]))
ATTRIBUTES = st.builds(
    Attributes,
    **dict.fromkeys(IDENTITY_NAMES, IDENTITIES),
    tags=st.lists(WORDS, unique=True).map(tuple),
    metadata=st.dictionaries(WORDS, st.integers()).map(FrozenDict),
)


class Plan(str, enum.Enum):
    """A str that prints itself as something else."""

    FREE = "free"


class Level(enum.IntEnum):
    """An int that printed itself as something else until Python 3.11."""

    HIGH = 3


class Loud(int):
    """An int that prints itself as something else."""

    def __str__(self) -> str:
        return "loud"


class Broken:
    """An iterable that cannot be iterated."""

    def __iter__(self) -> Any:
        raise RuntimeError


@given(ATTRIBUTES, ATTRIBUTES, ATTRIBUTES)
def test_merge_is_associative(a: Attributes, b: Attributes, c: Attributes) -> None:
    """Three scopes say the same, whichever two are merged first."""
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


@given(ATTRIBUTES)
def test_nothing_is_the_identity(attributes: Attributes) -> None:
    """A scope that says nothing changes nothing, outside or inside."""
    assert attributes == merge(NOTHING, attributes)
    assert attributes == merge(attributes, NOTHING)
    assert attributes == merge(Attributes(), merge(attributes, Attributes()))


@given(ATTRIBUTES, ATTRIBUTES)
def test_inner_identity_wins(outer: Attributes, inner: Attributes) -> None:
    """Of each identity the inner one holds, unless it was not given."""
    merged = merge(outer, inner)
    for name in IDENTITY_NAMES:
        said = getattr(inner, name)
        expected = getattr(outer, name) if said is NOT_GIVEN else said
        assert expected == getattr(merged, name)


@given(ATTRIBUTES, ATTRIBUTES)
def test_tags_add_up(outer: Attributes, inner: Attributes) -> None:
    """Tags are the outer ones, then those of the inner ones that are new."""
    new = tuple(tag for tag in inner.tags if tag not in outer.tags)
    assert outer.tags + new == merge(outer, inner).tags


@given(ATTRIBUTES, ATTRIBUTES)
def test_metadata_merges_by_key(outer: Attributes, inner: Attributes) -> None:
    """Each key of the metadata is the inner scope's, where that has it."""
    metadata = merge(outer, inner).metadata
    assert outer.metadata.keys() | inner.metadata.keys() == metadata.keys()
    for key, value in metadata.items():
        assert inner.metadata.get(key, outer.metadata.get(key)) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("alice", "alice"),
        (7, "7"),
        (0, "0"),
        (
            UUID("12345678123456781234567812345678"),
            "12345678-1234-5678-1234-567812345678",
        ),
        (Plan.FREE, "free"),
        (Level.HIGH, "3"),
        (Loud(3), "3"),
    ],
)
@pytest.mark.parametrize("name", IDENTITY_NAMES)
def test_what_can_be_an_id(name: str, value: object, expected: str) -> None:
    """A str, an int and a UUID are ids, each as the text that it stands for."""
    keywords: dict[str, Any] = {name: value}
    with trubrics_scope(**keywords) as scope:
        actual = getattr(scope, name)
    assert expected == actual
    assert str is type(actual)
    assert {} == stats().noticed


@pytest.mark.parametrize("nobody", [None, "", lambda: None, lambda: ""])
def test_nobody_is_not_the_outer_user(nobody: Any) -> None:
    """None, "" and a callable that answers so are nobody, never the outer user."""
    with trubrics_scope(user_id="alice"), trubrics_scope(user_id=nobody) as scope:
        assert scope.user_id is None
    assert {} == stats().noticed


def test_left_out_is_inherited() -> None:
    """An identity that is left out is the outer one's."""
    outer: dict[str, Any] = dict.fromkeys(IDENTITY_NAMES, "given")
    with trubrics_scope(**outer), trubrics_scope(tags="inner") as scope:
        assert outer == {name: getattr(scope, name) for name in IDENTITY_NAMES}


@pytest.mark.parametrize("bad", [True, 1.5, b"alice", ["alice"], {"id": 1}, object()])
def test_a_bad_user_is_nobody(bad: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A user of any other type is nobody, counted each time, and said once."""
    with trubrics_scope(user_id="alice"):
        for _ in range(3):
            with trubrics_scope(user_id=bad) as scope:
                assert scope.user_id is None
    assert {"bad_user_id": 3} == stats().noticed
    assert 1 == len(caplog.messages)
    assert "user_id at test_attributes.py:" in caplog.text
    assert f"of type {type(bad).__name__}" in caplog.text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("chat", ("chat",)),
        (["chat", "search", "chat"], ("chat", "search")),
        ({"chat"}, ("chat",)),
        ((tag for tag in "ab"), ("a", "b")),
        (None, ()),
        ([], ()),
    ],
)
def test_tags_are_one_or_several(given: Any, expected: tuple[str, ...]) -> None:
    """A str is one tag, an iterable as many as it has, None none."""
    with trubrics_scope(tags=given) as scope:
        assert expected == scope.tags
    assert {} == stats().noticed


@pytest.mark.parametrize(
    ("keywords", "reason"),
    [
        ({"tags": 5}, "bad_tags"),
        ({"tags": b"chat"}, "bad_tags"),
        ({"tags": {"chat": 1}}, "bad_tags"),
        ({"tags": ["chat", 5]}, "bad_tags"),
        ({"metadata": ["plan"]}, "bad_metadata"),
        ({"metadata": "plan"}, "bad_metadata"),
    ],
)
def test_bad_tags_and_metadata_are_left_out(
    keywords: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Tags and metadata of a wrong type are left out, counted and said; the user stays."""
    outer = trubrics_scope(user_id="alice", tags="outer", plan="free")
    with outer, trubrics_scope(**keywords) as scope:
        assert "alice" == scope.user_id
        assert ("outer",) == scope.tags
        assert {"plan": "free"} == scope.metadata
    assert {reason: 1} == stats().noticed
    assert 1 == len(caplog.messages)


def test_what_cannot_even_be_read_is_nobody() -> None:
    """Where reading what was given raises, nobody is asking: not the outer user."""
    broken: Any = Broken()
    with trubrics_scope(user_id="alice"), trubrics_scope(tags=broken) as scope:
        assert scope.user_id is None
    assert {"attributes_failed": 1} == stats().noticed


def test_other_keywords_are_metadata() -> None:
    """Each other keyword is metadata, and wins over the same key of `metadata=`."""
    metadata: Any = {"plan": "free", "user_id": "of another system", 5: "five"}
    with trubrics_scope(metadata=metadata, plan="paid", city=None) as scope:
        assert {
            "plan": "paid",
            "user_id": "of another system",
            "5": "five",
            "city": None,
        } == scope.metadata
        assert scope.user_id is None


def test_metadata_cannot_be_changed() -> None:
    """What a scope says cannot be changed through it, nor by who gave it."""
    given = {"plan": "free"}
    with trubrics_scope(metadata=given) as scope:
        given["plan"] = "paid"
        assert {"plan": "free"} == scope.metadata
        with pytest.raises(TypeError):
            scope.metadata["plan"] = "paid"  # type: ignore[index] # what is tested


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("user", "user_id"),
        ("userid", "user_id"),
        ("tag", "tags"),
        ("thread", "thread_id"),
        ("session", "session_id"),
        ("conversation_id", "thread_id"),
    ],
)
def test_near_misses_are_said(
    name: str, meant: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A keyword that was hardly meant as metadata stays it, is counted and said once."""
    keywords: dict[str, Any] = {name: "x"}
    for _ in range(2):
        with trubrics_scope(**keywords) as scope:
            assert {name: "x"} == scope.metadata
            assert scope.user_id is None
    assert {f"near_miss_{name}": 2} == stats().noticed
    assert 1 == len(caplog.messages)
    assert f"the keyword {name!r} at test_attributes.py" in caplog.text
    assert f"{meant}=" in caplog.text


@pytest.mark.parametrize("keywords", [{"user_id": 1.5}, {"tags": 5}, {"user": "alice"}])
def test_strict_mode_raises(keywords: dict[str, Any]) -> None:
    """In strict mode what production counts is raised, and leaves no scope behind."""
    configure(strict=True)
    with pytest.raises(TelemetryError), trubrics_scope(**keywords):
        pytest.fail("the block is never entered")
    assert current_scope() is None


def test_not_given_is_told() -> None:
    """Where a signature is shown, what is not given is called so."""
    assert "NOT_GIVEN" == repr(NOT_GIVEN)
