"""What the host has and uses, by psutil: the only place that samples it."""

from dataclasses import dataclass
from typing import Final

import psutil

SAMPLE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSample:
    """Bytes, and CPU as a fraction of all cores since the last sample."""

    total_memory_bytes: int
    used_memory_bytes: int
    cpu_fraction: float


class Host:
    """The sampler. Between two samples lies at least a second: over less, a share of CPU time is noise, and readers spoil it for each other."""

    def __init__(self) -> None:
        psutil.cpu_percent(interval=None)  # from here on there is something to compare with
        self._taken_at = float("-inf")
        self._last: HostSample | None = None

    def sample(self, now: float) -> HostSample:
        """A sample that is at most a second old. `now`: seconds of a monotonic clock."""
        if self._last is None or now - self._taken_at >= SAMPLE_SECONDS:
            memory = psutil.virtual_memory()
            self._taken_at = now
            self._last = HostSample(
                total_memory_bytes=memory.total,
                used_memory_bytes=memory.total - memory.available,
                cpu_fraction=min(1.0, psutil.cpu_percent(interval=None) / 100),
            )
        return self._last
