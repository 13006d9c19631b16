"""What the live feed may take of the host, as the settings say it."""

import msgspec


class LiveFeedLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds beyond which no further client of the live feed is let in.

    `max_websocket_connections`: clients; `memory_threshold_mb`: the supervisor's own memory, MiB
    resident; `cpu_threshold`: the host's CPU in use, percent.
    """

    max_websocket_connections: int = 500
    memory_threshold_mb: int = 1024
    cpu_threshold: float = 80.0
