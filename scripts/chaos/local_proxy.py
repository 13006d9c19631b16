"""The campaign's own proxy: some sessions go through it, and it can be away for a while."""

from contextlib import AsyncExitStack

from scripts.lab.proxies import http_proxy


class LocalProxy:
    """On loopback, always on the same port."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._port = 0

    @property
    def url(self) -> str:
        """What its sessions are given."""
        return f"http://127.0.0.1:{self._port}"

    async def open(self) -> None:
        """Listen."""
        self._port = (await self._stack.enter_async_context(http_proxy(port=self._port))).port

    async def close(self) -> None:
        """Listen no more, and end all that goes through it."""
        await self._stack.aclose()
