"""Ports for servers that tests start as processes."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

# Bound while this process lives, so that no other test or client connection gets the port. A server can still listen
# on it: both sockets set SO_REUSEADDR, and this one does not listen.
RESERVED: list[socket.socket] = []


def free_port() -> int:
    """Return a port of 127.0.0.1 that is reserved for this process and on which no server listens."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    RESERVED.append(reserved)
    return int(reserved.getsockname()[1])


@contextmanager
def swallowing_port() -> Iterator[int]:
    """A port whose queue of connections is full: the system drops the SYNs of others."""
    with socket.socket() as listener, socket.socket() as one, socket.socket() as other:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for client in (one, other):
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])
