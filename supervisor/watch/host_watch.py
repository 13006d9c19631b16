"""The supervisor's own look at its host, for its alerts and its API: in a thread, one at a time,
whoever asks and how often.
"""

import asyncio
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from supervisor.host.numbers import number
from supervisor.host.reading.disks import DiskReading, Disks
from supervisor.host.reading.host_sampler import HostSampler, Reading, Targets
from supervisor.host.reading.readings import Sampler
from supervisor.process.streams import log_file

COUNT_SECONDS: Final = number("interval")
"""The window of CPU and rates moves on so often."""


class HostWatch:
    """The host, its file systems and connections, the workers, and this process."""

    def __init__(
        self,
        host: Sampler,
        websocket_ports: Collection[int],
        worker_pids: Callable[[], tuple[int, ...]],
        directories: Iterable[Path] = (),
    ) -> None:
        self._host_sampler = HostSampler(host, websocket_ports)
        self._disks = Disks(directories)
        self._worker_pids = worker_pids
        self._one_at_a_time = asyncio.Lock()
        self._one_disk_look_at_a_time = asyncio.Lock()

    async def reading(self, with_workers: bool = True) -> Reading:
        """Everything now, or a second old; the workers of a large fleet somewhat older."""
        async with self._one_at_a_time:  # else many callers would take all of the program's threads
            whom = Targets(supervisor=os.getpid(), workers=self._worker_pids())
            now = asyncio.get_running_loop().time()
            reading = await asyncio.to_thread(self._host_sampler.reading, now, whom, with_workers)
            return replace(reading, disks=await self.disks())

    async def disks(self) -> tuple[DiskReading, ...]:
        """The file systems alone, now or a moment old."""
        if (known := self._disks.fresh()) is not None:
            return known  # a thread for each of many readers is what they would wait for
        async with self._one_disk_look_at_a_time:
            return await asyncio.to_thread(self._disks.reading)


def log_directory(stream: int = 2) -> Path | None:
    """Where the log goes if that is a file; a pipe or a terminal (pm2 writes it, or nobody) has
    none.
    """
    file = log_file(stream)
    return file.parent if file is not None else None
