"""What a decorator, a scope and a step add to a call, as ratios in one run.

    python -m benchmarks.wrapping [--quick]

The peer is a plain wrapt wrapper around the same function. Each is measured in many short
rounds, in turn, and its fastest is taken: a shared machine only ever makes one slower.
"""

from __future__ import annotations

import sys
import timeit
from collections.abc import Callable, Iterator
from typing import Any

import wrapt

from benchmarks.results import keep
from trubrics_trace import configure, trubrics_scope, trubrics_trace

ROUNDS = 300 if "--quick" in sys.argv else 1500  # what is quick is not kept
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


def fastest_steps(generator: Callable[[], Iterator[int]]) -> float:
    """Return the nanoseconds of a step, in the fastest round."""
    best = min(timeit.repeat(lambda: list(generator()), number=1, repeat=ROUNDS))
    return best / CALLS * 1e9


def added() -> dict[str, float]:
    """Return the nanoseconds that each adds to a call, a block or a step without it."""
    wrapped: Any = pass_on(plain)
    traced = trubrics_trace(user_id="alice", tags=["chat"])(plain)
    asking = trubrics_trace(user_id=lambda question: question, tags=["chat"])(plain)
    traced_numbers = trubrics_trace(user_id="alice")(numbers)
    scope = trubrics_scope(user_id="alice")

    def block() -> None:
        with scope:
            pass

    best = fastest(
        {
            "nothing": lambda: None,
            "the function": lambda: plain("?"),
            "wrapt": lambda: wrapped("?"),
            "traced": lambda: traced("?"),
            "asking": lambda: asking("?"),
            "block": block,
        }
    )
    configure(enabled=False)
    best |= fastest({"switched off": lambda: traced("?")})
    configure()
    call = best["the function"]
    return {
        "a plain wrapt wrapper": best["wrapt"] - call,
        "trubrics_trace, switched off": best["switched off"] - call,
        "trubrics_trace": best["traced"] - call,
        "a callable user, more than that": best["asking"] - best["traced"],
        "with trubrics_scope": best["block"] - best["nothing"],
        "a step of a traced generator": (
            fastest_steps(traced_numbers) - fastest_steps(numbers)
        ),
    }


def main() -> None:
    """Print what each adds, and keep it."""
    figures = added()
    peer = figures["a plain wrapt wrapper"]
    for name, nanoseconds in figures.items():
        print(f"{name:31} {nanoseconds:6,.0f} ns  {nanoseconds / peer:5.2f} x")
    if "--quick" not in sys.argv:
        keep(
            "decorator",
            {
                "unit": "added to a call, a block or a step",
                "columns": ("nanoseconds", "times wrapt"),
                **{name: [round(ns), round(ns / peer, 2)] for name, ns in figures.items()},
            },
        )


if __name__ == "__main__":
    main()
