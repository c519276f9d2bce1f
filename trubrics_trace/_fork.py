"""What is done around a fork, where there are forks."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

register: Callable[..., Any] = getattr(os, "register_at_fork", lambda **_: None)
