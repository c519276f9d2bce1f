"""HTML in which every text is escaped, because none gets in otherwise."""

from __future__ import annotations

import html
from typing import Any


class Markup(str):
    """What is HTML already; any other value is a text, to be escaped."""

    __slots__ = ()


def element(name: str, *content: Any, **attributes: Any) -> Markup:
    """Return an element with what it contains; None is left out.

    >>> element("p", "1 < 2, ", element("b", "really"), class_="note")
    '<p class="note">1 &lt; 2, <b>really</b></p>'
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{said}>{together(*content)}</{name}>")


def together(*content: Any) -> Markup:
    """Return several pieces, one after the other."""
    return Markup("".join(_escaped(one) for one in content if one is not None))


def _escaped(one: Any) -> str:
    return one if isinstance(one, Markup) else html.escape(str(one))
