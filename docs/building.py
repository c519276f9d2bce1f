"""What the site has beyond its pages: a menu made of the index, and each command's help."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from griffe import Extension, Object
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

INDEX = "how-to/README.md"
HELP = "<!-- the help of each command -->"

# What a browser fetches by itself; links that are followed by hand may lead anywhere.
FETCHED = re.compile(
    r"<(?:script|img|iframe|source|audio|video)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^\s\"'>]+"
    r"|<link\b[^>]*\brel=[\"']?(?:stylesheet|preload|preconnect)[^>]*(?:https?:)?//[^>]+"
    r"|@import[^;]*//[^;]+|url\([\"']?(?:https?:)?//[^)]+"
)


class Examples(Extension):
    """Shows what stands below `Example:` as a program, which Griffe does in the plural."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Call it as Griffe does."""
        if obj.docstring is not None:
            told = obj.docstring.value
            obj.docstring.value = re.sub(
                r"^Example:$", "Examples:", told, flags=re.MULTILINE
            )


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the menu's part of guides: in the order in which their index names them."""
    index = (Path(config.docs_dir) / INDEX).read_text()
    pages = dict.fromkeys(re.findall(r"^\|.*?\]\((\w[\w-]*\.md)\)", index, re.MULTILINE))
    for part in config.nav or []:
        if "How to" in part:
            part["How to"] = [INDEX, *(f"how-to/{page}" for page in pages)]
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put what each command says of itself where a page asks for it."""
    return markdown.replace(HELP, _help()) if HELP in markdown else markdown


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site whose pages fetch anything from elsewhere.

    Raises:
        PluginError: One does, and this is what.
    """
    for path in Path(config.site_dir).rglob("*"):
        if path.suffix in (".html", ".css"):
            for fetched in FETCHED.findall(path.read_text()):
                message = f"{path.name} fetches {fetched}"
                raise PluginError(message)


def _help() -> str:
    whole = _said("--help")
    commands = re.findall(r"^    ([a-z]+) ", whole, re.MULTILINE)
    said = [("trubrics-trace", whole)]
    said += [
        (f"trubrics-trace {command}", _said(command, "--help")) for command in commands
    ]
    return "\n\n".join(f"## {title}\n\n```text\n{text}```" for title, text in said)


def _said(*arguments: str) -> str:
    return subprocess.run(  # noqa: S603 - this Python, and our own words
        [sys.executable, "-m", "trubrics_trace", *arguments],
        env={**os.environ, "COLUMNS": "88", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
