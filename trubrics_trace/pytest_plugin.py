"""Fixtures `captured_prompts` and `trubrics_server`; LangChain is not loaded for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ._record import Record
    from .testing import IngestionServer


@pytest.fixture
def captured_prompts() -> Iterator[list[Record]]:
    """Yield a list of the test's records: no disk, no network, no thread."""
    from .testing import capture_prompts

    with capture_prompts() as records:
        yield records


@pytest.fixture
def trubrics_server() -> Iterator[IngestionServer]:
    """Yield a loopback server that speaks the ingestion API."""
    from .testing import serve_ingestion

    with serve_ingestion() as server:
        yield server
