"""The hook is registered once, whatever the order of imports."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.program import output_of

COUNT = """
from trubrics_trace.testing import capture_prompts
def ask():
    from langchain_core.language_models import FakeListChatModel
    with capture_prompts() as records, trubrics_trace.trubrics_scope(user_id="alice"):
        FakeListChatModel(responses=["42"]).invoke("The answer?")
    from langchain_core.tracers.context import _configure_hooks
    hooks = [var for var, *_ in _configure_hooks if "trubrics" in repr(var)]
    return len(hooks), [record.user_id for record in records]
"""

PROGRAMS = {
    "LangChain first": """
        import langchain_core.language_models, langchain_core.tracers.context
        import trubrics_trace
        {count}
        print(ask())
        """,
    "ours first": """
        import trubrics_trace
        import langchain_core.language_models, langchain_core.tracers.context
        {count}
        print(ask())
        """,
    "ours only, LangChain inside the scope": """
        import sys, trubrics_trace
        {count}
        assert not any(name.startswith("langchain_core") for name in sys.modules)
        print(ask())
        """,
    "LangChain first met by the handler": """
        import trubrics_trace
        trubrics_trace.TrubricsCallbackHandler()
        {count}
        print(ask())
        """,
    "after a scope, and another scope": """
        import trubrics_trace
        with trubrics_trace.trubrics_scope():
            import langchain_core.callbacks
        {count}
        ask()
        print(ask())
        """,
    "after a reload of every module of ours": """
        import importlib, sys, trubrics_trace
        {count}
        ask()
        for name in [name for name in sys.modules if name.startswith("trubrics_trace")]:
            del sys.modules[name]
        import trubrics_trace
        {count}
        print(ask())
        """,
    "after importlib.reload": """
        import importlib, trubrics_trace, trubrics_trace.langchain._hook
        {count}
        ask()
        importlib.reload(trubrics_trace.langchain._hook)
        importlib.reload(trubrics_trace)
        print(ask())
        """,
    "in a notebook's cell that is run again": """
        cell = '''
        import trubrics_trace
        from trubrics_trace import trubrics_scope, TrubricsCallbackHandler
        handler = TrubricsCallbackHandler()
        {count}
        answer = ask()
        '''
        import textwrap
        for _ in range(3):
            exec(textwrap.dedent(cell))
        print(answer)
        """,
}


def program(text: str) -> str:
    """Return the program with the counting function in its place, at its depth."""
    lines: list[str] = []
    for line in text.splitlines():
        depth = line[: len(line) - len(line.lstrip())]
        if line.strip() == "{count}":
            lines.extend(depth + counted for counted in COUNT.splitlines())
        else:
            lines.append(line)
    return "\n".join(lines)


@pytest.mark.parametrize("order", PROGRAMS)
def test_the_hook_is_registered_once(order: str, tmp_path: Path) -> None:
    """In every order of imports there is one hook, and a call is recorded once."""
    assert "(1, ['alice'])" == output_of(program(PROGRAMS[order]), tmp_path)


def test_everything_is_captured(tmp_path: Path) -> None:
    """With `capture="all"` no scope need ever open."""
    source = """
        from trubrics_trace import configure, stats
        configure(capture="all")
        from langchain_core.language_models import FakeListChatModel
        FakeListChatModel(responses=["42"]).invoke("The answer?")
        print(stats().accepted)
        """

    assert "1" == output_of(source, tmp_path)
