"""The store's part that the event feed uses, in memory; tests/integration/store/test_contract.py
holds the real one to the same.
"""

import asyncio
from collections.abc import Collection, Sequence
from types import SimpleNamespace

import msgspec

from sessions.model import StaleEpoch, StoreUnavailable
from sessions.store import StoredEvent
from sessions.store.tables.events import EVERY_EVENT, Wanted


class EventStore:
    """The store's part that the feed uses; an event is durable when the test says so."""

    def __init__(self, *kept: StoredEvent) -> None:
        self.kept = list(kept)
        self.waiting: list[tuple[asyncio.Future[StoredEvent], str | None, str, bytes]] = []
        self.news: list[tuple[int, int, bytes, tuple[str, ...]]] = []
        self.newest = (0, 0)
        self.n = kept[-1].n if kept else 0
        self.loaded = 1000
        """Events that fit into memory when the feed is opened."""
        self.failing = False
        self.per_read = 1000
        self.digests: set[str] = set()
        """Messages whose digest is, by chance, that of all events."""
        self.dropped = 0
        """The newest event that there was no room for."""
        self.read = 0
        """How often events were read back."""

    def append_event(
        self, session: str | None, kind: str, data: bytes, message: str | None = None
    ) -> asyncio.Future[StoredEvent]:
        future: asyncio.Future[StoredEvent] = asyncio.get_running_loop().create_future()
        self.waiting.append((future, session, kind, data))
        return future

    def append_worker_event(
        self,
        session: str,
        epoch: int,
        seq: int,
        kind: str,
        data: bytes,
        kept: Sequence[str],
        message: str | None = None,
    ) -> asyncio.Future[StoredEvent | None]:
        """As the real one: news once, and not at all of an earlier epoch than the newest."""
        self.news.append((epoch, seq, data, tuple(kept)))
        known, self.newest = self.newest, max(self.newest, (epoch, seq))
        answer: asyncio.Future[StoredEvent | None]
        if epoch < known[0] or (epoch, seq) <= known:
            answer = asyncio.get_running_loop().create_future()
            if epoch < known[0]:
                answer.set_exception(StaleEpoch(f"epoch {epoch}"))
            else:
                answer.set_result(None)
            return answer
        return self.append_event(session, kind, data)  # type: ignore[return-value]

    async def last_events(self, most_bytes: int) -> list[StoredEvent]:
        return self.kept[-self.loaded :]

    async def oldest_event(self) -> int | None:
        self._check()
        return self.kept[0].n if self.kept else None

    async def events_between(
        self,
        after: int,
        last: int,
        limit: int,
        most_bytes: int,
        wanted: Wanted = EVERY_EVENT,
    ) -> tuple[list[StoredEvent], int]:
        """As the real one; it looks through `per_read` events at a time."""
        self._check()
        self.read += 1
        there = [event for event in self.kept if after < event.n <= last]
        looked = there[: self.per_read]
        found = [event for event in looked if self._is_wanted(event, wanted)]
        if len(found) > limit:
            return found[:limit], found[limit - 1].n
        return found, last if len(looked) == len(there) else looked[-1].n

    @staticmethod
    def _is_wanted(event: StoredEvent, wanted: Wanted) -> bool:
        whose = wanted.sessions is None or event.session in wanted.sessions
        group, dot, _ = event.type.partition(".")
        named = wanted.names is None or event.type in wanted.names
        return whose and (named or not dot or group in wanted.groups)

    async def trim_events(self) -> None:
        """As the real one: all of them but the newest may be too old."""
        self._check()
        self.kept = [event for event in self.kept if event.n > self.dropped]

    async def events_of_message(
        self, message: str, sessions: Collection[str] | None, after: int, limit: int
    ) -> list[StoredEvent]:
        """As the real one, which goes by a part of the digest: it may give others, too."""
        self._check()
        there = [event for event in self.kept if event.n > after and message in self.digests]
        return [e for e in there if sessions is None or e.session in sessions][:limit]

    async def last_dropped_event(self) -> int:
        self._check()
        return self.dropped

    @property
    def health(self) -> SimpleNamespace:
        return SimpleNamespace(state="failing" if self.failing else "ok")

    def _check(self) -> None:
        if self.failing:
            raise StoreUnavailable("It cannot be read.")

    async def commit(self) -> None:
        """Everything that waits becomes durable."""
        waiting, self.waiting = self.waiting, []
        for future, session, kind, data in waiting:
            self.n += 1
            self.kept.append(StoredEvent(self.n, 0, session, kind, msgspec.Raw(data)))
            future.set_result(self.kept[-1])
        await asyncio.sleep(0)
