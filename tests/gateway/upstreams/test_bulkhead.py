"""How many requests a service has in flight, and the queue in front of it."""

import asyncio

import pytest
from tests.gateway.upstreams.origin import LATER, on_a_loop, until

from gateway.config import Queue, ServicePolicies
from gateway.policy.rejections import UpstreamOverloaded
from gateway.upstreams.bulkhead import Bulkhead


def bulkhead(limit: int, size: int = 0, wait: float = 60.0) -> Bulkhead:
    policies = ServicePolicies.model_construct(max_in_flight=limit, queue=Queue.model_construct(size=size, wait=wait))
    return Bulkhead("things", policies)


@on_a_loop
async def test_a_place_is_free_once_more_when_a_request_leaves() -> None:
    places = bulkhead(2)
    assert [places.enter_at_once() for _ in range(3)] == [True, True, False]
    with pytest.raises(UpstreamOverloaded) as refused:
        await places.enter(60)
    assert (refused.value.status, refused.value.code) == (503, "upstream_busy")
    assert refused.value.headers == {"Retry-After": "1"}
    places.leave()
    await places.enter(60)
    assert places.in_flight == 2


@on_a_loop
async def test_requests_get_their_places_in_the_order_in_which_they_came() -> None:
    places = bulkhead(1, size=3)
    await places.enter(60)
    entered: list[int] = []

    async def enter(number: int) -> None:
        await places.enter(60)
        entered.append(number)

    tasks = []
    for number in range(3):
        tasks.append(asyncio.create_task(enter(number)))
        await until(lambda: len(places.queue) == len(tasks))
    with pytest.raises(UpstreamOverloaded):
        await places.enter(60)
    for count in range(1, 4):
        places.leave()
        # A request that comes now has to wait for those that came before.
        assert not places.enter_at_once()
        await until(lambda: len(entered) == count)  # noqa: B023
    assert entered == [0, 1, 2]
    places.leave()
    assert places.in_flight == 0


@pytest.mark.parametrize(("wait", "within"), [(0.05, 60), (60, 0.05)])
@on_a_loop
async def test_a_request_waits_no_longer_than_the_queue_or_its_own_time_allows(wait: float, within: float) -> None:
    places = bulkhead(1, size=1, wait=wait)
    await places.enter(60)
    began = asyncio.get_running_loop().time()
    with pytest.raises(UpstreamOverloaded):
        await places.enter(within)
    assert 0.04 <= asyncio.get_running_loop().time() - began < LATER
    assert not places.queue
    places.leave()
    assert places.in_flight == 0


@on_a_loop
async def test_a_client_that_leaves_frees_its_place_in_the_queue() -> None:
    places = bulkhead(1, size=1)
    await places.enter(60)
    first = asyncio.create_task(places.enter(60))
    await until(lambda: places.queue)
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.create_task(places.enter(60))
    await until(lambda: places.queue)
    places.leave()
    await second
    assert places.in_flight == 1


@on_a_loop
async def test_a_client_that_leaves_just_when_it_gets_a_place_gives_it_on() -> None:
    places = bulkhead(1, size=2)
    await places.enter(60)
    first, second = (asyncio.create_task(places.enter(60)) for _ in range(2))
    await until(lambda: len(places.queue) == 2)
    places.leave()
    first.cancel()
    await asyncio.wait([first, second])
    assert first.cancelled()
    assert places.in_flight == 1
    places.leave()
    assert places.in_flight == 0
