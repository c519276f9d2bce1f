"""Telemetry in tests: a list of records, and a server of Trubrics' wire."""

from __future__ import annotations

from ._assertions import assert_tracked
from ._capture import capture_prompts, capture_records
from ._server import IngestionServer, serve_ingestion

__all__ = [
    "IngestionServer",
    "assert_tracked",
    "capture_prompts",
    "capture_records",
    "serve_ingestion",
]
