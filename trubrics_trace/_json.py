"""JSON as bytes, told and read at the speed of what is installed.

langchain-core brings orjson along, by way of langsmith, wherever there is a wheel of it;
the standard library says the same in more time. What one cannot say the other is not asked
for: the pipeline then looks at each value, see `pipeline/_redact.py`.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable
from typing import Any

_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode


def _dumps_slowly(value: Any, /) -> bytes:
    return _encode(value).encode()


# Chosen once: which is installed does not change.
_dumps: Callable[[Any], bytes] = _dumps_slowly
_loads: Callable[[bytes], Any] = json.loads
with contextlib.suppress(ImportError):  # as on PyPy
    import orjson

    # Of these each app has its own idea, which is asked for in another place.
    _OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
    _dumps = functools.partial(orjson.dumps, option=_OPTIONS)
    _loads = orjson.loads


def to_json(value: Any) -> bytes:
    """Return a value of JSON's own types as UTF-8.

    Raises:
        TypeError, ValueError: It holds a value of another type, or that UTF-8 cannot say.
        RecursionError: It is deeper than anything that is meant.
    """
    return _dumps(value)


def from_json(text: bytes) -> Any:
    """Return the value that a text holds.

    Raises:
        ValueError: It holds none.
        RecursionError: It is deeper than anything that is meant.
    """
    try:
        return _loads(text)
    except ValueError:  # the standard library reads what is no more than unusual
        return json.loads(text)
