"""Fixtures: `captured_prompts`, `trubrics_leaks`, and others.

Loaded with every pytest, so that nothing is imported here before a test asks for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ._record import PromptRecord, Record
    from .testing import IngestionServer


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
