"""The one scheduler: starts each job when it is due, never twice at once, and keeps what came of
it.

What was missed while nobody ran, or was interrupted, is made up for once, soon after the start. A
job that fails is an alert, which its next success ends; a store that is away tells of itself.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
import structlog

from sessions.forever import Forever, Kept, describe
from sessions.model import StoreUnavailable, WasupError
from sessions.store.supervision.upkeep_runs import KEPT_OF_ONE, Known, Outcome, Run, UpkeepRuns
from sessions.views.times import duration, iso
from supervisor.alerts.alerts import Alerts
from supervisor.upkeep.jobs import Job, JobFailed, JobNotFound, JobRunning, JobView, RunView
from supervisor.upkeep.schedule import Schedule

START_SECONDS: Final = 60.0
"""What was missed waits so long after a start: until then the sessions have the machine."""
MOST_SECONDS: Final = 60.0
"""The longest sleep: whoever sets the clock is noticed within that."""
CLOSE_SECONDS: Final = 5.0
TRIES: Final = 2
"""So often a turn is begun whose run the supervisor's end has cut off: a job that ends the
supervisor would do so at every start.
"""
SHOWN: Final = 10
"""Runs of each job, in the list of all."""
INTERRUPTED: Final = "The supervisor ended before this did."

log = structlog.get_logger("upkeep")


class _Entry:
    """A job, and where it stands. `due_at`: its next turn; `starts_at`: that, and its jitter."""

    def __init__(self, job: Job, zone: ZoneInfo) -> None:
        self.job = job
        self.schedule = Schedule(job.schedule, zone)
        self.due_at: float | None = None
        self.starts_at: float | None = None
        self.task: asyncio.Task[None] | None = None
        self.runs: deque[Run] = deque(maxlen=KEPT_OF_ONE)

    @property
    def running(self) -> bool:
        return self.task is not None and not self.task.done()


class Scheduler:
    """All jobs. `open`, then `begin`; `close` interrupts what is under way."""

    def __init__(
        self,
        jobs: Iterable[Job],
        zone: ZoneInfo,
        runs: UpkeepRuns,
        alerts: Alerts,
        rng: random.Random,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._entries = {job.name: _Entry(job, zone) for job in jobs}
        self._runs = runs
        self._alerts = alerts
        self._rng = rng
        self._now = now
        self._heavy = asyncio.Lock()
        self._kept: Kept | None = None

    async def open(self) -> None:
        """Find out what was done before, and what was missed. Raises StoreUnavailable."""
        now = self._now()
        for run in await self._runs.all():
            if run.outcome is None:
                run = msgspec.structs.replace(
                    run, outcome="interrupted", ended_at=None, result=INTERRUPTED
                )
                self._runs.save(run)
            if (entry := self._entries.get(run.job)) is not None:
                entry.runs.append(run)
        known = await self._known_since(now)
        for name, entry in self._entries.items():
            last = _last_turn(entry.runs, known[name].since, now)
            self._plan(entry, last, not_before=now + START_SECONDS)
            if entry.runs and entry.runs[-1].outcome == "failed":
                self._alert(entry.job, entry.runs[-1].result, goes_on=True)

    async def _known_since(self, now: float) -> dict[str, Known]:
        """Since when each job is known by its schedule, which is remembered: a machine that is off
        at night would else never come to a first turn at night.
        """
        before = await self._runs.known()
        known = dict[str, Known]()
        for name, entry in self._entries.items():
            found = before.get(name)
            if found is None or found.schedule != entry.job.schedule or found.since > now:
                found = Known(entry.job.schedule, now)
            known[name] = found
        if known != before:
            self._runs.remember(known)
        return known

    def begin(self, forever: Forever) -> None:
        """Start what is due, from now on."""
        self._kept = forever.keep("upkeep", self._look, within_seconds=None)

    async def close(self) -> None:
        """End what is under way: it is made up for at the next start."""
        if self._kept is not None:
            await self._kept.close()
        tasks = {entry.task for entry in self._entries.values() if entry.task is not None}
        for task in tasks:
            task.cancel()
        if tasks:
            _, hanging = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            for task in hanging:
                log.warning(f"the job {task.get_name()} does not end", action="upkeep_hangs")

    def run(self, name: str) -> JobView:
        """Start a job now, whatever its schedule. Raises JobNotFound, JobRunning."""
        entry = self._entries.get(name)
        if entry is None:
            raise JobNotFound(f"There is no job {name[:40]!r}.")
        if entry.running:
            raise JobRunning(f"The job {name} is under way.")
        self._start(entry, None)
        return self._view(entry)

    def jobs(self) -> list[JobView]:
        """All of them, and what came of them, in the order in which they were given."""
        return [self._view(entry) for entry in self._entries.values()]

    # --- by the clock -----------------------------------------------------------------------------

    async def _look(self) -> None:
        """Start what is due; then wait for what comes next."""
        now = self._now()
        for entry in self._entries.values():
            if entry.due_at is not None and entry.starts_at is not None and entry.starts_at <= now:
                if not entry.running:  # else this turn falls out: a job never overlaps itself
                    self._start(entry, entry.due_at)
                self._plan(entry, now)
            elif self._was_set_back(entry, now):
                self._plan(entry, now)
        waits = [entry.starts_at for entry in self._entries.values() if entry.starts_at is not None]
        seconds = min([MOST_SECONDS, *(at - self._now() for at in waits)])
        await asyncio.sleep(max(0.0, seconds))

    def _was_set_back(self, entry: _Entry, now: float) -> bool:
        """Whether the clock was: the next turn then lies further ahead than it can."""
        following = entry.schedule.next_after(now)
        if entry.starts_at is None or following is None:
            return False
        return entry.starts_at > following + entry.job.jitter_seconds + START_SECONDS

    def _plan(self, entry: _Entry, after: float, not_before: float = 0.0) -> None:
        entry.due_at = entry.schedule.next_after(after)
        jitter = self._rng.uniform(0, entry.job.jitter_seconds)
        entry.starts_at = None if entry.due_at is None else max(entry.due_at, not_before) + jitter

    # --- a run ------------------------------------------------------------------------------------

    def _start(self, entry: _Entry, due_at: float | None) -> None:
        work = self._carry_out(entry, due_at)
        entry.task = asyncio.create_task(work, name=entry.job.name)

    async def _carry_out(self, entry: _Entry, due_at: float | None) -> None:
        job = entry.job
        async with self._heavy if job.heavy else nullcontext():
            run = Run(job.name, self._begin_of(entry), due_at)
            entry.runs.append(run)
            self._runs.save(run)
            try:
                async with asyncio.timeout(job.within_seconds):
                    result = await job.run()
            except asyncio.CancelledError:
                self._end(entry, run, "interrupted", INTERRUPTED)
                raise
            except Exception as error:
                self._failed(entry, run, error)
            else:
                self._end(entry, run, "ok", result)
                self._alerts.end(None, "upkeep_failed", f"{job.name}: {result}", about=job.name)

    def _begin_of(self, entry: _Entry) -> float:
        """Now; later than any run before, by which it is known, also where the clock was set."""
        last = max((run.began_at for run in entry.runs), default=0.0)
        return max(self._now(), last + 0.001)

    def _failed(self, entry: _Entry, run: Run, error: Exception) -> None:
        job = entry.job
        match error:
            case TimeoutError() if not str(error):
                words = f"It was called off after {duration(job.within_seconds)}."
            case WasupError():
                words = f"{error} {error.hint}".strip()
            case _:
                words = f"It has failed: {describe(error)}. See the supervisor's log."
        expected = isinstance(error, WasupError | OSError)
        log.error(
            f"the job {job.name} has failed",
            action="upkeep_failed",
            job=job.name,
            error=words,
            exc_info=None if expected else error,
        )
        self._end(entry, run, "failed", words)
        told = isinstance(error, StoreUnavailable) or (isinstance(error, JobFailed) and error.told)
        if not told:  # by an alert of its own: the store's, say
            self._alert(job, words)

    def _alert(self, job: Job, words: str, goes_on: bool = False) -> None:
        message = f"The job {job.name} has failed: {words}"
        self._alerts.begin(None, "upkeep_failed", message, about=job.name, goes_on=goes_on)

    def _end(self, entry: _Entry, run: Run, outcome: Outcome, result: str) -> None:
        ended = msgspec.structs.replace(
            run, ended_at=max(self._now(), run.began_at), outcome=outcome, result=result
        )
        entry.runs[entry.runs.index(run)] = ended
        self._runs.save(ended)
        write = log.info if entry.job.heavy else log.debug
        write(result, action="upkeep_ran", job=entry.job.name, outcome=outcome)

    def _view(self, entry: _Entry) -> JobView:
        job = entry.job
        return JobView(
            name=job.name,
            what=job.what,
            schedule=job.schedule,
            next_at=None if entry.starts_at is None else iso(entry.starts_at),
            running=entry.running,
            runs=[_shown(run) for run in list(entry.runs)[: -SHOWN - 1 : -1]],
        )


def _last_turn(runs: Iterable[Run], since: float, now: float) -> float:
    """The last turn that needs not be made up for; of a job that has had none: since when it is
    known. Pure.
    """
    turns = [run for run in runs if run.due_at is not None]
    if not turns:
        return since
    last = turns[-1]
    again = [run for run in turns if run.due_at == last.due_at]
    if last.outcome == "interrupted" and len(again) < TRIES:
        return min(now, (last.due_at or now) - 1)
    return min(now, last.began_at)


def _shown(run: Run) -> RunView:
    return RunView(
        began_at=iso(run.began_at),
        ended_at=None if run.ended_at is None else iso(run.ended_at),
        duration_seconds=None if run.ended_at is None else round(run.ended_at - run.began_at, 3),
        outcome=run.outcome,
        result=run.result,
        by_hand=run.due_at is None,
    )
