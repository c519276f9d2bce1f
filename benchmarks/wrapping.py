"""What a decorator, a scope and a step add to a call, as ratios in one run.

    python -m benchmarks.wrapping

The peer is a plain wrapt wrapper around the same function. Each is measured in many short
rounds, in turn, and its fastest is taken: a shared machine only ever makes one slower.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable, Iterator
from typing import Any

import wrapt

from trubrics_trace import configure, trubrics_scope, trubrics_trace

ROUNDS = 1500
CALLS = 200  # a round takes less than a millisecond, so most are not interrupted


def plain(question: str) -> str:
    """Answer at once."""
    return question


def numbers() -> Iterator[int]:
    """Yield as often as a round calls."""
    yield from range(CALLS)


@wrapt.decorator  # type: ignore[untyped-decorator, unused-ignore] # by its version
def pass_on(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """Do nothing but call."""
    return wrapped(*args, **kwargs)


def fastest(measured: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the nanoseconds of each, in its fastest round."""
    best = dict.fromkeys(measured, float("inf"))
    for _ in range(ROUNDS):
        for name, function in measured.items():
            seconds = timeit.timeit(function, number=CALLS) / CALLS
            best[name] = min(best[name], seconds * 1e9)
    return best


def main() -> None:
    """Print what each adds."""
    wrapped: Any = pass_on(plain)
    traced = trubrics_trace(user_id="alice", tags=["chat"])(plain)
    traced_numbers = trubrics_trace(user_id="alice")(numbers)
    scope = trubrics_scope(user_id="alice")

    def block() -> None:
        with scope:
            pass

    best = fastest(
        {
            "nothing": lambda: None,
            "the function": lambda: plain("?"),
            "a plain wrapt wrapper": lambda: wrapped("?"),
            "trubrics_trace": lambda: traced("?"),
            "with trubrics_scope": block,
        }
    )
    configure(enabled=False)
    best |= fastest({"trubrics_trace, switched off": lambda: traced("?")})
    configure()
    added = {
        name: best[name] - best["nothing" if "with" in name else "the function"]
        for name in best
        if name not in ("nothing", "the function")
    }
    bare = min(timeit.repeat(lambda: list(numbers()), number=1, repeat=ROUNDS))
    steps = min(timeit.repeat(lambda: list(traced_numbers()), number=1, repeat=ROUNDS))
    added["a step of a traced generator"] = (steps - bare) / CALLS * 1e9
    peer = added["a plain wrapt wrapper"]
    for name, nanoseconds in added.items():
        print(f"{name:30} {nanoseconds:6,.0f} ns  {nanoseconds / peer:5.2f} x")


if __name__ == "__main__":
    main()
