"""Deadlines, on both kinds of event loop: where one is set to, and what happens once it has passed."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from gateway.deadlines import Deadline

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
# Seconds from now. uvloop returns another kind of handle for a moment that is nearly now than for a later one.
NEARLY_NOW = (-1.0, 0.0, 0.0001, 0.0004)
MOMENTS = (*NEARLY_NOW, 0.0006, 0.002, 0.02)


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Run a coroutine on a loop of that kind, within a bound."""

    def on_a_loop(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(asyncio.wait_for(coroutine, 10))

    return on_a_loop


@pytest.mark.parametrize("first", MOMENTS)
@pytest.mark.parametrize("then", MOMENTS)
def test_a_moved_deadline_fires_once_at_its_new_time(
    run: Callable[[Coroutine[Any, Any, None]], None], first: float, then: float
) -> None:
    async def moved() -> None:
        loop = asyncio.get_running_loop()
        reached: list[float] = []
        passed = asyncio.Event()

        def on_timeout() -> None:
            reached.append(loop.time())
            passed.set()

        deadline = Deadline(loop, on_timeout)
        deadline.set(loop.time() + first)
        moment = loop.time() + then
        deadline.set(moment)
        await passed.wait()
        # Whatever else is set would be reached by now.
        await asyncio.sleep(max(first, 0.0) + 0.002)
        assert len(reached) == 1
        assert reached[0] >= moment

    run(moved())


@pytest.mark.parametrize("end", ["clear", "close"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_cancelled_deadline_does_not_fire(
    run: Callable[[Coroutine[Any, Any, None]], None], moment: float, end: str
) -> None:
    async def taken_back() -> None:
        loop = asyncio.get_running_loop()
        reached: list[str] = []
        deadline = Deadline(loop, lambda: reached.append("late"))
        deadline.set(loop.time() + moment)
        getattr(deadline, end)()
        await asyncio.sleep(max(moment, 0.0) + 0.005)
        assert reached == []
        deadline.set(loop.time())
        await asyncio.sleep(0.005)
        assert reached == ([] if end == "close" else ["late"])

    run(taken_back())
