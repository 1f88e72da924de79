"""One address of a service, as a process: `python address.py PORT NUMBER`. It responds with its number."""

import asyncio
import sys


class Address(asyncio.Protocol):
    """A connection: one request after the other, all without a body."""

    response = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        *requests, self.received = (self.received + data).split(b"\r\n\r\n")
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.write(self.response * len(requests))


async def serve(port: int, number: str) -> None:
    Address.response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(number), number.encode())
    server = await asyncio.get_running_loop().create_server(Address, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
