"""The campaign: one step of the plan after the other, and after each the invariants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scripts.chaos import invariants
from scripts.chaos.ending import end
from scripts.chaos.faults import Damage, Field, inflict
from scripts.chaos.invariants import Violation
from scripts.chaos.plan import BY_NAME, Promise, Step
from scripts.chaos.recovery import Recovery, recover
from scripts.chaos.report import Report
from scripts.chaos.stage import GATE_BURST, GATE_RATE, UNREACHABLE, Look, Stage
from scripts.chaos.targets import working_below
from scripts.chaos.traffic import Traffic
from scripts.lab import LabError, eventually

MIB: Final = 1024 * 1024
DESCRIPTORS_ALLOWED: Final = 16
DESCRIPTORS_PER_SESSION: Final = 3
SPARES_ALLOWED: Final = 4
"""Worker processes beside one for each session."""
LEAVING_SECONDS: Final = 20.0
TASK_SECONDS: Final = 60.0
"""A task that has failed for seconds is tried again within so long."""


@dataclass(slots=True)
class Campaign:
    """A stage, the traffic on it, and what was seen at the start."""

    stage: Stage
    traffic: Traffic
    report: Report
    steps: Sequence[Step]
    replay: str
    keep_going: bool
    before: Look
    descriptors: int
    memory_bytes: int
    setup_entries: int

    @classmethod
    async def begin(
        cls,
        stage: Stage,
        traffic: Traffic,
        report: Report,
        steps: Sequence[Step],
        replay: str,
        keep_going: bool,
    ) -> "Campaign":
        """When all is open: from here on nothing may be lost. Raises LabError."""
        look = await _first_look(stage, traffic)
        await stage.read_log()
        return cls(
            stage=stage,
            traffic=traffic,
            report=report,
            steps=steps,
            replay=replay,
            keep_going=keep_going,
            before=look,
            descriptors=stage.descriptors(),
            memory_bytes=stage.memory_bytes(),
            setup_entries=len(stage.log),
        )

    async def run(self) -> bool:
        """All steps; whether every invariant held."""
        for step in self.steps:
            recovery = await self._step(step)
            if recovery.look is None or (self.report.violations and not self.keep_going):
                break
            self.before = recovery.look
        return not self.report.violations

    async def end(self) -> bool:
        """Stop the supervisor and all workers; nothing may be left. Whether that is so."""
        self.report.table()
        self._figures()
        violations: list[Violation] = []
        if self.stage.process.status is None:  # one that has ended was told of by the step
            violations += invariants.not_grown(
                "descriptor", self.stage.descriptors(), self.descriptors, self._allowance()
            )
        violations += await end(self.stage)
        if violations:
            self.report.broken(
                violations, self.replay.format(steps=len(self.steps)), self._details(violations)
            )
        return not violations

    # --- a step -----------------------------------------------------------------------------------

    async def _step(self, step: Step) -> Recovery:
        mark = len(self.stage.log)  # what came since the last judgement belongs to this step
        damage = await self._inflict(step)
        bound = BY_NAME[step.fault].bound_seconds + len(self.stage.sessions) / GATE_RATE
        recovery = await recover(
            self.stage, self.traffic, self.before, damage, bound, step.pause_seconds
        )
        await self.stage.read_log()
        recovery.violations += self._judge(step, damage, recovery, mark)
        recovery.violations += await self._nothing_left_over(recovery)
        self._tell(step, damage, recovery, mark)
        if broken := recovery.violations:
            self.report.broken(broken, self.replay.format(steps=step.number), self._details(broken))
        return recovery

    async def _inflict(self, step: Step) -> Damage:
        """What goes wrong in here (a supervisor that does not start again) is seen by whoever waits
        for recovery.
        """
        try:
            return await inflict(Field(self.stage, self.traffic, self.before), step)
        except LabError as error:
            self.report.console.print(f"{step}: {error}")
            return Damage()

    def _judge(self, step: Step, damage: Damage, recovery: Recovery, mark: int) -> list[Violation]:
        """The invariants over what the server has seen since the step's start."""
        entries, stage = self.stage.log[mark:], self.stage
        found = invariants.no_overlap(entries)
        if recovery.look is not None:
            shown = recovery.look.jids()
            found += invariants.no_pairing_lost(entries, recovery.look.devices, stage.jids, shown)
        found += invariants.rate_kept(
            stage.log[self.setup_entries :], GATE_RATE, GATE_BURST, after=stage.log[mark - 1]["n"]
        )
        found += invariants.texts_once(self.traffic.ledger, stage.sessions)
        if BY_NAME[step.fault].promise is Promise.UNNOTICED:
            found += invariants.unnoticed(entries)
        if damage.sessions and recovery.look is not None:
            victims = damage.sessions
            found += invariants.gentle(entries, victims)
            found += invariants.uncharged(self.before.views, recovery.look.views, victims)
            found += invariants.back_with_the_way(
                recovery.first_seconds, BY_NAME[step.fault].bound_seconds
            )
        return found + damage.violations

    async def _nothing_left_over(self, recovery: Recovery) -> list[Violation]:
        """Descriptors and worker processes, step for step: a leak is found where it is made."""
        if recovery.look is None:
            return []
        found = invariants.not_grown(
            "descriptor", self.stage.descriptors(), self.descriptors, self._allowance()
        )
        found += invariants.tasks_well(await self._tasks())
        return found + invariants.not_grown(
            "process", await self._workers(), len(self.stage.sessions), SPARES_ALLOWED
        )

    async def _tasks(self) -> Mapping[str, str]:
        """How the tasks are that run for ever, when those that have just failed have had their next
        turn.
        """
        try:
            return await eventually(
                self.stage.tasks, lambda seen: not invariants.tasks_well(seen), TASK_SECONDS
            )
        except UNREACHABLE:
            return await self.stage.tasks()

    async def _workers(self) -> int:
        """How many worker processes there are, when those that are leaving have left."""

        async def count() -> int:
            return len(working_below(self.stage.supervisor.directory))

        try:
            allowed = len(self.stage.sessions) + SPARES_ALLOWED
            return await eventually(
                count, lambda found: found <= allowed, LEAVING_SECONDS, "workers leaving"
            )
        except LabError:
            return await count()

    # --- telling ----------------------------------------------------------------------------------

    def _allowance(self) -> int:
        return DESCRIPTORS_ALLOWED + DESCRIPTORS_PER_SESSION * len(self.stage.sessions)

    def _tell(self, step: Step, damage: Damage, recovery: Recovery, mark: int) -> None:
        if damage.skipped:
            self.report.skip(step, len(self.steps), damage.skipped)
            return
        logins = len(invariants.of_event(self.stage.log[mark:], "login"))
        victims = self.stage.names(step.hit.victims)
        self.report.step(step, len(self.steps), victims, recovery, logins)

    def _details(self, violations: Sequence[Violation]) -> str:
        """What the server and the supervisor saw last."""
        sessions = dict.fromkeys(violation.session for violation in violations if violation.session)
        seen = [
            f"--- the stand-in on {s}:\n{self.stage.last_entries(s)}" for s in list(sessions)[:3]
        ]
        return "\n".join([*seen, f"--- the supervisor:\n{self.stage.supervisor_log()}"])

    def _figures(self) -> None:
        sent, seen, lost = self.traffic.ledger.totals()
        log = self.stage.log[self.setup_entries :]
        figures = {
            "logins": str(len(invariants.of_event(log, "login"))),
            "overlapping logins": str(len(invariants.of_event(log, "overlap"))),
            "pairings lost": str(len(invariants.of_event(log, "removed", "registered"))),
            "texts": f"{sent} sent, {seen} shown, {lost} lost (told of above)",
        }
        if self.stage.process.status is None:
            memory_mib, before_mib = self.stage.memory_bytes() / MIB, self.memory_bytes / MIB
            figures["supervisor's memory"] = (
                f"{memory_mib:.0f} MiB, {before_mib:.0f} MiB at the start"
            )
            descriptors = f"{self.stage.descriptors()}, {self.descriptors} at the start"
            figures["supervisor's descriptors"] = descriptors
        self.report.figures(figures)


async def _first_look(stage: Stage, traffic: Traffic) -> Look:
    """All open, by both sides' word, and texts come through."""

    async def open_sessions() -> Mapping[str, Any]:
        return (await stage.look()).views

    await eventually(
        open_sessions, lambda views: all(view["state"] == "open" for view in views.values())
    )
    fresh = {session: await traffic.send(session) for session in stage.sessions}
    missing = await traffic.arrived(fresh, 30.0)
    if missing:
        raise LabError(f"texts do not come through: {missing}")
    return await stage.look()
