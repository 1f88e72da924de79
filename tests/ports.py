"""Ports for servers that tests start as processes of their own."""

import socket

# Bound while this process lives, so that neither another test nor a client's connection gets the port. A server can
# listen on it nevertheless: both sockets set SO_REUSEADDR, and this one does not listen.
RESERVED: list[socket.socket] = []


def free_port() -> int:
    """Return a port of 127.0.0.1 that is this process's alone, and on which nobody listens."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    RESERVED.append(reserved)
    return int(reserved.getsockname()[1])
