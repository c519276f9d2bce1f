"""Fixtures, `captured_prompts` and others; a spool in memory for the rest.

Loaded with every pytest, so that nothing is imported here before a test asks for one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ._record import PromptRecord, Record
    from .testing import IngestionServer


_SPOOL_DIR = "TRUBRICS_TRACE_SPOOL_DIR"


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before an app is imported, which may ask for its settings at once."""
    _keep_in_memory(early_config)


def pytest_configure(config: pytest.Config) -> None:
    """Where a conftest has named the plugin, which is later."""
    _keep_in_memory(config)


def _keep_in_memory(config: pytest.Config) -> None:
    """Let tests, and what they start, keep records in memory.

    Unless somebody has named a spool. By the environment, which is read with the first
    record, and handed on to processes.
    """
    if not os.environ.get(_SPOOL_DIR):
        patch = pytest.MonkeyPatch()
        patch.setenv(_SPOOL_DIR, ":memory:")
        config.add_cleanup(patch.undo)


@pytest.fixture
def captured_prompts() -> Iterator[list[PromptRecord]]:
    """Yield a list of the test's prompts: no disk, no network, no thread."""
    from .testing import capture_prompts

    with capture_prompts() as prompts:
        yield prompts


@pytest.fixture
def captured_records() -> Iterator[list[Record]]:
    """Yield a list of the test's prompts, feedback and events, likewise."""
    from .testing import capture_records

    with capture_records() as records:
        yield records


@pytest.fixture
def trubrics_leaks() -> Iterator[None]:
    """Fail a test that leaves a scope open or a call running.

    In strict mode also one in which a call had no user, whoever swallowed that error.
    """
    from .testing._leaks import watch_for_leaks

    with watch_for_leaks() as leaks:
        yield
    if leaks:
        pytest.fail("\n".join(leaks), pytrace=False)


@pytest.fixture
def trubrics_server() -> Iterator[IngestionServer]:
    """Yield a loopback server that speaks the ingestion API."""
    from .testing import serve_ingestion

    with serve_ingestion() as server:
        yield server
