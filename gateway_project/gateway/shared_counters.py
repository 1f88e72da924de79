"""Rate limit counts that several machines share, in Redis or Valkey.

One script decides on all limits of a request, so that a request costs one round trip and no two
gateways admit on the same count. It moves the moments by the rule of `policy.limits` and returns those
that it found. The verdict is then the policy's own, from the same numbers.

The script uses the server's clock. Machines' clocks differ, and each would count the others' moments as
later or earlier than they are. A server that takes over from another one may have another clock: the
rule bounds what that costs by one burst.

A worker has one connection, and one task that uses it. What waits while a round trip is under way goes
with the next one. An admitted request is counted on this machine too: while the server cannot be
reached, that count decides, and a client does not begin again at zero.
"""

import asyncio
import contextvars
import hashlib
import logging
import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, NamedTuple

import redis
from redis import retry as retrying
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .config import RateLimit
from .counters import Counters
from .policy.limits import SLACK, Verdict, decide

log = logging.getLogger(__name__)

# KEYS are the counts; ARGV of each its interval and how far in the future its moment may be, in seconds.
SCRIPT: Final = f"""
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local found, moments, admitted = {{string.format('%.17g', now)}}, {{}}, true
for i, key in ipairs(KEYS) do
  local interval, finish = tonumber(ARGV[2 * i - 1]), now + tonumber(ARGV[2 * i])
  found[i + 1] = redis.call('GET', key) or '0'
  local used = math.min(math.max(tonumber(found[i + 1]), now), finish)
  moments[i] = used + interval
  if moments[i] - finish > {SLACK} * interval then admitted = false end
end
for i, key in ipairs(KEYS) do
  local moment = moments[i]
  if not admitted then moment = moment - ARGV[2 * i - 1] end
  if admitted or tonumber(found[i + 1]) > moment then
    redis.call('SET', key, string.format('%.17g', moment), 'EX', math.ceil(moment - now) + 1)
  end
end
return found
"""
SCRIPT_SHA: Final = hashlib.sha1(SCRIPT.encode()).hexdigest()  # noqa: S324  # the server's name of a script
# What it raises while the server cannot be reached.
ERRORS: Final = (RedisError, OSError)
PREFIX: Final = "gatehouse:"
# Seconds between attempts to reach the server: the first pause, and the longest.
PAUSE: Final = 0.1
MAX_PAUSE: Final = 5.0


class PendingCount(NamedTuple):
    """A request's counts, and the future of the server's clock and moments: `None` if it cannot be reached."""

    keys: Sequence[str]
    limits: Sequence[RateLimit]
    reply: "asyncio.Future[list[float] | None]"


class SharedCounters:
    """The counts on a server. `local` counts while it cannot be reached; a round trip takes at most `timeout`."""

    def __init__(self, url: str, local: Counters, timeout: float) -> None:
        self.local = local
        self.timeout = timeout
        # redis-py would try again by itself, which no request has the time for.
        retry = Retry(NoBackoff(), 0)
        self.client: Redis = Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=retry, protocol=2
        )
        self.waiting: list[PendingCount] = []
        self.task: asyncio.Task[None] | None = None
        self.has_work = asyncio.Event()
        # Why the server cannot be reached, and since when.
        self.fault: str | None = None
        self.since = ""

    async def admit_all(self, keys: Sequence[str], limits: Sequence[RateLimit]) -> list[Verdict]:
        """Count one request in all limits, or in none if one of them rejects it; each key is its limit's."""
        found = await self.ask(keys, limits)
        if found is None:
            return self.local.admit_all(keys, limits)
        verdicts = decide(found[1:], found[0], limits)
        if all(verdict.admitted for verdict in verdicts):
            self.local.admit_all(keys, limits)
        return verdicts

    async def state(self) -> dict[str, str]:
        """Return `ok`, or that this machine counts alone: why, and since when."""
        await self.ask([], [])
        return {"status": "local", "since": self.since, "cause": self.fault} if self.fault else {"status": "ok"}

    async def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        await self.client.aclose()

    async def ask(self, keys: Sequence[str], limits: Sequence[RateLimit]) -> list[float] | None:
        """Return the server's clock and the counts' moments, `None` if it cannot be reached."""
        if self.task is None:
            # In an empty context: its log lines belong to no single request.
            self.task = asyncio.get_running_loop().create_task(self.run(), context=contextvars.Context())
        if self.fault is not None:
            return None
        asked = PendingCount(keys, limits, asyncio.get_running_loop().create_future())
        self.waiting.append(asked)
        self.has_work.set()
        return await asked.reply

    async def run(self) -> None:
        """Send what waits, in one round trip after the other, for as long as the process serves."""
        try:
            while True:
                await self.has_work.wait()
                self.has_work.clear()
                batch, self.waiting = self.waiting, []
                try:
                    found = await self.round_trip(batch)
                except Exception as exc:  # noqa: BLE001  # whatever it is: requests wait for this task
                    self.note_error(exc)
                    self.resolve(batch)
                    await self.reconnect()
                else:
                    self.resolve(batch, found)
        finally:
            self.resolve(self.waiting)

    async def round_trip(self, batch: Sequence[PendingCount]) -> list[list[float]]:
        """Return the replies of the server. The first command brings the script, and the others name it."""
        pipeline = self.client.pipeline(transaction=False)
        for asked in batch:
            names = [name_of(key) for key in asked.keys]
            numbers = [number for limit in asked.limits for number in (limit.interval, limit.window)]
            if asked is batch[0]:
                pipeline.eval(SCRIPT, len(names), *names, *numbers)
            else:
                pipeline.evalsha(SCRIPT_SHA, len(names), *names, *numbers)
        async with asyncio.timeout(self.timeout):
            replies: list[list[bytes]] = await pipeline.execute()
        return [[float(number) for number in reply] for reply in replies]

    def resolve(self, batch: Sequence[PendingCount], found: Sequence[list[float]] | None = None) -> None:
        """Give each request its reply, unless its client has left."""
        for index, asked in enumerate(batch):
            if not asked.reply.done():
                asked.reply.set_result(found[index] if found is not None else None)

    def note_error(self, exc: Exception) -> None:
        """Log, and keep for `state`, why the server cannot be reached. What waits is counted on this machine."""
        slow = f"no response within {self.timeout * 1000:.0f} ms"
        self.fault = slow if isinstance(exc, TimeoutError) else str(exc) or type(exc).__name__
        self.since = datetime.now(UTC).isoformat(timespec="seconds")
        known = isinstance(exc, ERRORS)
        log.warning("Rate limits count on this machine alone, REDIS_URL: %s", self.fault, exc_info=not known)
        waiting, self.waiting = self.waiting, []
        self.resolve(waiting)

    async def reconnect(self) -> None:
        """Return once the server responds again."""
        pause = PAUSE
        while True:
            with suppress(*ERRORS):
                await self.client.connection_pool.disconnect(inuse_connections=True)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # so that workers do not come at once
            pause = min(pause * 2, MAX_PAUSE)
            with suppress(*ERRORS):
                async with asyncio.timeout(self.timeout):
                    await self.round_trip([PendingCount([], [], asyncio.get_running_loop().create_future())])
                break
        self.fault = None
        log.warning("Rate limits are shared again, REDIS_URL")


def name_of(key: str) -> str:
    """Return the server's name of a count. It tells nothing about the client."""
    return PREFIX + hashlib.blake2b(key.encode(errors="replace"), digest_size=16).hexdigest()


def peek(url: str, timeout: float, keys: Sequence[str], limits: Sequence[RateLimit]) -> list[Verdict]:
    """Return the verdicts on one request of the keys, and count nothing; raise `RedisError`."""
    retry = retrying.Retry(NoBackoff(), 0)
    client = redis.Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=retry, protocol=2)
    with client, client.pipeline(transaction=False) as pipeline:
        pipeline.time()
        for key in keys:
            pipeline.get(name_of(key))
        (seconds, microseconds), *moments = pipeline.execute()
    return decide([float(moment or 0) for moment in moments], seconds + microseconds / 1_000_000, limits)
