"""What goes wrong in an app: other handlers, calls of nobody, unseen logs."""

from __future__ import annotations

import gc
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from .._settings import Settings
from ..delivery._reader import Kept

_HANDLER = "TrubricsCallbackHandler"
_OURS = "trubrics_trace.langchain._handler"
_FEWEST = 20  # prompts to judge by
_MOST_SHARE = 0.05  # of prompts without a user: a walk-in here and there is none's fault
_MOST_NAMES = 3


def faults_of_handlers(settings: Settings) -> Iterator[str]:
    """Yield what was imported or made beside our one handler."""
    handlers = [one for one in gc.get_objects() if type(one).__name__ == _HANDLER]
    others = {type(one).__module__ for one in handlers}
    others |= {name for name in sys.modules if name.endswith(".trubrics_callback")}
    for module in sorted(others - {_OURS}):
        yield (
            f"{module} has an older {_HANDLER}, which tells each call a second time; "
            f"import it from trubrics_trace, or leave it out: a traced function needs none"
        )
    ours = [one for one in handlers if type(one).__module__ == _OURS]
    labels = {_label_of(one, settings) for one in ours}
    if len(labels) > 1:
        yield (
            f"handlers for {' and '.join(sorted(labels))} stand side by side, and a call "
            "that meets both is told to both; give credentials to one, or to configure"
        )


def _label_of(handler: Any, settings: Settings) -> str:
    own: Settings | None = getattr(handler, "_settings", None)  # None: as configured
    return (own or settings).destination.label


def faults_of_users(records: Iterable[Kept]) -> Iterator[str]:
    """Yield how many of the prompts have no user, and which functions asked."""
    prompts = [one.values for one in records if one.values.get("kind") == "prompt"]
    nobodys = [one for one in prompts if not one.get("user_id")]
    if len(prompts) < _FEWEST or len(nobodys) <= _MOST_SHARE * len(prompts):
        return
    names = Counter(str(one.get("run_name") or "no name") for one in nobodys)
    told = ", ".join(name for name, _ in names.most_common(_MOST_NAMES))
    yield (
        f"{len(nobodys):,} of the latest {len(prompts):,} prompts have no user ({told}); "
        "give trubrics_trace user_id=, or call identify"
    )


def notes_of_logging() -> Iterator[str]:
    """Yield where records are logged, as far as imports configured it."""
    structlog: Any = sys.modules.get("structlog")
    if structlog is not None and structlog.is_configured():
        yield "records are logged by the app's own structlog"
        return
    logger = logging.getLogger("trubrics_trace")
    is_seen = logger.isEnabledFor(logging.INFO) and logger.hasHandlers()
    yield (
        "structlog is not configured on import, so records are logged as JSON by the "
        "standard library's logger trubrics_trace, at INFO, which "
        + ("is printed" if is_seen else "nobody has asked to see; configure either")
    )
