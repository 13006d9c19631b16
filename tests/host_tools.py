"""Readings made up for tests of what is made of readings."""

from typing import Any

from supervisor.host.reading.connections import Connections
from supervisor.host.reading.host_sampler import Reading, SupervisorReading
from supervisor.host.reading.processes import ProcessLimit, ProcessReading
from supervisor.host.reading.readings import HostSample

IDLE = HostSample(
    total_memory_bytes=1000,
    used_memory_bytes=0,
    available_memory_bytes=1000,
    swap_total_bytes=0,
    swap_used_bytes=0,
    cpu_fraction=0.0,
    cores=2,
    usable_cores=2.0,
    load_1=0.0,
    load_5=0.0,
    load_15=0.0,
    open_descriptors=0,
    max_descriptors=1000,
    network_in_bytes_per_second=0.0,
    network_out_bytes_per_second=0.0,
    network_in_packets_per_second=0.0,
    network_out_packets_per_second=0.0,
)


def host(**more: Any) -> HostSample:
    """A host at rest, but for what is given. Of 1000 bytes and 1000 descriptors."""
    values = {name: getattr(IDLE, name) for name in IDLE.__dataclass_fields__}
    if "used_memory_bytes" in more:
        values["available_memory_bytes"] = IDLE.total_memory_bytes - more["used_memory_bytes"]
    return HostSample(**values | more)


def connections(websockets: int = 0) -> Connections:
    """So many WebSocket connections, and nothing else."""
    ports = {443: websockets} if websockets else {}
    states = {"established": websockets} if websockets else {}
    return Connections(
        total=websockets,
        established=websockets,
        websockets=websockets,
        by_state=states,
        by_port=ports,
    )


def process(pid: int = 7, descriptors: int | None = 10, **more: Any) -> ProcessReading:
    """A process."""
    values: dict[str, Any] = {
        "pss_bytes": 100,
        "rss_bytes": 200,
        "cpu_seconds": 1.0,
        "threads": 3,
        "age_seconds": 60.0,
    }
    return ProcessReading(pid=pid, descriptors=descriptors, **values | more)


def supervisor(descriptors: int | None, most: int | None) -> SupervisorReading:
    """A supervisor that has so many descriptors open."""
    limit = ProcessLimit(soft=most, hard=most)
    return SupervisorReading(
        process=process(descriptors=descriptors), open_files=limit, processes=limit
    )


def reading(at: float = 0.0, **more: Any) -> Reading:
    """A reading of a host at rest, but for what is given."""
    values: dict[str, Any] = {
        "host": host(),
        "connections": connections(),
        "workers": None,
        "supervisor": None,
    }
    return Reading(at=at, **values | more)
