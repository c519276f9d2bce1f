"""Each error is a new one: it would else tell of where it was raised before."""

from __future__ import annotations

import pytest

from tests.harmless.parts import WORDS, OddError


@pytest.fixture(params=[LookupError, OddError])
def error(request: pytest.FixtureRequest) -> BaseException:
    """Return what the app's own code raises: an `Exception`, and what is none."""
    kind: type[BaseException] = request.param
    return kind(WORDS)
