"""What of one webhook's events was set aside, and is sent late: refused ones (*holes*) until they
are accepted or their time is over (*dead*), those that somebody has redriven, and what the log has
dropped meanwhile (*gaps*). Each is a row, of one event or of many.
"""

import contextlib
import random
import time
from collections.abc import Coroutine
from typing import Any, Final, Protocol

import msgspec
import structlog

from sessions.model import StoreError
from sessions.store import StoredEvent
from sessions.store.tables.webhooks import DeliveryRow, DeliveryState, WebhookRows
from supervisor.delivery.bodies import Bodies
from supervisor.delivery.endpoint import retrying
from supervisor.delivery.endpoint.circuit import jittered
from supervisor.delivery.endpoint.sender import Outcome, with_answer
from supervisor.delivery.lanes import Pending
from supervisor.delivery.telling import Telling
from supervisor.delivery.webhook_settings import WebhookSettings

AT_ONCE: Final = 4
"""Requests with events that were set aside: they never crowd out what happens now."""

log = structlog.get_logger("delivery")


class Webhook(Protocol):
    """Whose events they are (deliverer.py): it sends them, and learns what came of it."""

    id: str
    settings: WebhookSettings
    failing_since: float | None

    @property
    def rests(self) -> bool:
        """Whether nothing is sent now."""

    async def attempt(self, event: StoredEvent, late: bool = False) -> Outcome:
        """Send an event once, and wait for what comes of it."""

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do that beside its turns."""

    def succeeded(self) -> None:
        """The endpoint has accepted an event."""

    def note_failure(self, n: int, outcome: Outcome) -> None:
        """The endpoint has not accepted an event."""

    def gone(self, outcome: Outcome) -> None:
        """The endpoint shall be called no more."""

    def hold_back(self, error: StoreError) -> None:
        """Our own store has failed."""


class Late:
    """The rows of one webhook."""

    def __init__(
        self,
        webhook: Webhook,
        rows: WebhookRows,
        bodies: Bodies,
        telling: Telling,
        rng: random.Random,
        retry_seconds: float,
    ) -> None:
        self._webhook = webhook
        self._rows = rows
        self._bodies = bodies
        self._telling = telling
        self._rng = rng
        self._retry_seconds = retry_seconds
        self._under_way: set[int] = set()
        self.look_at: float | None = 0.0
        """When to look for rows that are due, wall clock; None: there is none."""

    @property
    def has_room(self) -> bool:
        """Whether another one may be begun."""
        return len(self._under_way) < AT_ONCE

    def look_by(self, wall: float) -> None:
        """A row may be due then."""
        self.look_at = wall if self.look_at is None else min(self.look_at, wall)

    def add(self, pending: Pending, failing_seconds: float) -> None:
        """An event that has failed for so long waits aside from now on."""
        wall = time.time()
        due = wall + jittered(retrying.as_hole(failing_seconds), self._rng.random())
        row = DeliveryRow(
            webhook=self._webhook.id,
            n=pending.n,
            last_n=pending.n,
            next_n=pending.n,
            session=pending.lane or None,
            type=pending.kind,
            state="retrying",
            attempts=pending.failures,
            first_failed_at=wall - failing_seconds,
            next_at=due,
            last_status=pending.last_status,
            last_error=with_answer(pending.last_error, pending.last_answer),
        )
        self._rows.set_aside(row)
        self.look_by(due)
        log.warning(
            "an event is set aside; later ones of its session go on",
            action="delivery_aside",
            webhook=self._webhook.id,
            event=pending.n,
            session=row.session,
            error=pending.last_error,
        )

    def add_gap(self, first: int, last: int) -> None:
        """The log has dropped these before they were sent."""
        self._rows.set_range_aside(self._range(first, last, "gap"))
        self._telling.gap(first, last)

    def add_dead(self, first: int, last: int, error: str | None) -> None:
        """The time of these is over."""
        row = msgspec.structs.replace(self._range(first, last, "dead"), last_error=error)
        self._rows.set_range_aside(row)
        self._telling.dead(first, last, error)

    async def hasten(self) -> None:
        """The endpoint is back: what was set aside meanwhile need not wait for its time."""
        with contextlib.suppress(StoreError):  # they are tried at their time then
            await self._rows.hasten(self._webhook.id, time.time())
        self.look_by(0.0)

    async def send(self, most: int) -> None:
        """Begin with those that are due, at most so many. Raises StoreError."""
        wall, room = time.time(), min(AT_ONCE - len(self._under_way), most)
        if self.look_at is None or wall < self.look_at or room <= 0:
            return
        # whoever learns of another one while the store is asked, says so here
        self.look_at = None
        due_at: float | None = wall
        try:
            due_at = await self._begin(wall, room)
        finally:
            if due_at is not None:
                self.look_by(due_at)

    # --- inside -----------------------------------------------------------------------------------

    async def _begin(self, wall: float, room: int) -> float | None:
        """Begin as many as there is room for; when to look again."""
        webhook = self._webhook
        due = await self._rows.due(webhook.id, wall, AT_ONCE + len(self._under_way))
        waiting = [row for row in due if row.id not in self._under_way]
        if webhook.rests:
            return wall
        for row in waiting[:room]:
            self._under_way.add(row.id)
            webhook.run(self._attempt(row))
        if waiting:
            return wall
        # those under way say themselves when they are done
        return None if self._under_way else await self._rows.next_due(webhook.id)

    async def _attempt(self, row: DeliveryRow) -> None:
        try:
            row, outcome = await self._work_off(row)
            if outcome is None and row.next_n > row.last_n:
                await self._rows.accepted(row)
            elif outcome is None:
                await self._rows.update(row)
            elif outcome.kind == "gone":
                await self._rows.update(row)
                self._webhook.gone(outcome)
            else:
                await self._rows.update(self._failed(row, outcome))
        except StoreError as error:
            self._webhook.hold_back(error)
        finally:
            self._under_way.discard(row.id)
            self.look_by(0.0)

    async def _work_off(self, row: DeliveryRow) -> tuple[DeliveryRow, Outcome | None]:
        """Send a row's events, one after the other, until one is not accepted, or it is paused;
        with how far it has come, and what came of the one that was not accepted.
        """
        bodies, webhook = self._bodies, self._webhook
        while row.next_n <= row.last_n:
            page, purges = await bodies.after(row.next_n - 1), bodies.purges
            if page.oldest is not None and page.oldest > row.next_n:
                row = await self._without_dropped(row)
                if row.state == "gap":
                    return row, None
            some = [event for event in page.events if row.next_n <= event.n <= row.last_n]
            for event in some:
                if webhook.rests:
                    return row, None
                if bodies.purges != purges:  # what is left of the page is read again
                    break
                is_single = row.n == row.last_n
                if is_single or webhook.settings.wants(event.session, event.type):
                    outcome = await webhook.attempt(event, late=True)
                    if outcome.kind != "accepted":
                        return row, outcome
                    webhook.succeeded()
                row = msgspec.structs.replace(row, next_n=event.n + 1)
            if not some:  # those that are left were purged with their session, or dropped
                row = msgspec.structs.replace(row, next_n=row.last_n + 1)
            else:
                await self._rows.update(row)
        return row, None

    async def _without_dropped(self, row: DeliveryRow) -> DeliveryRow:
        """What is left of a row: what the log has dropped of it is a gap, and told."""
        first, last = row.next_n, min(await self._bodies.last_dropped(), row.last_n)
        if last < first:  # purged with their session
            return row
        self._telling.gap(first, last)
        if last == row.last_n:
            return msgspec.structs.replace(row, state="gap", next_at=None)
        row = msgspec.structs.replace(row, next_n=last + 1)
        await self._rows.update(row)
        # its number is its last event's: the first one's may be the row's
        gap = msgspec.structs.replace(self._range(last, last, "gap"), next_n=first)
        self._rows.set_range_aside(gap)
        return row

    def _failed(self, row: DeliveryRow, outcome: Outcome) -> DeliveryRow:
        wall, attempts = time.time(), row.attempts + 1
        self._webhook.note_failure(row.next_n, outcome)
        failing = wall - row.first_failed_at
        wait = jittered(retrying.as_hole(failing), self._rng.random())
        dead = failing >= self._retry_seconds
        if dead:
            self._telling.dead(row.n, row.last_n, outcome.error)
        return msgspec.structs.replace(
            row,
            state="dead" if dead else "retrying",
            attempts=attempts,
            next_at=None if dead else wall + max(wait, outcome.retry_after_seconds),
            last_status=outcome.status,
            last_error=with_answer(outcome.error, outcome.answer),
        )

    def _range(self, first: int, last: int, state: DeliveryState) -> DeliveryRow:
        return DeliveryRow(
            webhook=self._webhook.id,
            n=first,
            last_n=last,
            next_n=first,
            session=None,
            type=None,
            state=state,
            attempts=0,
            first_failed_at=self._webhook.failing_since or time.time(),
            next_at=None,
            last_status=None,
            last_error=None,
        )
