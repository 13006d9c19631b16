"""The scheduler: each job in its turn, never twice at once, what was missed once; and what came of
it is kept and told.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from sessions.forever import Forever
from sessions.model import StoreUnavailable
from sessions.store.supervision.upkeep_runs import Known, Run
from supervisor.alerts.alerts import Alerts
from supervisor.upkeep.jobs import Job, JobFailed, JobNotFound, JobRunning
from supervisor.upkeep.scheduler import INTERRUPTED, START_SECONDS, Scheduler

pytestmark = pytest.mark.looptime(noop_cycles=6)
MIDNIGHT = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""
HOUR = 3600.0


class Runs:
    """The table in memory."""

    def __init__(self) -> None:
        self.saved: dict[tuple[str, float], Run] = {}
        self.jobs: dict[str, Known] = {}

    def save(self, run: Run) -> None:
        self.saved[run.job, run.began_at] = run

    async def all(self) -> list[Run]:
        return sorted(self.saved.values(), key=lambda run: run.began_at)

    def remember(self, jobs: Mapping[str, Known]) -> None:
        self.jobs = dict(jobs)

    async def known(self) -> dict[str, Known]:
        return dict(self.jobs)


class Work:
    """A job's work: takes its time, and counts."""

    def __init__(self, seconds: float = 0.0, error: Exception | None = None) -> None:
        self.seconds, self.error = seconds, error
        self.began: list[float] = []
        self.at_once = self.most_at_once = 0

    async def __call__(self) -> str:
        self.began.append(asyncio.get_running_loop().time())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
            if self.error is not None:
                raise self.error
            return f"Done {len(self.began)} times."
        finally:
            self.at_once -= 1


class Stage:
    """A scheduler with the loop's clock; `offset`: what the wall clock was set by."""

    def __init__(self, runs: Runs) -> None:
        self.runs, self.offset = runs, 0.0
        self.alerts = Alerts(lambda session, event: None)

    def now(self) -> float:
        return MIDNIGHT + asyncio.get_running_loop().time() + self.offset

    @asynccontextmanager
    async def scheduler(self, *jobs: Job) -> AsyncIterator[Scheduler]:
        made = Scheduler(
            jobs,
            ZoneInfo("UTC"),
            self.runs,  # type: ignore[arg-type]
            self.alerts,
            random.Random(1),
            self.now,
        )
        await made.open()
        made.begin(Forever())
        try:
            yield made
        finally:
            await made.close()

    def outcomes(self, job: str) -> list[str | None]:
        return [run.outcome for run in self.runs.saved.values() if run.job == job]


@pytest.fixture
def stage() -> Stage:
    return Stage(Runs())


def job(run: Callable[[], object], **changed: object) -> Job:
    made = Job("test", "0 * * * *", run, what="Tests.", jitter_seconds=0)  # type: ignore[arg-type]
    return replace(made, **changed)  # type: ignore[arg-type]


async def test_a_job_runs_at_its_turns_and_a_new_one_waits_for_its_first(stage: Stage) -> None:
    work = Work()
    async with stage.scheduler(job(work)) as scheduler:
        await asyncio.sleep(HOUR - 1)
        assert work.began == []
        await asyncio.sleep(2 * HOUR + 2)
        assert work.began == pytest.approx([HOUR, 2 * HOUR, 3 * HOUR])
        (shown,) = scheduler.jobs()
        assert shown.next_at == "2026-01-01T04:00:00.000Z"
        assert [run.result for run in shown.runs] == [f"Done {n} times." for n in (3, 2, 1)]
        assert {(run.outcome, run.by_hand) for run in shown.runs} == {("ok", False)}
    assert stage.outcomes("test") == ["ok"] * 3


async def test_a_turn_begins_a_little_later_by_chance_and_none_is_lost(stage: Stage) -> None:
    work = Work()
    async with stage.scheduler(job(work, jitter_seconds=600)):
        await asyncio.sleep(5 * HOUR + 700)
    late = [began - HOUR * (number + 1) for number, began in enumerate(work.began)]
    assert len(late) == 5
    assert all(0 <= seconds <= 600 for seconds in late)
    assert len({round(seconds) for seconds in late}) > 1


async def test_a_job_never_overlaps_itself(stage: Stage) -> None:
    work = Work(seconds=2.5 * HOUR)
    async with stage.scheduler(job(work, within_seconds=3 * HOUR)) as scheduler:
        await asyncio.sleep(HOUR + 1)
        with pytest.raises(JobRunning):
            scheduler.run("test")
        await asyncio.sleep(5 * HOUR)
    assert work.most_at_once == 1
    assert work.began == pytest.approx([HOUR, 4 * HOUR])


async def test_two_heavy_jobs_run_one_after_the_other_and_a_light_one_beside_them(
    stage: Stage,
) -> None:
    first, second, light = Work(600), Work(600), Work()
    jobs = (
        job(first, name="first", heavy=True),
        job(second, name="second", heavy=True),
        job(light, name="light"),
    )
    async with stage.scheduler(*jobs):
        await asyncio.sleep(2 * HOUR - 1)
    assert sorted([*first.began, *second.began]) == pytest.approx([HOUR, HOUR + 600])
    assert light.began == pytest.approx([HOUR])


async def test_what_was_missed_is_done_once_soon_after_the_start(stage: Stage) -> None:
    stage.runs.save(Run("test", MIDNIGHT - 5.5 * HOUR, MIDNIGHT - 5.5 * HOUR, 1.0, "ok"))
    work = Work()
    async with stage.scheduler(job(work)):
        await asyncio.sleep(START_SECONDS - 1)
        assert work.began == [], "until then the sessions have the machine"
        await asyncio.sleep(HOUR - START_SECONDS)
    assert work.began == pytest.approx([START_SECONDS])


async def test_a_job_that_has_never_run_is_made_up_for_where_nobody_ran_at_its_turn(
    stage: Stage,
) -> None:
    work, nightly = Work(), "40 4 * * *"
    async with stage.scheduler(job(work, schedule=nightly)):
        await asyncio.sleep(HOUR)
    assert work.began == []
    await asyncio.sleep(9 * HOUR)  # the machine is off at night
    async with stage.scheduler(job(work, schedule=nightly)):
        await asyncio.sleep(START_SECONDS + 10)
    assert work.began == pytest.approx([10 * HOUR + START_SECONDS])


async def test_a_schedule_that_is_new_has_missed_nothing(stage: Stage) -> None:
    work = Work()
    async with stage.scheduler(job(work, schedule="off")):
        await asyncio.sleep(10 * HOUR)
    async with stage.scheduler(job(work, schedule="40 4 * * *")):
        await asyncio.sleep(HOUR)
    assert work.began == []


async def test_a_job_that_is_known_from_a_moment_to_come_waits_for_none(stage: Stage) -> None:
    stage.offset = 400 * 24 * HOUR
    async with stage.scheduler(job(Work())):
        await asyncio.sleep(10)
    stage.offset, work = 0.0, Work()
    async with stage.scheduler(job(work)):
        await asyncio.sleep(10)
    await asyncio.sleep(2 * HOUR)
    async with stage.scheduler(job(work)):
        await asyncio.sleep(START_SECONDS + 10)
    assert len(work.began) == 1


async def test_what_was_not_missed_is_not_done_again_by_a_restart(stage: Stage) -> None:
    stage.runs.save(Run("test", MIDNIGHT + 0.2, MIDNIGHT, MIDNIGHT + 1, "ok"))
    work = Work()
    await asyncio.sleep(60)
    async with stage.scheduler(job(work)):
        await asyncio.sleep(HOUR - 61)
    assert work.began == []


async def test_a_run_that_the_supervisors_end_cuts_off_is_done_again_but_not_for_ever(
    stage: Stage,
) -> None:
    work = Work(seconds=1000)
    async with stage.scheduler(job(work)):
        await asyncio.sleep(HOUR + 10)
    assert stage.outcomes("test") == ["interrupted"]
    assert stage.alerts.active() == [], "nothing has gone wrong"
    async with stage.scheduler(job(work)) as scheduler:
        await asyncio.sleep(START_SECONDS + 10)
        assert len(work.began) == 2
        assert scheduler.jobs()[0].runs[1].result == INTERRUPTED
    async with stage.scheduler(job(work)):
        await asyncio.sleep(START_SECONDS + 10)
    assert len(work.began) == 2, "a job that ends the supervisor would do so at every start"


async def test_a_run_that_a_killed_supervisor_left_without_an_end_is_one_that_was_cut_off(
    stage: Stage,
) -> None:
    stage.runs.save(Run("test", MIDNIGHT - 60, MIDNIGHT - 60))
    work = Work()
    async with stage.scheduler(job(work)):
        await asyncio.sleep(START_SECONDS + 10)
    assert stage.outcomes("test") == ["interrupted", "ok"]


async def test_a_failure_is_an_alert_until_it_is_done_and_says_what_went_wrong(
    stage: Stage,
) -> None:
    work = Work(error=JobFailed("The disk is full.", "Free some."))
    async with stage.scheduler(job(work)) as scheduler:
        await asyncio.sleep(HOUR + 1)
        (alert,) = stage.alerts.active()
        assert (alert.name, alert.about) == ("upkeep_failed", "test")
        assert alert.message == "The job test has failed: The disk is full. Free some."
        assert scheduler.jobs()[0].runs[0].outcome == "failed"
    stage.alerts = Alerts(lambda session, event: None)
    work.error = None
    async with stage.scheduler(job(work)):
        assert [alert.name for alert in stage.alerts.active()] == ["upkeep_failed"], (
            "a restart mends nothing"
        )
        await asyncio.sleep(HOUR)
        assert stage.alerts.active() == []


async def test_a_store_that_is_away_tells_of_itself(stage: Stage) -> None:
    async with stage.scheduler(job(Work(error=StoreUnavailable("away")))):
        await asyncio.sleep(HOUR + 1)
    assert stage.outcomes("test") == ["failed"]
    assert stage.alerts.active() == []


async def test_what_hangs_is_called_off_and_what_is_our_own_fault_quotes_nothing(
    stage: Stage,
) -> None:
    hangs, faulty = Work(seconds=1e9), Work(error=KeyError("a secret"))
    jobs = (job(hangs, name="hangs", within_seconds=600), job(faulty, name="faulty"))
    async with stage.scheduler(*jobs) as scheduler:
        await asyncio.sleep(HOUR + 601)
        first, second = (shown.runs[0].result for shown in scheduler.jobs())
    assert first == "It was called off after 10 min."
    assert second == "It has failed: KeyError. See the supervisor's log."


async def test_by_hand_a_job_runs_at_once_and_its_turns_stay(stage: Stage) -> None:
    work = Work()
    async with stage.scheduler(job(work), job(work, name="off", schedule="off")) as scheduler:
        await asyncio.sleep(100)
        scheduler.run("off")
        assert scheduler.run("test").running
        await asyncio.sleep(HOUR)
        first, second = scheduler.jobs()
        assert [run.by_hand for run in first.runs] == [False, True]
        assert (second.next_at, [run.by_hand for run in second.runs]) == (None, [True])
        with pytest.raises(JobNotFound):
            scheduler.run("nothing")


@pytest.mark.parametrize("days", [-400, 400])
async def test_a_clock_that_is_set_stops_no_job(stage: Stage, days: int) -> None:
    work = Work()
    async with stage.scheduler(job(work)):
        await asyncio.sleep(HOUR + 10)
        stage.offset = days * 24 * HOUR
        await asyncio.sleep(3 * HOUR)
    assert 4 <= len(work.began) <= 5
    assert len(stage.runs.saved) == len(work.began)
