"""How the counts of this process stand, as one line of JSON, last of what it says."""

from __future__ import annotations

import json
import os
from typing import Any


def say(**told: Any) -> None:
    """Print the counts of this process, and what else is told, in one write."""
    from trubrics_trace import stats

    now = stats()
    counts = {
        "accepted": now.accepted,
        "adopted": now.adopted,
        "delivered": now.delivered,
        "pending": now.pending,
        "rejected": sum(now.rejected.values()),
        "dropped": sum(now.dropped.values()),
        "skipped": dict(now.skipped),
        "noticed": dict(now.noticed),
        "last_error": now.last_error,
        "is_balanced": now.is_balanced,
    }
    os.write(1, json.dumps({**counts, **told}).encode() + b"\n")
