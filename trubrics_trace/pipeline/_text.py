"""One text on its way out: cleared of keys, cut, and as UTF-8 can say it."""

from __future__ import annotations

import re

MASK = "[masked]"

_MAX_ERROR_LENGTH = 1_000  # characters: a message is a hint, its traceback is elsewhere

_SECRET_SHAPES = re.compile(
    r"(?P<url>\b[a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s/@]+@"
    r"|\b(?:sk|pk|rk|ghp|gho|xox[abp])[-_][A-Za-z0-9_\-*.]{8,}"
    r"|\bAIza[A-Za-z0-9_\-]{20,}"
    r"|\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]*)?"
    r"|(?P<bearer>\b(?:bearer|authorization[\"']?\s*[:=]\s*[\"']?\w+)\s+)"
    r"[A-Za-z0-9._~+/\-]{8,}=*"
    r"|(?P<said>\b(?:api[_-]?key|password|secret|token)[\"']?\s*[:=]\s*[\"']?)[^\s\"',}]+",
    re.IGNORECASE,
)


def clean_error(message: str) -> str:
    """Return an error's message, cut, with no shapes of keys and passwords.

    Example:
        >>> clean_error("Incorrect API key provided: sk-proj-12345678abcd")
        'Incorrect API key provided: [masked]'
    """
    # No more is searched than may be shown: the search is slow over a very long word.
    head = message[: 2 * _MAX_ERROR_LENGTH]
    said = _SECRET_SHAPES.sub(_mask_secret, head)
    if head == message:
        return cut(said, _MAX_ERROR_LENGTH)
    return said[:_MAX_ERROR_LENGTH] + _cut_note(message)


def cut(text: str, limit: int) -> str:
    """Return the text, cut to `limit` characters and marked if it is longer.

    Example:
        >>> cut("abcdefgh", 3)
        'abc… [cut, 8 characters in all]'
    """
    if len(text) <= limit:
        return text
    return text[:limit] + _cut_note(text)


def sayable(text: str) -> str:
    """Return the text as UTF-8 can say it: no lone surrogate, and no NUL."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _cut_note(text: str) -> str:
    return f"… [cut, {len(text):,} characters in all]"


def _mask_secret(found: re.Match[str]) -> str:
    kept = found["url"] or found["bearer"] or found["said"] or ""
    return f"{kept}{MASK}@" if found["url"] else f"{kept}{MASK}"
