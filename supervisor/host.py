"""What the host has and uses, by psutil: the only place that samples it."""

from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSample:
    """Bytes, and CPU as a fraction of all cores since the last sample."""

    total_memory_bytes: int
    used_memory_bytes: int
    cpu_fraction: float

    @property
    def memory_fraction(self) -> float:
        """Used memory as a fraction of the whole."""
        return self.used_memory_bytes / self.total_memory_bytes


def sample() -> HostSample:
    """A sample now. The first CPU figure of a process is 0: there is nothing to compare with yet."""
    memory = psutil.virtual_memory()
    return HostSample(
        total_memory_bytes=memory.total,
        used_memory_bytes=memory.total - memory.available,
        cpu_fraction=min(1.0, psutil.cpu_percent(interval=None) / 100),
    )
