"""Whether there is room for another client of the live feed: connections, the supervisor's own
memory, the host's CPU.

Not the `ResourceMonitor` of supervisor/host/reading/monitor.py, which remembers the readings of a
host for the tuning guide's scripts: this one answers yes or no, from the readings of the
supervisor's one host sampler.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from supervisor.fleet.live_feed_limits import LiveFeedLimits
from supervisor.host.reading.host_sampler import Reading

FRESH_SECONDS: Final = 1.0
"""A thousand clients that come at once are one look at the host."""
LOOK_SECONDS: Final = 2.0
"""What a client waits for a look at the most; then what was last known has to do."""
TELL_SECONDS: Final = 10.0
"""How often the same limit is told of in the log."""

log = structlog.get_logger("live")


class ResourceMonitor:
    """Asked before each client is let in.

    `read`: a reading of the host. `active_connections`: how many clients there are.
    """

    def __init__(
        self,
        limits: LiveFeedLimits,
        read: Callable[[], Awaitable[Reading]],
        active_connections: Callable[[], int],
    ) -> None:
        self.limits = limits
        self._read = read
        self._active_connections = active_connections
        self._reading: Reading | None = None
        self._looking: asyncio.Task[Reading] | None = None
        self._good_until = float("-inf")
        self._told_at: dict[str, float] = {}

    async def has_capacity(self) -> bool:
        """Whether another client may come. Never blocks the loop, and waits LOOK_SECONDS at most.

        A check that itself fails counts as passed (a host that cannot be read must not shut
        everybody out), and the log says so.
        """
        return await self.shortage() is None

    async def shortage(self) -> str | None:
        """What there is too little of, in words; None: there is room."""
        checks = {
            "connections": self._check_connection_limit(),
            "memory": self._check_memory_usage(),
            "cpu": self._check_cpu_usage(),
        }
        for name, found in zip(
            checks, await asyncio.gather(*checks.values(), return_exceptions=True), strict=True
        ):
            if isinstance(found, asyncio.CancelledError):
                raise found
            if isinstance(found, BaseException):
                self._tell(
                    name + " unread",
                    f"whether there is room cannot be told by {name}: it counts as room",
                    error=type(found).__name__,
                )
            elif found is not None:
                return found
        return None

    async def _check_connection_limit(self) -> str | None:
        current, most = self._active_connections(), self.limits.max_websocket_connections
        if current < most:
            return None
        self._tell("connections", "limit of connections reached", current=current, max=most)
        return f"{current} clients of {most} (MAX_WEBSOCKET_CONNECTIONS)"

    async def _check_memory_usage(self) -> str | None:
        process = (await self._fresh()).supervisor
        if process is None:
            raise LookupError("the supervisor's own process was not read")
        current_mb = process.process.rss_bytes / 1024 / 1024
        most_mb = self.limits.memory_threshold_mb
        if current_mb < most_mb:
            return None
        self._tell(
            "memory", "limit of memory reached", current_mb=round(current_mb), threshold_mb=most_mb
        )
        return f"the supervisor has {current_mb:.0f} MB of {most_mb} (MEMORY_THRESHOLD_MB)"

    async def _check_cpu_usage(self) -> str | None:
        current = 100 * (await self._fresh()).host.cpu_fraction
        most = self.limits.cpu_threshold
        if current <= most:
            return None
        self._tell(
            "cpu", "limit of CPU reached", current_percent=round(current), threshold_percent=most
        )
        return f"the host's CPU is at {current:.0f} % of {most:g} (CPU_THRESHOLD)"

    async def _fresh(self) -> Reading:
        """A reading of this second; raises what the look at the host raises.

        Whoever comes while one is being made waits for that one; an older one does where it takes
        too long.
        """
        loop = asyncio.get_running_loop()
        if self._reading is not None and loop.time() < self._good_until:
            return self._reading
        if self._looking is None:
            self._looking = asyncio.ensure_future(self._read())
            self._looking.add_done_callback(self._on_read)
        looking = self._looking
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await asyncio.shield(looking)
        except TimeoutError:
            if self._reading is None:
                raise
            return self._reading

    def _on_read(self, done: asyncio.Future[Reading]) -> None:
        self._looking = None
        if done.cancelled() or done.exception() is not None:
            return
        self._reading = done.result()
        self._good_until = asyncio.get_running_loop().time() + FRESH_SECONDS

    def _tell(self, what: str, words: str, **figures: object) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told_at.get(what, float("-inf")) < TELL_SECONDS:
            return
        self._told_at[what] = now
        log.warning(words, action="insufficient_resources", **figures)
