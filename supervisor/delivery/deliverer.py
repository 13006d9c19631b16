"""One webhook at work: it reads the log, sends what is wanted, each session's events one after the
other, and remembers how far it has come.

All is decided in turns of one task; attempts are tasks beside it, which only send, and say what
came of it. Nothing here waits for another webhook.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog

from sessions.model import StoreError, StoreUnanswered
from sessions.store import StoredEvent
from sessions.store.tables.webhooks import WebhookRow, WebhookRows
from sessions.views.times import iso
from supervisor.delivery.bodies import Bodies
from supervisor.delivery.endpoint import outgoing, retrying
from supervisor.delivery.endpoint.circuit import Circuit, jittered
from supervisor.delivery.endpoint.sender import Outcome, Sender
from supervisor.delivery.lanes import Lanes, Pending
from supervisor.delivery.late import Late
from supervisor.delivery.telling import Telling
from supervisor.delivery.webhook_settings import PauseReason, WebhookSettings

WINDOW: Final = 20_000
"""Events that are read from the log and not settled; only their numbers are kept."""
AT_ONCE: Final = 20
"""Requests under way to one endpoint."""
SAVE_SECONDS: Final = 1.0
SAVE_EVENTS: Final = 500
"""After so long, or so many, progress is written: what a crash repeats is bounded by it."""
MOST_OPEN: Final = 500
"""Events above the low-water mark that are remembered one by one."""
LEAST_SECONDS: Final = 0.01
"""No turn is planned for sooner: clocks round."""
LOOK_SECONDS: Final = 300.0
"""The longest that a webhook sleeps, and how often what is told of a failing one is brought up to
date.
"""
FAILING_SECONDS: Final = 30.0
"""An endpoint that fails for so long is told of, as an event: a restart of it is over by then. When
it is an alert, an operator says.
"""
STORE_SECONDS: Final = 1.0
"""A pause when our own store does not answer: that is no fault of the endpoint's."""
STOP_SECONDS: Final = 2.0
"""How long requests under way may go on when the program stops."""

log = structlog.get_logger("delivery")


class Progress(msgspec.Struct, frozen=True, rename="camel"):
    """How far a webhook has come. Everything up to `low_water` is settled; up to `read_to` all but
    the `open` ones, where these are known.

    `began`: what is behind this event was offered to it, at the first time or by a replay; None:
    that was not written down.
    """

    low_water: int
    read_to: int
    open: tuple[int, ...] | None = None
    began: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What all deliverers share."""

    rows: WebhookRows
    bodies: Bodies
    sender: Sender
    retry_seconds: float
    failing_seconds: float
    rng: random.Random


class _Rests(Exception):
    """It was paused before the event was sent."""


class Deliverer:
    """One webhook."""

    def __init__(
        self, row: WebhookRow, settings: WebhookSettings, tools: Tools, telling: Telling
    ) -> None:
        self.id = row.id
        self.created_at = row.created_at
        self.settings = settings
        self.paused_because = row.paused_because
        self.failing_since = row.failing_since
        """Seconds of wall clock."""
        self.last_success_at: float | None = None
        self.last_failure: tuple[float, str] | None = None
        self.telling = telling
        if row.failing_since is not None and time.time() - row.failing_since >= FAILING_SECONDS:
            telling.has_failed_before()
        self._tools = tools
        progress = msgspec.json.decode(row.progress, type=Progress)
        self.lanes = Lanes(progress.low_water)
        self.circuit = Circuit()
        self.late = Late(self, tools.rows, tools.bodies, telling, tools.rng, tools.retry_seconds)
        self._restored, self._open = progress, frozenset(progress.open or ())
        self.began = progress.began
        self._set_aside: set[int] | None = None
        """Events that have rows of their own above the mark; read at the first turn."""
        self._saved = progress
        self._saved_at = 0.0
        self._settled = 0
        self._wake = asyncio.Event()
        self._attempts: set[asyncio.Task[None]] = set()
        self._not_before = 0.0
        self._look_at = 0.0
        self._is_changed = False
        """It is about to begin elsewhere, or with other settings."""
        self._closing = False

    # --- what others ask --------------------------------------------------------------------------

    @property
    def behind(self) -> int:
        """Events that are not settled; those not read yet are counted, wanted or not."""
        return len(self.lanes) + max(0, self._tools.bodies.last - self.lanes.read_to)

    def has_settled(self, n: int, session: str | None) -> bool:
        """Whether an event of the log was accepted, not asked for, or set aside."""
        if n <= self.lanes.low_water:
            return True
        if n <= self.lanes.read_to:
            return self.lanes.find(n, session) is None
        return not self._is_new(n)

    @property
    def judged_to(self) -> int:
        """The newest event of which it was asked whether the webhook wants it."""
        known = self._restored
        return max(self.lanes.read_to, 0 if known.open is None else known.read_to)

    def next_try(self, pending: Pending | None = None) -> float | None:
        """When an event that has failed is tried next, or (None) anything is, if nothing goes out
        now; seconds of wall clock.
        """
        if self.paused_because is not None:
            return None
        at = self.circuit.canary_at
        if at is None and pending is not None:
            at = pending.retry_at
        start = self._not_before if self._not_before > self._now() else None
        times = [one for one in (at, start) if one is not None]
        return self.wall(max(times)) if times else None

    @property
    def rests(self) -> bool:
        """Whether nothing is sent now: it is paused, or about to end, or being changed."""
        return self.paused_because is not None or self._closing or self._is_changed

    def wall(self, at: float | None) -> float | None:
        """A time of the loop's clock as one of the wall's."""
        return None if at is None else time.time() + at - self._now()

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Nothing is read or begun meanwhile: it is being changed."""
        self._is_changed = True
        try:
            yield
        finally:
            self._is_changed = False
            self.wake()

    def use(self, settings: WebhookSettings, paused_because: str | None) -> None:
        """Go on with other settings; the endpoint is given a fresh chance."""
        self.settings, self.paused_because = settings, paused_because
        self.telling.url = settings.url
        self._not_before = self._look_at = 0.0
        if self.circuit.is_open:
            self.circuit.canary_at = self._now()
        self.lanes.clear_failures()
        if paused_because is None:
            self.telling.resumed()
        self.wake()

    def pause(self, because: PauseReason) -> None:
        """Send nothing any more, but for what is under way; what happens is kept."""
        if self.paused_because is None:
            self.paused_because = because
            self._tools.rows.pause(self.id, because)
            self.telling.paused(because)
            self.wake()

    def look_for_late(self) -> None:
        """Rows may be due."""
        self.late.look_by(0.0)
        self.wake()

    async def begin_after(self, n: int) -> dict[str, int]:
        """Send again all that came after that number; how many rows are left, by state.

        Raises StoreUnavailable; then it goes on where it was.
        """
        progress = Progress(n, n, began=None if self.began is None else min(self.began, n))
        settings = self.settings.judging_again(n)
        written = msgspec.json.encode(settings), msgspec.json.encode(progress)
        with self.resting():
            await self._end_attempts()
            try:
                left = await self._tools.rows.replay(self.id, n, *written)
            except StoreUnanswered:  # perhaps the rows are gone: then all have to be sent again
                self._go_back(progress, settings)
                raise
            self._go_back(progress, settings)
        return left

    def _go_back(self, progress: Progress, settings: WebhookSettings) -> None:
        self.settings, self.began = settings, progress.began
        self._restored, self._set_aside = progress, set()
        self._saved, self._settled = progress, 0
        self.lanes = Lanes(progress.low_water)

    async def attempt(self, event: StoredEvent, late: bool = False) -> Outcome:
        """Send an event once, and wait for what comes of it."""
        settings = self.settings
        body, at = outgoing.body(event, settings.payload), int(time.time())
        ours = outgoing.headers(settings.signing(at), event.id, at, body, late)
        outcome = await self._tools.sender.send(
            settings.url, body, settings.headers | ours, settings.owner.is_trusted
        )
        if outcome.answer is None:
            return outcome
        return msgspec.structs.replace(outcome, answer=settings.masked(outcome.answer))

    async def close(self) -> None:
        """Let what is under way end, for a moment, and remember how far it has come."""
        self._closing = True
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=STOP_SECONDS)
        await self._end_attempts()
        self._save(now=True)

    # --- a turn -----------------------------------------------------------------------------------

    async def turn(self) -> None:
        """Do what can be done now, and wait until there is more."""
        self._wake.clear()
        try:
            if not self.rests:
                await self._read()
                await self._expire()
                self._send()
                await self._send_late()
        except StoreError as error:
            self.hold_back(error)
        self._look()
        self._save()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pause_seconds()):
                await self._wake.wait()

    async def _read(self) -> None:
        lanes, bodies = self.lanes, self._tools.bodies
        if self._set_aside is None:
            self._set_aside = await self._tools.rows.set_aside_after(self.id, lanes.low_water)
        if len(lanes) >= WINDOW or lanes.read_to >= bodies.last:
            return
        page, dropped = await bodies.after(lanes.read_to), 0
        if page.oldest is not None and page.oldest > lanes.read_to + 1:
            dropped = await bodies.last_dropped()
        if self.rests:  # what is wanted is about to be something else, perhaps
            return
        if dropped > lanes.read_to:
            self._lose(dropped)
        for event in page.events:
            if event.n > lanes.read_to:
                self._judge(lanes, event)
        if not page.events:  # those that are left cannot be read, or were purged
            lanes.pass_over(page.last)
        if lanes.read_to < bodies.last:
            self.wake()

    def _judge(self, lanes: Lanes, event: StoredEvent) -> None:
        """Whether an event is to be sent in its turn, or is passed over."""
        if self._is_new(event.n) and self.settings.wants(event.session, event.type):
            lanes.offer(event.n, event.session, event.type)
        else:
            lanes.pass_over(event.n)
        if self._set_aside:  # no event is read twice
            self._set_aside.discard(event.n)

    def _is_new(self, n: int) -> bool:
        """Whether an event that is read, or will be, is to be sent in its turn."""
        if self._set_aside and n in self._set_aside:
            return False
        known = self._restored
        return n > known.read_to or known.open is None or n in self._open

    def _send(self) -> None:
        now = self._now()
        if now < self._not_before or self.rests:
            return
        if self.circuit.is_open:
            if not self._attempts and self.circuit.sends_canary(now):
                self._begin(self.lanes.take_canary())
            return
        while len(self._attempts) < AT_ONCE and (pending := self.lanes.take(now)) is not None:
            self._begin(pending)
        if len(self.lanes) >= WINDOW:
            self._make_room()

    def _begin(self, pending: Pending | None) -> None:
        if pending is not None:
            self.run(self._attempt(pending))

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do that beside the turns; the next one comes when it is done."""
        task = asyncio.create_task(work, name=f"webhook {self.id}")
        self._attempts.add(task)
        task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._attempts.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error(
                "an attempt to deliver failed by an error of this program",
                action="delivery_error",
                webhook=self.id,
                exc_info=task.exception(),
            )
            self._not_before = self._now() + STORE_SECONDS  # a bug is not made again at once
        self.wake()

    def _make_room(self) -> None:
        """A session has filled the window behind one event: that one waits aside at once."""
        failing = [one for one in self.lanes.failing() if not one.under_way]
        if failing:
            self._put_aside(self.lanes, failing[0])

    # --- an event in its turn ---------------------------------------------------------------------

    async def _attempt(self, pending: Pending) -> None:
        lanes, outcome = self.lanes, None
        try:
            event = await self._tools.bodies.get(pending.n)
            if event is None:
                dropped = await self._tools.bodies.last_dropped()
                if pending.n <= dropped:
                    self._lose(dropped, pending.n)
            elif self.rests:
                raise _Rests
            elif self.settings.wants(event.session, event.type):
                outcome = await self.attempt(event)
        except StoreError as error:
            self.hold_back(error)
            lanes.put_back(pending)
        except _Rests:
            lanes.put_back(pending)
        except BaseException:
            lanes.put_back(pending)
            raise
        else:
            if outcome is None:  # nobody wants it any more, or nobody has it
                self._settle(lanes, pending)
            else:
                self._came_of(lanes, pending, outcome)

    def _came_of(self, lanes: Lanes, pending: Pending, outcome: Outcome) -> None:
        match outcome.kind:
            case "accepted":
                self._settle(lanes, pending)
                self.succeeded()
            case "gone":
                lanes.put_back(pending)
                self.gone(outcome)
            case _:
                self._failed(lanes, pending, outcome)

    def _settle(self, lanes: Lanes, pending: Pending) -> None:
        lanes.settle(pending)
        self._settled += 1
        if pending.failures:
            self._look_at = 0.0

    def succeeded(self) -> None:
        """The endpoint has accepted an event."""
        self.last_success_at = time.time()
        if self.circuit.succeeded():
            log.info("a webhook accepts again", action="webhook_closed", webhook=self.id)
            self.lanes.clear_failures()
            self.run(self.late.hasten())
        if self.failing_since is not None:
            self.failing_since = None
            self._look_at = 0.0
            self._tools.rows.save_failing_since(self.id, None)

    def _failed(self, lanes: Lanes, pending: Pending, outcome: Outcome) -> None:
        now = self._now()
        wait = max(
            jittered(retrying.in_lane(pending.failures + 1), self._tools.rng.random()),
            outcome.retry_after_seconds,
        )
        blocked = lanes.fail(pending, now, wait)
        pending.last_status, pending.last_error = outcome.status, outcome.error
        pending.last_answer = outcome.answer
        self.note_failure(pending.n, outcome)
        if self.circuit.is_open and outcome.kind == "away":
            pending.failing_since = None
        elif blocked:
            self._put_aside(lanes, pending)

    def note_failure(self, n: int, outcome: Outcome) -> None:
        """The endpoint has not accepted event `n`, in its turn or late."""
        now, wall, away = self._now(), time.time(), outcome.kind == "away"
        self.last_failure = wall, outcome.error or ""
        self._look_at = min(self._look_at, now + FAILING_SECONDS)
        asked = outcome.retry_after_seconds if away else 0.0
        self._not_before = max(self._not_before, now + asked)
        if self.circuit.failed(n, away, now, self._tools.rng.random(), asked):
            self.lanes.clear_blame()
            since = self.circuit.failing_since or now
            self.failing_since = self.failing_since or wall - (now - since)
            self._tools.rows.save_failing_since(self.id, self.failing_since)
            log.warning(
                "a webhook is away: one event at a time is tried",
                action="webhook_open",
                webhook=self.id,
                error=outcome.error,
            )

    def _put_aside(self, lanes: Lanes, pending: Pending) -> None:
        """It waits no longer in its turn; later events of its session go on. It is the first of its
        lane, and not under way.
        """
        failing = 0.0 if pending.failing_since is None else self._now() - pending.failing_since
        self._settle(lanes, pending)
        self.late.add(pending, failing)

    def gone(self, outcome: Outcome) -> None:
        """The endpoint has answered that it shall be called no more: it is paused."""
        self.last_failure = time.time(), outcome.error or ""
        self.pause("gone")

    # --- what is over -----------------------------------------------------------------------------

    def on_dropped(self, dropped: int) -> None:
        """The log has dropped everything up to that number: what of it was not sent is told, also
        while nothing can be sent.
        """
        if dropped > self.lanes.low_water and not self._is_changed:
            self._lose(dropped)

    def _lose(self, dropped: int, under_way: int | None = None) -> None:
        """The log has dropped everything up to that number, and not all of it was sent;
        `under_way`: one of it that was about to be.
        """
        unread = self.lanes.read_to + 1
        settled = self.lanes.settle_up_to(dropped)
        first = min(one for one in (unread, settled, under_way) if one is not None)
        if first > dropped:
            return
        self.late.add_gap(first, dropped)

    async def _expire(self) -> None:
        """An endpoint that was away for longer than events are tried: what is older is not tried
        any more, and kept until somebody says what becomes of it.
        """
        oldest = time.time() - self._tools.retry_seconds
        if not self.circuit.is_open or self.failing_since is None or self.failing_since > oldest:
            return
        if self._attempts or not self.circuit.sends_canary(self._now()):
            return
        last = await self._tools.bodies.last_before(int(1000 * oldest))
        first = self._first_open()
        if first <= last:
            self.lanes.settle_up_to(last)
            self.late.add_dead(first, last, self.last_failure[1] if self.last_failure else None)

    def _first_open(self) -> int:
        """The first event that is not settled, or the next one that is read."""
        return self.lanes.low_water + 1

    async def _send_late(self) -> None:
        if self._now() < self._not_before:
            return
        room = AT_ONCE - len(self._attempts)
        if self.circuit.is_open:
            if self._attempts or len(self.lanes) or not self.circuit.sends_canary(self._now()):
                return
            room = 1  # nothing else is there to be the canary
        await self.late.send(room)

    # --- the rest ---------------------------------------------------------------------------------

    def hold_back(self, error: StoreError) -> None:
        """Our own store has failed: nothing is charged to the endpoint."""
        log.debug("events cannot be read now", action="delivery_waits", error=str(error))
        self._not_before = max(self._not_before, self._now() + STORE_SECONDS)

    def _look(self) -> None:
        """Tell of an endpoint that fails for long, and of its recovery."""
        now = self._now()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        since = self._failing_since(now)
        if self.paused_because is not None:
            self.telling.rests()
        elif since is None:
            self.telling.works(self.behind)
        else:
            self._tell_of_failure(since)

    def _tell_of_failure(self, since: float) -> None:
        error = self.last_failure[1] if self.last_failure else None
        for_seconds, alert_seconds = time.time() - since, self._tools.failing_seconds
        if for_seconds >= FAILING_SECONDS:
            self.telling.fails(iso(since), error, self.behind)
        if for_seconds >= alert_seconds:
            self.telling.alert(iso(since), error, self.behind)
        later = [at - for_seconds for at in (FAILING_SECONDS, alert_seconds) if at > for_seconds]
        self._look_at = min([self._look_at, *(self._now() + wait for wait in later)])

    def _failing_since(self, now: float) -> float | None:
        if self.failing_since is not None:
            return self.failing_since
        blamed = [one.failing_since for one in self.lanes.failing() if one.failing_since]
        return time.time() - (now - min(blamed)) if blamed else None

    def progress(self) -> Progress:
        """How far it has come."""
        lanes, known = self.lanes, self._restored
        if lanes.read_to < known.read_to and known.open is not None:
            # it has not come as far again as it was: what was open then, and is still
            still = [n for n in known.open if n > lanes.read_to]
            read_to, more = known.read_to, still
        else:
            read_to, more = lanes.read_to, []
        found = lanes.open_numbers(MOST_OPEN)
        if found is None or len(found) + len(more) > MOST_OPEN:
            return Progress(lanes.low_water, lanes.low_water, began=self.began)
        return Progress(lanes.low_water, read_to, (*found, *more), self.began)

    def _save(self, now: bool = False) -> None:
        if self._is_changed:  # what is written now would be behind what begin_after writes
            return
        at = self._now()
        if not now and self._settled < SAVE_EVENTS and at - self._saved_at < SAVE_SECONDS:
            return
        progress = self.progress()
        if progress != self._saved:
            self._tools.rows.save_progress(self.id, msgspec.json.encode(progress))
        self._saved, self._saved_at, self._settled = progress, at, 0

    def _pause_seconds(self) -> float:
        """Until something is due that nobody wakes us for."""
        now = self._now()
        times = [self._look_at - now]
        if self.progress_is_unsaved:
            times.append(self._saved_at + SAVE_SECONDS - now)
        if self.rests:
            pass
        elif self._not_before > now:
            times.append(self._not_before - now)
        elif self.circuit.canary_at is not None:
            if not self._attempts and (len(self.lanes) or self.late.look_at is not None):
                late = 0.0 if len(self.lanes) else (self.late.look_at or 0.0) - time.time()
                times.append(max(self.circuit.canary_at - now, late))
        elif len(self._attempts) < AT_ONCE:
            if (at := self.lanes.next_at()) is not None:
                times.append(at - now)
            if self.late.look_at is not None and self.late.has_room:
                times.append(self.late.look_at - time.time())
        return max(LEAST_SECONDS, min(times))

    @property
    def progress_is_unsaved(self) -> bool:
        """Whether there is something to save."""
        return bool(self._settled) or self.lanes.low_water != self._saved.low_water

    async def _end_attempts(self) -> None:
        attempts = list(self._attempts)
        for task in attempts:
            task.cancel()
        if attempts:
            await asyncio.wait(attempts)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
