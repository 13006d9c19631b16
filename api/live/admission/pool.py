"""The clients of the live feed that were let in: each with its place, and no more than there are
places.
"""

from collections.abc import Iterator
from typing import Final

from api.live.admission.connection import Connection
from api.live.admission.refusals import InsufficientResourcesError

FULL_RETRY_SECONDS: Final = 10.0
"""A place comes free when somebody goes, and nobody knows when: this is polite, not exact."""


class ConnectionPool:
    """The clients by their ids. `max_size`: places."""

    def __init__(self, max_size: int = 1000) -> None:
        self.max_size = max_size
        self._connections: dict[str, Connection] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        """Those of this moment, whoever comes and goes meanwhile."""
        return iter(list(self._connections.values()))

    def get(self, client: str) -> Connection | None:
        """A client, if it is in."""
        return self._connections.get(client)

    def add(self, connection: Connection) -> None:
        """Give it a place. Raises InsufficientResourcesError."""
        if len(self._connections) >= self.max_size:
            raise InsufficientResourcesError(
                f"There are insufficient resources: {self.max_size} clients are connected"
                " (MAX_WEBSOCKET_CONNECTIONS).",
                FULL_RETRY_SECONDS,
            )
        self._connections[connection.id] = connection

    def remove(self, client: str) -> Connection | None:
        """Its place is free; the client, if it was in."""
        return self._connections.pop(client, None)
