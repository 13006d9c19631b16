"""`python -m scripts.bench_delivery.sink COUNT`: a receiver in a process of its own, that accepts
everything and does next to nothing, so that not it is what is measured.

It says its port, and then, when it has COUNT requests, when the first and the last came and what
CPU time it took; it ends with its standard input.
"""

import asyncio
import sys
import time

ACCEPTED = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
END = b"\r\n\r\n"
LENGTH = b"content-length:"


class Sink(asyncio.Protocol):
    """One connection."""

    wanted = 0
    seen = 0
    began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody has come."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._left = transport, b""

    def data_received(self, data: bytes) -> None:
        """Accept whole requests."""
        self._left += data
        while (end := self._left.find(END)) >= 0:
            head = self._left[:end].lower()
            at = head.index(LENGTH) + len(LENGTH)
            size = end + len(END) + int(head[at:].split(b"\r\n", 1)[0])
            if len(self._left) < size:
                return
            self._left = self._left[size:]
            self._transport.write(ACCEPTED)
            self._count()

    @classmethod
    def _count(cls) -> None:
        cls.began = cls.began or time.time()
        cls.seen += 1
        if cls.seen == cls.wanted:
            print(cls.began, time.time(), time.process_time(), flush=True)


async def serve(count: int) -> None:
    """Accept until the standard input ends."""
    Sink.wanted = count
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
