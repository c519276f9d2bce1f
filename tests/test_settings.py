"""Where records go and how they are treated: from arguments, then the environment."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trubrics import Trubrics

from trubrics_trace import Settings, configure, errors
from trubrics_trace._configuration import _CHECKS, settings_from
from trubrics_trace._settings import (
    DEFAULT_HOST,
    LOCAL,
    Destination,
    PatternName,
    fingerprint,
)

HOST = "https://trubrics.example/api"


def from_environment(**variables: str) -> Settings:
    """Return the settings that an environment gives."""
    return settings_from({}, variables)


def test_defaults() -> None:
    """With nothing said every setting has its default, and records stay here."""
    settings = settings_from({}, {})
    assert settings == Settings()
    assert settings.destination == LOCAL


def test_every_setting_can_be_given() -> None:
    """Each field of the settings is an argument, and each argument a field."""
    fields = {field.name for field in dataclasses.fields(Settings) if field.init}
    assert fields == set(_CHECKS)


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("TRUBRICS_API_KEY", "key", "api_key", "key"),
        ("TRUBRICS_API_KEY", "key\n", "api_key", "key"),
        ("TRUBRICS_HOST", HOST + "/", "host", HOST),
        ("TRUBRICS_EMAIL", "a@b.c", "email", "a@b.c"),
        ("TRUBRICS_PASSWORD", "pass wörd", "password", "pass wörd"),
        ("TRUBRICS_PROJECT", "mine", "project", "mine"),
        ("TRUBRICS_ACCOUNT", "acme", "account", "acme"),
        ("TRUBRICS_TRACE_ENABLED", "no", "enabled", False),
        ("TRUBRICS_TRACE_SPOOL_DIR", "/spool", "spool_dir", "/spool"),
        ("TRUBRICS_TRACE_SPOOL_MAX_BYTES", "2097152", "spool_max_bytes", 2_097_152),
        ("TRUBRICS_TRACE_KEEP_DELIVERED", "60", "keep_delivered", 60.0),
        ("TRUBRICS_TRACE_FLUSH_INTERVAL", "0.5", "flush_interval", 0.5),
        ("TRUBRICS_TRACE_BATCH_SIZE", "10", "batch_size", 10),
        ("TRUBRICS_TRACE_SAMPLE_RATE", "0.25", "sample_rate", 0.25),
        ("TRUBRICS_TRACE_CAPTURE_CONTENT", "false", "capture_content", False),
        ("TRUBRICS_TRACE_MAX_TEXT_LENGTH", "100", "max_text_length", 100),
        ("TRUBRICS_TRACE_LOG_MESSAGES", "1", "log_messages", True),
        ("TRUBRICS_TRACE_CONSOLE", "ON", "console", True),
        ("TRUBRICS_TRACE_ANONYMOUS_USER", "guest", "anonymous_user", "guest"),
        ("TRUBRICS_TRACE_ANONYMOUS_USER", "", "anonymous_user", ""),
        ("TRUBRICS_TRACE_ENVIRONMENT", "test", "environment", "test"),
        ("TRUBRICS_TRACE_STRICT", "yes", "strict", True),
    ],
)
def test_environment(variable: str, text: str, name: str, value: Any) -> None:
    """Each variable gives its setting."""
    assert from_environment(**{variable: text}) == Settings(**{name: value})


def test_empty_variable_is_not_set() -> None:
    """A variable that is empty is not set, save where empty says something."""
    variables = {variable: "" for variable, _ in _CHECKS.values() if variable}
    assert from_environment(**variables) == Settings(anonymous_user="")


def test_argument_before_environment() -> None:
    """What is said as an argument counts before the environment; None is not said."""
    environment = {"TRUBRICS_API_KEY": "theirs", "TRUBRICS_TRACE_BATCH_SIZE": "7"}
    settings = settings_from({"api_key": "mine", "batch_size": None}, environment)
    assert ("mine", 7) == (settings.api_key, settings.batch_size)


BAD = [
    ("api_key", 5),
    ("api_key", ""),
    ("api_key", "two\nlines"),
    ("api_key", "ключ"),
    ("host", "nowhere"),
    ("host", "ftp://host"),
    ("host", "https://"),
    ("host", "http://[::1"),
    ("host", "http://host:port"),
    ("host", "http://host:99999"),
    ("host", 5),
    ("project", 5),
    ("enabled", "perhaps"),
    ("enabled", 1),
    ("spool_dir", 5),
    ("spool_dir", b"bytes"),
    ("spool_max_bytes", 1024),
    ("keep_delivered", -1),
    ("flush_interval", 0.01),
    ("flush_interval", 4000),
    ("flush_interval", "often"),
    ("flush_interval", float("nan")),
    ("flush_interval", float("inf")),
    ("batch_size", 0),
    ("batch_size", 101),
    ("batch_size", True),
    ("batch_size", float("inf")),
    ("batch_size", [1]),
    ("sample_rate", 1.1),
    ("max_text_length", 0),
    ("capture", "everything"),
    ("redact", 5),
    ("redact", [5]),
    ("redact", "e-mail"),
    ("redact", ["email", "everything"]),
    ("redact", b"email"),
    ("pseudonymize", ""),
    ("pseudonymize", "short"),
    ("pseudonymize", b"short"),
    ("pseudonymize", 12345678),
    ("before_send", "no function"),
    ("on_error", 5),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_out_of_bounds(name: str, value: object) -> None:
    """A setting that cannot be used is an error that names it, where it is written."""
    with pytest.raises(errors.ConfigurationError, match=name):
        settings_from({name: value}, {})


BAD_TEXTS = [
    (name, value)
    for name, value in BAD
    if isinstance(value, str) and value and _CHECKS[name][0]
]


@pytest.mark.parametrize(("name", "value"), BAD_TEXTS)
def test_out_of_bounds_in_the_environment(
    name: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A variable that cannot be used is said once, and the default holds."""
    variable = _CHECKS[name][0]
    assert variable
    for _ in range(2):
        assert from_environment(**{variable: value}) == Settings()
    assert 1 == len([said for said in caplog.messages if variable in said])


@given(st.sampled_from([one for one, _ in _CHECKS.values() if one]), st.text())
def test_any_environment(variable: str, text: str) -> None:
    """Whatever the environment says, there are settings: the app is not taken down."""
    assert isinstance(from_environment(**{variable: text}), Settings)


JUNK = (
    st.none() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.none())
)


@given(st.sampled_from(sorted(_CHECKS)), JUNK)
def test_any_argument(name: str, value: Any) -> None:
    """An argument is used, or it is a configuration error; it is nothing else."""
    try:
        settings_from({name: value}, {})
    except errors.ConfigurationError as error:
        refusal = str(error)
    else:
        refusal = f"none of {name}"
    assert name in refusal


def test_key_in_the_wrong_place(caplog: pytest.LogCaptureFixture) -> None:
    """A long text that is no value may be a key: it is told by its type."""
    from_environment(TRUBRICS_TRACE_STRICT="sk-live-0123456789abcdefghij")
    [said] = caplog.messages
    assert "strict=a str cannot be used; give True or False" in said


@pytest.mark.parametrize("name", ["ACCOUNT", "PROJECT", "HOST"])
def test_environment_in_another_encoding(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What UTF-8 cannot say is not used, and said, where a deployment wrote it."""
    settings = from_environment(**{f"TRUBRICS_{name}": "http://caf\udce9"})
    assert settings.destination == from_environment().destination
    assert f"TRUBRICS_{name} is not used" in caplog.text


def test_unknown_argument() -> None:
    """A setting that there is not is an error that names those that there are."""
    with pytest.raises(errors.ConfigurationError, match=r"'api_ky' is no setting.*api_key"):
        configure(api_ky="key")  # type: ignore[call-arg] # that is the fault


@pytest.mark.parametrize(
    "host", ["https://bob:hunter2@host", "ftp://bob:hunter2@host", "bob:hunter2@host"]
)
def test_password_in_a_host(host: str) -> None:
    """A host with a password is refused, and the message does not repeat it."""
    with pytest.raises(errors.ConfigurationError, match="password") as caught:
        settings_from({"host": host}, {})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", ["secret\x00key", "sëcret-key"])
def test_bad_key_is_not_repeated(value: str) -> None:
    """A key that cannot be used is refused without being shown."""
    with pytest.raises(errors.ConfigurationError) as caught:
        settings_from({"api_key": value}, {})
    assert value not in str(caught.value)


def test_secrets_are_not_shown() -> None:
    """The settings' repr shows no key, e-mail or password."""
    settings = Settings(api_key="hidden-1", email="hidden-2", password="hidden-3")
    assert "hidden" not in repr(settings)


def test_several_redactors() -> None:
    """One redactor or several may be given."""
    one = settings_from({"redact": str.upper}, {}).redact
    several = settings_from({"redact": [str.upper, str.lower]}, {}).redact
    assert (one, several) == ((str.upper,), (str.upper, str.lower))


def test_named_redactors() -> None:
    """A pattern is given by its name, alone, among others, or with all there are."""
    one, several, everything = (
        settings_from({"redact": given}, {}).redact
        for given in ("email", ["card", str.upper], "all")
    )
    assert (("email",), ("card", str.upper)) == (one, several)
    assert set(get_args(PatternName)) == set(everything)


def test_key_of_pseudonyms() -> None:
    """The key of pseudonyms is text or bytes, and shown nowhere."""
    text, raw = (
        settings_from({"pseudonymize": key}, {}) for key in ("a secret key\n", b"\0" * 16)
    )
    assert (b"a secret key", b"\0" * 16) == (text.pseudonymize, raw.pseudonymize)
    assert "secret" not in repr(text)
    with pytest.raises(errors.ConfigurationError) as refused:
        settings_from({"pseudonymize": "5eed"}, {})
    assert "5eed" not in str(refused.value)


def test_path_as_spool_dir(tmp_path: Path) -> None:
    """The spool's place may be given as a path."""
    assert settings_from({"spool_dir": tmp_path}, {}).spool_dir == str(tmp_path)


def test_client_of_the_app() -> None:
    """An official client gives its key and host, before all else; its thread is its own."""
    client = Trubrics(api_key="theirs", host=HOST)
    settings = settings_from({"client": client}, {"TRUBRICS_API_KEY": "ours"})
    client.close()
    assert (settings.api_key, settings.host) == ("theirs", HOST)


def test_client_that_is_none() -> None:
    """What is no official client is refused, with the remedy."""
    with pytest.raises(errors.ConfigurationError, match=r"client=str.*api_key="):
        settings_from({"client": "key"}, {})


def test_destination() -> None:
    """With a key records go to the API, with e-mail and password to the older platform."""
    with_key = Settings(api_key="key", email="a@b.c", password="p")
    without = Settings(email="a@b.c", password="p", project="mine")
    assert with_key.destination == Destination(
        "ingestion", DEFAULT_HOST, fingerprint("key")
    )
    assert "platform" == without.destination.platform
    assert "a@b.c mine" == without.destination.account
    assert Settings(email="a@b.c").destination == LOCAL


def test_named_account() -> None:
    """A named account is the same destination under any key."""
    first, second = (
        Settings(api_key=key, account="acme").destination for key in ("one", "two")
    )
    assert first == second


def test_labels() -> None:
    """Each destination has a directory name of its own, which gives no key away."""
    destinations = [
        LOCAL,
        Settings(api_key="key").destination,
        Settings(api_key="other").destination,
        Settings(api_key="key", host=HOST).destination,
        Settings(api_key="key", host=f"{HOST}/v2").destination,
    ]
    labels = [destination.label for destination in destinations]
    assert len(set(labels)) == len(labels)
    assert "local" == labels[0]
    assert labels[1].startswith("app.trubrics.com-")


@given(host=st.text(), account=st.text())
def test_label_is_a_name(host: str, account: str) -> None:
    """A label is one plain name of a directory, whatever the host is called."""
    try:
        host = settings_from({"host": f"https://{host}"}, {}).host
    except errors.ConfigurationError:
        host = DEFAULT_HOST
    label = Destination("ingestion", host, account).label
    assert label == Path(label).name
    assert len(label) < 100


def test_host_that_is_none_is_not_shown() -> None:
    """What stands where a host should may be a key, so the error does not repeat it."""
    with pytest.raises(errors.ConfigurationError) as raised:
        settings_from({"host": "sk-live-abcdefgh123456"}, {})
    assert "sk-live" not in str(raised.value)
