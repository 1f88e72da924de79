"""Load at a constant rate, for latency as clients see it.

A program that sends its next request once it has the last response (wrk, ab, hey) asks less of a server that stalls,
and leaves out of its figures the requests that would have waited: coordinated omission. Here each request is due at a
moment that was set before, and its latency counts from that moment, whether or not it could be sent then.
"""

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from statistics import quantiles
from typing import Any

from .processes import BenchError

# How many times as long as planned it may take.
PATIENCE = 10


def paced(port: int, request: Callable[[int], bytes], connections: int, rate: float, seconds: float) -> dict[str, Any]:
    """Send `rate` requests a second, evenly; return the figures that wrk has too."""
    idle = deque(socket.create_connection(("127.0.0.1", port)) for _ in range(connections))
    every = list(idle)
    # `select.select` takes no descriptor above 1,023.
    readable = selectors.DefaultSelector()
    for each in every:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        readable.register(each, selectors.EVENT_READ, each)
    busy: dict[socket.socket, tuple[float, bytes]] = {}
    times: list[float] = []
    sent, refused, total, begin = 0, 0, int(rate * seconds), time.perf_counter()
    try:
        while len(times) < total:
            now = time.perf_counter()
            while sent < total and idle and (due := begin + sent / rate) <= now:
                connection = idle.popleft()
                connection.sendall(request(sent))
                busy[connection] = due, b""
                sent += 1
            wait = begin + sent / rate - time.perf_counter() if sent < total and idle else 1.0
            for connection in [key.data for key, _ in readable.select(max(wait, 0))]:
                due, before = busy.get(connection, (0.0, b""))
                received = connection.recv(65536)
                if not (received and due) or now > begin + PATIENCE * seconds:
                    raise BenchError(f"expected {rate:,.0f} responses/s, got {len(times) / (now - begin):,.0f}")
                if not is_whole(response := before + received):
                    busy[connection] = due, response
                    continue
                times.append(time.perf_counter() - due)
                refused += response[9:10] != b"2"
                del busy[connection]
                idle.append(connection)
    finally:
        readable.close()
        for each in every:
            each.close()
    percentiles = quantiles(times, n=100)
    figures = {"p50_ms": percentiles[49] * 1000, "p99_ms": percentiles[98] * 1000}
    return figures | {"requests": total, "seconds": time.perf_counter() - begin, "refused": refused, "broken": 0}


def is_whole(response: bytes) -> bool:
    """Return whether the response, of a known length or in chunks, has its end."""
    head, found, body = response.partition(b"\r\n\r\n")
    if not found:
        return False
    _, found, length = head.lower().partition(b"\r\ncontent-length:")
    return len(body) >= int(length.split(b"\r\n", 1)[0]) if found else body.endswith(b"0\r\n\r\n")
