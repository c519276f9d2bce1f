"""Settings made from what was said: the arguments, then the environment.

A setting out of bounds is an error where somebody wrote it, and a notice with the default
where the environment did: a deployment's typo must not take the app down.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args
from urllib.parse import urlsplit

from ._ledger import ledger
from ._settings import (
    DAY_SECONDS,
    DEFAULT_HOST,
    MIB,
    PatternName,
    Redactor,
    Settings,
)
from .errors import ConfigurationError


def settings_from(
    arguments: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> Settings:
    """Return each setting from the arguments, else from the environment.

    Args:
        arguments: What `configure` was called with; None counts as not given.
        environment: Default: `os.environ`, read now.

    Raises:
        ConfigurationError: An argument is unknown, of the wrong type or out of bounds.
    """
    environment = os.environ if environment is None else environment
    unknown = arguments.keys() - _CHECKS.keys() - {"client"}
    if unknown:
        message = f"{min(unknown)!r} is no setting; there are {', '.join(sorted(_CHECKS))}"
        raise ConfigurationError(message)
    values: dict[str, Any] = {}
    for name, (variable, check) in _CHECKS.items():
        given = arguments.get(name)
        text = environment.get(variable) if variable else None
        if given is not None:
            values[name] = check(name, given)
        elif variable and text is not None and (text or name in _EMPTY_IS_SAID):
            value = _from_environment(name, variable, text, check)
            if value is not None:
                values[name] = value
    _take_client(arguments.get("client"), values)
    return Settings(**values)


def notice_credentials(settings: Settings) -> None:
    """Say once which of two credentials hold, or what half of one is missing."""
    if settings.api_key and settings.email and settings.password:
        ledger.say(
            "two_platforms",
            "both an API key and an e-mail with its password are set, so records go where "
            "the key says; unset the ones that are not meant",
        )
    elif not settings.api_key and bool(settings.email) != bool(settings.password):
        missing = "TRUBRICS_PASSWORD" if settings.email else "TRUBRICS_EMAIL"
        ledger.say(
            "half_credentials",
            f"of an e-mail and its password one is missing, so records stay on this "
            f"machine; set {missing} as well",
        )


def _take_client(client: Any, values: dict[str, Any]) -> None:
    """Take an official client's key and host; its thread is left alone."""
    if client is None:
        return
    api_key, host = getattr(client, "api_key", None), getattr(client, "host", None)
    if not (isinstance(api_key, str) and isinstance(host, str)):
        message = f"client={type(client).__name__} is no trubrics.Trubrics; give api_key="
        raise ConfigurationError(message)
    values.update(api_key=_key("api_key", api_key), host=_host("host", host))


_LONGEST_SHOWN = 24  # characters: a key is longer, and so is no setting that has a bound

_Check = Callable[[str, Any], Any]


def _from_environment(name: str, variable: str, text: str, check: _Check) -> Any:
    try:
        return check(name, text)
    except ConfigurationError as error:
        ledger.say(variable, f"the environment's {variable} is not used: {error}")
        return None


def _refuse(name: str, value: object, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"{name}={_shown(value)} cannot be used; {remedy}")


def _shown(value: object) -> str:
    # What is no plain value may show anything of itself, or raise; a long text may be a
    # key that was put into the wrong place.
    if (
        type(value) in (str, int, float, bool)
        and len(shown := repr(value)) <= _LONGEST_SHOWN
    ):
        return shown
    return f"a {type(value).__name__}"


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _refuse(name, value, "give a str")
    if value.encode(errors="replace").decode() != value:  # bytes of another encoding
        raise _refuse(name, value, "give text that UTF-8 can say")
    return value


def _secret(name: str, value: Any) -> str:
    # A secret that is mounted as a file ends in a newline.
    secret = value.strip() if isinstance(value, str) else ""
    if not secret or not secret.isprintable():
        message = f"{name} is no usable text ({type(value).__name__}); give a str"
        raise ConfigurationError(message)
    return secret


def _key(name: str, value: Any) -> str:
    key = _secret(name, value)
    if not key.isascii():  # it travels in a header
        message = f"{name} holds characters that no key has; copy it again"
        raise ConfigurationError(message)
    return key


def _host(name: str, value: Any) -> str:
    if isinstance(value, str) and "@" in value:
        message = f"{name} holds a password; give it without, and the key as api_key"
        raise ConfigurationError(message)
    try:
        parts = urlsplit(_text(name, value))
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # no str, or brackets, or a port, that are none
        is_usable = False
    if not is_usable:
        # Not shown: it may be a key that was put into the wrong place.
        message = f"{name} is no http or https URL; give one such as {DEFAULT_HOST}"
        raise ConfigurationError(message)
    return str(value).rstrip("/")


def _truth(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUTHS:
        return _TRUTHS[value.lower()]
    raise _refuse(name, value, "give True or False")


_TRUTHS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def _number(kind: type[int | float], lowest: float, highest: float) -> _Check:
    def check(name: str, value: Any) -> float:
        try:
            number = kind(value)
            is_one = isinstance(value, str) or number == value  # half a record is none
        except (TypeError, ValueError, OverflowError):
            is_one = False
        if not is_one or isinstance(value, bool):
            raise _refuse(name, value, f"give a {kind.__name__}")
        if not lowest <= number <= highest:
            remedy = f"it must be from {lowest:,} to {highest:,}"
            raise _refuse(name, value, remedy)
        return number

    return check


def _one_of(*allowed: str) -> _Check:
    def check(name: str, value: Any) -> str:
        if value not in allowed:
            remedy = f"give {' or '.join(map(repr, allowed))}"
            raise _refuse(name, value, remedy)
        return str(value)

    return check


def _function(name: str, value: Any) -> Callable[..., Any]:
    if not callable(value):
        raise _refuse(name, value, "give a callable")
    return value  # type: ignore[no-any-return] # narrowed to a callable of anything


def _redactors(name: str, value: Any) -> tuple[Redactor | PatternName, ...]:
    if isinstance(value, str) and value == "all":
        return get_args(PatternName)
    if callable(value) or isinstance(value, (str, bytes)):
        return (_redactor(name, value),)
    if not isinstance(value, Iterable):
        raise _refuse(name, value, "give a callable, a pattern's name, or several")
    return tuple(_redactor(name, one) for one in value)


def _redactor(name: str, value: Any) -> Redactor | PatternName:
    if callable(value) or (isinstance(value, str) and value in get_args(PatternName)):
        return value  # type: ignore[no-any-return] # narrowed to these, or a callable
    patterns = ", ".join(get_args(PatternName))
    raise _refuse(name, value, f"give a callable, all, or of these: {patterns}")


def _pseudonym_key(name: str, value: Any) -> bytes:
    key = value if isinstance(value, bytes) else b""
    if isinstance(value, str):
        key = value.strip().encode(errors="surrogatepass")
    if len(key) < _SHORTEST_KEY_BYTES:
        # Not shown: it may be most of the right one.
        message = (
            f"{name} is no usable key ({type(value).__name__}); give a str or bytes, "
            f"{_SHORTEST_KEY_BYTES} long or more, as secrets.token_hex() makes them"
        )
        raise ConfigurationError(message)
    return key


_SHORTEST_KEY_BYTES = 8  # fewer are found by trying all


def _path(name: str, value: Any) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise _refuse(name, value, "give a str or a Path")
    return _text(name, os.fspath(value))


def _trace(name: str) -> str:
    return f"TRUBRICS_TRACE_{name}"


_EMPTY_IS_SAID = ("anonymous_user",)  # any other variable that is empty is not set

# Each setting: the variable that may give it, and what makes a value of what was given.
_CHECKS: Mapping[str, tuple[str | None, _Check]] = {
    "api_key": ("TRUBRICS_API_KEY", _key),
    "host": ("TRUBRICS_HOST", _host),
    "email": ("TRUBRICS_EMAIL", _secret),
    "password": ("TRUBRICS_PASSWORD", _secret),
    "project": ("TRUBRICS_PROJECT", _text),
    "account": ("TRUBRICS_ACCOUNT", _text),
    "enabled": (_trace("ENABLED"), _truth),
    "spool_dir": (_trace("SPOOL_DIR"), _path),
    "spool_max_bytes": (_trace("SPOOL_MAX_BYTES"), _number(int, MIB, 2**50)),
    "spool_max_age": (_trace("SPOOL_MAX_AGE"), _number(float, 60, 3650 * DAY_SECONDS)),
    "keep_delivered": (_trace("KEEP_DELIVERED"), _number(float, 0, 3650 * DAY_SECONDS)),
    "flush_interval": (_trace("FLUSH_INTERVAL"), _number(float, 0.1, 3600)),
    "batch_size": (_trace("BATCH_SIZE"), _number(int, 1, 100)),
    "sample_rate": (_trace("SAMPLE_RATE"), _number(float, 0, 1)),
    "capture_content": (_trace("CAPTURE_CONTENT"), _truth),
    "max_text_length": (_trace("MAX_TEXT_LENGTH"), _number(int, 1, 2**24)),
    "log_messages": (_trace("LOG_MESSAGES"), _truth),
    "console": (_trace("CONSOLE"), _truth),
    "anonymous_user": (_trace("ANONYMOUS_USER"), _text),
    "environment": (_trace("ENVIRONMENT"), _text),
    "strict": (_trace("STRICT"), _truth),
    "capture": (None, _one_of("scoped", "all")),
    "record": (None, _one_of("calls", "root")),
    "redact": (None, _redactors),
    "pseudonymize": (None, _pseudonym_key),
    "before_send": (None, _function),
    "on_error": (None, _function),
}
