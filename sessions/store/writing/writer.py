"""Group commit with patience: all the writes that wait go into one transaction, and those that can
wait outlive a failing database.

Operations take effect strictly in the order of the calls, whatever their kind.

A *patient* operation is kept, and tried again, until it is durable or the store is closed. An
*impatient* one fails with StoreUnavailable at the first attempt that fails, at the latest after
IMPATIENT_SECONDS: somebody waits for the answer.

So raise_epoch (impatient) never overtakes a write_keys (patient) that was queued before it: either
both are made, in that order, or the raise has failed and the write still waits with an epoch that
is current. A write can become stale by waiting only through a raise whose answer was lost with the
connection; then its worker is told so and ends, and what it lost was never acknowledged.

An operation checks first and writes after: a WasupError that it raises refuses that operation
alone. An error that is its own fault (a bug, a value that the database does not take) fails it
alone: its batch is rolled back and each of its operations made in a transaction of its own. An
error that is the database's trouble fails nobody who is patient. A commit of unknown outcome is
looked up (receipts.py).
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import Executable
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential_jitter

from sessions.forever import Forever
from sessions.model import StoreError, StoreUnanswered, StoreUnavailable, WasupError
from sessions.store.writing import faults, receipts
from sessions.store.writing.health import SLOW_SECONDS, HealthWatch, StoreHealth

T = TypeVar("T")
Operation = Callable[[AsyncConnection], Awaitable[T]]

MAX_BATCH: Final = 500
"""Operations in one transaction: enough to share an fsync, few enough that the first does not wait
long.
"""
BATCH_SECONDS: Final = 0.5
"""After so long a transaction takes in no more: with a database far away, 500 operations would take
seconds.
"""
MAX_WAITING_EVENTS: Final = 10_000
"""Events of our own that may wait.

All else is bounded by those who make it: a worker waits for each acknowledgement.
"""
COMPACT_ABOVE: Final = 64
"""What is gone leaves the queue when it is more than what waits, and this: so the queue is bounded
by twice what waits, at no cost.
"""
MAX_WAITING_EVENTS_OF_ONE: Final = 500
"""Of these from one source, a session: it can fill its own share, and not those of the others."""
IMPATIENT_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 5.0
RETRY_WAIT: Final = wait_exponential_jitter(multiplier=0.1, max=2.0, jitter=0.1)
"""Seconds between attempts: a restarted database is used again at once, a full disk is not
hammered.
"""

log = structlog.get_logger("store")


class _Trouble(Exception):
    """The attempt failed for the database's trouble."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """An operation that waits, and who waits for it."""

    operation: Operation[Any]
    futures: list[asyncio.Future[Any]]
    patient: bool
    is_event: bool
    since: float
    source: Hashable = None
    under_way: bool = False
    gone: bool = False
    expiry: asyncio.TimerHandle | None = field(default=None)


_Outcomes = list[tuple[_Waiting, Any]]


class Writer:
    """The only writer of the database. `notify` is told of each change of its health, `took` of
    each commit and how many seconds it took.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        forever: Forever,
        notify: Callable[[StoreHealth], None] | None = None,
        took: Callable[[str, float], None] | None = None,
    ) -> None:
        self._engine = engine
        self._took = took
        self._queue: deque[_Waiting] = deque()
        self._newest: dict[Hashable, _Waiting] = {}
        self._waiting = 0
        self._waiting_events = 0
        self._events_of: Counter[Hashable] = Counter()
        self._told_of_lost_events = False
        self._unknown: tuple[bytes, _Outcomes] | None = None
        self._closing = False
        self.lost: str | None = None
        """What has become of the database's file, while it is not where it was: then nothing is
        written, and who can wait does.
        """
        self._abandoned = False
        self._wake = asyncio.Event()
        self._slow_check: asyncio.TimerHandle | None = None
        self.watch = HealthWatch(lambda: self._waiting, notify)
        self._writing = forever.keep(
            "store writer", self._write, within_seconds=None, until=self._has_finished
        )

    def submit(
        self,
        operation: Operation[T],
        *,
        patient: bool = False,
        newest_of: Hashable = None,
        is_event: bool = False,
        source: Hashable = None,
    ) -> asyncio.Future[T]:
        """Queue an operation; the future is done when its transaction is durable, or with a
        StoreError.

        `newest_of`: of the operations that wait under that name only the newest is made.

        `is_event`: counted, and refused if too many wait, or too many of that `source`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        refusal = self._refusal(is_event, source)
        if refusal is not None:
            _settle(future, refusal)
            return future
        waiting = _Waiting(operation, [future], patient, is_event, loop.time(), source)
        if newest_of is not None:
            self._take_the_place_of_older(newest_of, waiting)
        if not patient:
            waiting.expiry = loop.call_later(IMPATIENT_SECONDS, self._expire, waiting)
        self._queue.append(waiting)
        self._waiting += 1
        self._waiting_events += is_event
        if is_event:
            self._events_of[source] += 1
        self._watch_for_slowness()
        self._wake.set()
        return future

    def execute(
        self, statement: Executable, *, patient: bool = False, newest_of: Hashable = None
    ) -> asyncio.Future[None]:
        """Queue one statement, as `submit` does."""

        async def operation(connection: AsyncConnection) -> None:
            await connection.execute(statement)

        return self.submit(operation, patient=patient, newest_of=newest_of)

    async def close(self) -> None:
        """Write what is queued, for CLOSE_SECONDS at the most; what is left then is lost, and
        logged.
        """
        self._closing = True
        self._wake.set()
        await self._writing.ended(CLOSE_SECONDS)
        # The attempt under way is the last one; cut off in its middle its thread would outlive the
        # loop.
        self._abandoned = True
        await self._writing.ended(CLOSE_SECONDS)
        self._writing.stop()
        await self._writing.ended(CLOSE_SECONDS)  # a thread may be stuck in the disk: not for ever
        self._give_up()
        if self._slow_check is not None:
            self._slow_check.cancel()

    # --- the queue --------------------------------------------------------------------------------

    def _refusal(self, is_event: bool, source: Hashable) -> StoreUnavailable | None:
        if self._closing or self._writing.done:
            return StoreUnavailable("The store is closed.")
        if is_event and self._waiting_events >= MAX_WAITING_EVENTS:
            self._lose_event()
            return StoreUnavailable(
                f"{MAX_WAITING_EVENTS} events wait for the store already; this one is lost."
            )
        if is_event and source is not None and self._events_of[source] >= MAX_WAITING_EVENTS_OF_ONE:
            self._lose_event()
            return StoreUnavailable(
                f"{MAX_WAITING_EVENTS_OF_ONE} events of {source} wait already; this one is lost."
            )
        return None

    def _lose_event(self) -> None:
        self.watch.lost_events += 1
        if not self._told_of_lost_events:
            log.error("too many events wait: newer ones are lost", action="store_events_lost")
        self._told_of_lost_events = True  # once for each time that the store fails

    def _take_the_place_of_older(self, name: Hashable, waiting: _Waiting) -> None:
        older = self._newest.get(name)
        if older is not None and not older.under_way and not older.gone:
            waiting.futures += older.futures
            waiting.since = older.since
            self._leave(older)
        self._newest[name] = waiting

    def _leave(self, waiting: _Waiting) -> None:
        """It waits no longer."""
        if waiting.gone:
            return
        waiting.gone = True
        self._waiting -= 1
        self._waiting_events -= waiting.is_event
        if waiting.is_event:
            self._events_of[waiting.source] -= 1
            if not self._events_of[waiting.source]:
                del self._events_of[waiting.source]
        if waiting.expiry is not None:
            waiting.expiry.cancel()
        while self._queue and self._queue[0].gone:
            self._queue.popleft()
        if len(self._queue) > 2 * self._waiting + COMPACT_ABOVE:
            self._queue = deque(one for one in self._queue if not one.gone)
        if len(self._newest) > 2 * self._waiting + COMPACT_ABOVE or not self._queue:
            self._newest = {name: one for name, one in self._newest.items() if not one.gone}

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        for waiting in self._queue:
            if not waiting.gone:
                batch.append(waiting)
            if len(batch) >= MAX_BATCH:
                break
        return batch

    def _expire(self, waiting: _Waiting) -> None:
        """An answer is owed, even if the database hangs."""
        late = f"The store did not answer within {IMPATIENT_SECONDS:.0f} s;"
        refusal = (
            StoreUnanswered(f"{late} whether it was done is not known.")
            if waiting.under_way
            else StoreUnavailable(f"{late} it was not done.")
        )
        _settle_all(waiting, refusal)
        if not waiting.under_way:
            self._leave(waiting)

    # --- the attempts -----------------------------------------------------------------------------

    def _has_finished(self) -> bool:
        return self._abandoned or (self._closing and not self._queue)

    async def _write(self) -> None:
        """Make all that waits, trying again for as long as that takes; or wait until there is
        something.
        """
        retrying = AsyncRetrying(
            wait=RETRY_WAIT,
            retry=retry_if_exception_type(_Trouble),
            stop=lambda _: self._abandoned,
            sleep=self._pause,
            reraise=True,
        )
        try:
            if self.watch.state == "failing" or await self._something_waits():
                # failing: look whether it works again
                await retrying(self._attempt)
        except _Trouble:
            log.warning(
                "the store is closed while it cannot be written", action="store_closed_failing"
            )
        except Exception as error:
            # a bug of the writer itself: what waits goes on waiting, and that must be seen
            self.watch.enter(
                "failing", f"an error of its writer's own ({type(error).__name__}); see the log"
            )
            raise

    async def _something_waits(self) -> bool:
        while not self._queue and not self._closing:
            self._wake.clear()
            await self._wake.wait()
        return bool(self._queue)

    async def _pause(self, seconds: float) -> None:
        """Wait before the next attempt. Whoever closes wakes it."""
        try:
            async with asyncio.timeout(seconds):
                self._wake.clear()
                while not self._closing:
                    await self._wake.wait()
                    self._wake.clear()
        except TimeoutError:
            return
        await asyncio.sleep(min(seconds, 0.2))  # closing: quicker, but no spinning

    async def _attempt(self) -> None:
        """Make what waits; with nothing waiting (after a failure) only look whether the database
        works again.
        """
        if self._closing and not self._queue:
            return
        if self.lost is not None:
            self._on_trouble(self.lost)
            raise _Trouble
        try:
            try:
                await self._make_next()
            except Exception as error:
                # The database was restarted since the last write: a new connection may work at
                # once.
                if not faults.is_disconnect(error) or self.watch.state == "failing":
                    raise
                await self._make_next()
        except Exception as error:
            if not faults.is_trouble(error):
                raise
            self._on_trouble(faults.describe(error))
            raise _Trouble from error
        self._on_success()

    async def _make_next(self) -> None:
        batch = self._next_batch()
        for waiting in batch:
            waiting.under_way = True
        try:
            await self._make(batch)
        finally:
            for waiting in batch:
                waiting.under_way = False

    async def _make(self, batch: list[_Waiting]) -> None:
        try:
            outcomes = await self._transaction(batch)
        except Exception as error:
            if faults.is_trouble(error) or not batch:
                raise
            if len(batch) > 1:
                for waiting in batch:  # one of them is the culprit
                    await self._make([waiting])
                return
            outcomes = [(waiting, _failure(error)) for waiting in batch]
        for waiting, outcome in outcomes:
            _settle_all(waiting, outcome)
            self._leave(waiting)

    async def _transaction(self, batch: Iterable[_Waiting]) -> _Outcomes:
        """Make them in one transaction; or, if the last one's outcome is unknown and it was
        committed after all, return its outcomes.
        """
        async with self._engine.begin() as connection:
            try:
                outcomes = await self._outcomes_of_the_last(connection)
                if outcomes is None:
                    receipt = receipts.new_receipt()
                    await receipts.leave(connection, receipt)
                    outcomes = await _outcomes(batch, connection)
                    self._unknown = receipt, outcomes
            except OSError:  # no answer in time: nor would there be one to the rollback
                await connection.invalidate()
                raise
            made = perf_counter()
        if self._took is not None:
            self._took("commit", perf_counter() - made)
        # only here: the look itself may end with a lost connection, and must then be repeated
        self._unknown = None
        return outcomes

    async def _outcomes_of_the_last(self, connection: AsyncConnection) -> _Outcomes | None:
        """What the transaction of unknown outcome has made; None if there is none, or if it was not
        committed.
        """
        if self._unknown is None:
            return None
        receipt, outcomes = self._unknown
        if await receipts.is_there(connection, receipt):
            return outcomes
        self._unknown = None
        return None

    # --- how it went ------------------------------------------------------------------------------

    def _on_trouble(self, error: str) -> None:
        if self.watch.enter("failing", error):
            log.error("the store cannot write", action="store_write_failed", error=error)
        refusal = f"The store could not write: {error}"
        for waiting in [
            waiting for waiting in self._queue if not waiting.patient and not waiting.gone
        ]:
            _settle_all(waiting, StoreUnavailable(refusal))
            self._leave(waiting)

    def _on_success(self) -> None:
        state = self.watch.state
        if not self._is_slow() and self.watch.enter("ok"):
            log.info(f"the store writes again (it was {state})", action="store_writes_again")
            self._told_of_lost_events = False

    def _is_slow(self) -> bool:
        oldest = self._queue[0].since if self._queue else None
        return oldest is not None and asyncio.get_running_loop().time() - oldest >= SLOW_SECONDS

    def _watch_for_slowness(self) -> None:
        if self._slow_check is None and self._queue:
            at = self._queue[0].since + SLOW_SECONDS
            self._slow_check = asyncio.get_running_loop().call_at(at, self._check_for_slowness)

    def _check_for_slowness(self) -> None:
        self._slow_check = None
        if not self._is_slow():
            self._watch_for_slowness()
        elif self.watch.state == "ok":
            self.watch.enter("slow")
            log.error("the store is slow", action="store_slow", waiting=self._waiting)

    def _give_up(self) -> None:
        """The writer ends: whoever still waits is told."""
        left = [waiting for waiting in self._queue if not waiting.gone]
        if left:
            log.error(
                "writes are lost: the store was closed",
                action="store_writes_lost",
                writes=len(left),
            )
        for waiting in left:
            self.watch.lost_events += waiting.is_event
            _settle_all(
                waiting, StoreUnavailable("The store was closed before this could be written.")
            )
            self._leave(waiting)


async def _outcomes(batch: Iterable[_Waiting], connection: AsyncConnection) -> _Outcomes:
    """Run them, as many as a transaction may take in."""
    loop = asyncio.get_running_loop()
    begun, outcomes = loop.time(), _Outcomes()
    for waiting in batch:
        if not waiting.gone:
            outcomes.append((waiting, await _outcome(waiting.operation, connection)))
        if loop.time() - begun > BATCH_SECONDS:
            break
    return outcomes


async def _outcome(operation: Operation[Any], connection: AsyncConnection) -> Any:
    try:
        return await operation(connection)
    except WasupError as refusal:
        return refusal


def _failure(error: Exception) -> StoreError:
    """An operation failed by its own fault.

    A driver's traceback may quote values: only one of our own is logged.
    """
    told = faults.describe(error)
    log.error(
        "a write failed by its own fault",
        action="store_operation_failed",
        error=told,
        exc_info=None if isinstance(error, SQLAlchemyError) else error,
    )
    return StoreError(f"The store could not do that: {told}")


def _settle_all(waiting: _Waiting, outcome: Any) -> None:
    for future in waiting.futures:
        _settle(future, outcome)


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.done():  # whoever waited was cancelled, or has had its answer
        return
    if isinstance(outcome, WasupError):
        future.set_exception(outcome)
        # a write whose outcome nobody awaits must not be reported as "never retrieved": it was
        # logged
        future.exception()
    else:
        future.set_result(outcome)
