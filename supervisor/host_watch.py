"""The supervisor's own look at its host, for its alerts and its API: in a thread, one at a time, whoever asks and how often."""

import asyncio
import os
from collections.abc import Callable, Collection

from supervisor.host.lookout import Lookout, Reading, Whom
from supervisor.host.readings import Host


class HostWatch:
    """The host, its connections, the workers, and this process."""

    def __init__(
        self, host: Host, websocket_ports: Collection[int], worker_pids: Callable[[], tuple[int, ...]]
    ) -> None:
        self._lookout = Lookout(host, websocket_ports)
        self._worker_pids = worker_pids
        self._one_at_a_time = asyncio.Lock()

    async def reading(self, with_workers: bool = True) -> Reading:
        """Everything now, or a second old; the workers of a large fleet somewhat older."""
        async with self._one_at_a_time:  # else many callers would take all of the program's threads
            whom = Whom(supervisor=os.getpid(), workers=self._worker_pids())
            now = asyncio.get_running_loop().time()
            return await asyncio.to_thread(self._lookout.reading, now, whom, with_workers)
