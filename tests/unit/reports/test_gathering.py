"""What a report is made of, while sessions come and go."""

from collections.abc import Mapping

from sessions.store.supervision.presence import Presence, Times
from supervisor.reports.gathering import times_of


class Growing(Presence):
    """A session is made between one look and the next."""

    def __init__(self) -> None:
        self.looks = 0

    async def times(self, start: float, end: float) -> Mapping[str, Times]:
        self.looks += 1
        found = {"shop": Times(end - start, 0, 0)}
        return found if self.looks == 1 else found | {"new": Times(1, 0, 0)}


async def test_a_session_that_is_made_meanwhile_fails_no_report() -> None:
    assert await times_of(Growing(), 0, 100, [(10, 20)]) == {"shop": Times(90, 0, 0)}
