"""An asyncio app that asks a fake model at a steady rate, and measures its loop's lag.

    python -m benchmarks.faults.apps.loop 10 200 traced

A clock is asked for each two milliseconds; how late it is called is the lag, less what the
loop's thread waited for a processor where Linux tells that. `bare` asks the same model
outside any scope: what the lag is without us. The first second, in which everything is
imported, is not measured.
"""

from __future__ import annotations

import asyncio
import sys

from langchain_core.language_models import FakeListChatModel

from trubrics_trace import aflush, trubrics_scope

from . import balance
from .processor import queued_milliseconds

_TICK_SECONDS = 0.002
_WARM_UP_SECONDS = 1.0

model = FakeListChatModel(responses=["42"])


async def main(seconds: float, rate: float, *, is_traced: bool) -> None:
    """Ask for so long while `aflush` runs; tell how late the loop was."""
    loop = asyncio.get_running_loop()
    lags: list[float] = []
    walls: list[float] = []
    started = loop.time()

    def tick(due: float, waited: float) -> None:
        now, waits = loop.time(), queued_milliseconds()
        if now > started + _WARM_UP_SECONDS:
            walls.append((now - due) * 1000)
            lags.append(max(0.0, walls[-1] - (waits - waited)))
        loop.call_at(now + _TICK_SECONDS, tick, now + _TICK_SECONDS, waits)

    tick(started, queued_milliseconds())
    tasks: set[asyncio.Task[object]] = set()
    flushes: list[float] = []

    async def flush_again_and_again() -> None:
        while True:
            begun = loop.time()
            await aflush(0.5)
            flushes.append(loop.time() - begun)
            await asyncio.sleep(0.5)

    flushing = asyncio.create_task(flush_again_and_again()) if is_traced else None
    number = 0
    while loop.time() < started + seconds:
        task = asyncio.create_task(ask(f"event {number}", is_traced=is_traced))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
        await asyncio.sleep(max(0.0, started + number / rate - loop.time()))
    await asyncio.gather(*tasks)
    measured, wall = sorted(lags), max(walls)  # before the end's own work
    if flushing is not None:
        flushing.cancel()
        await aflush(120)
    balance.say(
        asked=number,
        longest=measured[-1],
        longest_wall=wall,
        most=measured[int(len(measured) * 0.999)],
        typical=measured[len(measured) // 2],
        flushes=len(flushes),
    )


async def ask(name: str, *, is_traced: bool) -> object:
    """Ask the model once."""
    if not is_traced:
        return await model.ainvoke(name)
    with trubrics_scope(user_id="alice"):
        return await model.ainvoke(name)


if __name__ == "__main__":
    asyncio.run(
        main(float(sys.argv[1]), float(sys.argv[2]), is_traced=sys.argv[3] == "traced")
    )
