"""`python -m scripts.chaos.kills`: kill -9 at random moments of busy workers; pairings are kept,
and messages decrypt afterwards.

Each session is killed again and again while texts go in and out: in the middle of its work, before
it is open, or up to 0.3 s after. At the end all are open with the devices that they had, and new
texts come through both ways.
"""

import argparse
import asyncio
import random
import signal
import statistics
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from scripts.chaos import invariants, playing
from scripts.chaos.ending import end
from scripts.chaos.invariants import Violation
from scripts.chaos.letters import Letters, fate
from scripts.chaos.recovery import TEXT_SECONDS
from scripts.chaos.report import Report
from scripts.chaos.stage import SETTINGS, Stage
from scripts.chaos.targets import Target
from scripts.chaos.traffic import Traffic
from scripts.lab import eventually
from scripts.lab.processes import ROOT
from supervisor.places.installation import ENV_FILE

KILLS: Final = 100
SESSIONS: Final = 6
FINAL_TEXTS: Final = 5
AFTER_SECONDS: Final = 0.3
BEFORE_OPEN: Final = 0.3
"""The share of kills that strike a worker that is on its way to open."""
HEAL_SECONDS: Final = 60.0
BACKLOG_SECONDS: Final = 120.0
"""What was sent to workers that were killed all the time is worked off afterwards."""
PACE_SECONDS: Final = (0.1, 0.4)
SHOW_SECONDS: Final = 10

KILL_SETTINGS: Final = dict(SETTINGS) | {
    "GATE_RATE": 50,  # the gate is the campaign's matter; here it would only be waited for
    "GATE_BURST": 50,
    "WORKER_CRASH_WINDOW": 2_000,
}


class Kills:
    """The killing.

    `recoveries`: seconds from a kill to open, where it was let open before the next one.
    """

    def __init__(self, stage: Stage, kills: int, seed: int) -> None:
        self.done = 0
        self.recoveries: list[float] = []
        self._stage = stage
        self._left = kills
        self._seed = seed

    async def run(self) -> None:
        """Kill until it was done often enough, and see all open.

        Raises LabError when a session does not come back.
        """
        async with asyncio.TaskGroup() as group:
            for session in self._stage.sessions:
                group.create_task(self._strike(session, random.Random(f"{self._seed}/{session}")))

    async def _strike(self, session: str, rng: random.Random) -> None:
        killed_at = None
        while self._left > 0:
            self._left -= 1
            if rng.random() >= BEFORE_OPEN:
                await self._opened(session, killed_at)
            worker = await self._worker(session)
            await asyncio.sleep(rng.uniform(0.0, AFTER_SECONDS))
            killed_at = await self._kill(session, worker)
        await self._opened(session, killed_at)

    async def _kill(self, session: str, worker: int) -> float:
        """Kill it, and see the supervisor notice; when that was, by the monotonic clock."""
        with Target.below(self._stage.supervisor.directory, worker) as target:
            if target.signal(signal.SIGKILL):
                self.done += 1
            else:
                self._left += 1  # it had gone by itself
        killed_at = time.monotonic()
        await eventually(
            lambda: self._shown(session),
            lambda shown: shown != worker,
            HEAL_SECONDS,
            f"the end of worker {worker} of {session}",
        )
        return killed_at

    async def _opened(self, session: str, killed_at: float | None) -> None:
        await self._stage.supervisor.wait_state(session, "open", seconds=HEAL_SECONDS)
        if killed_at is not None:
            self.recoveries.append(time.monotonic() - killed_at)

    async def _worker(self, session: str) -> int:
        pid = await eventually(
            lambda: self._shown(session), bool, HEAL_SECONDS, f"a worker of {session}"
        )
        assert pid is not None, "waited for"
        return pid

    async def _shown(self, session: str) -> int | None:
        pid: int | None = (await self._stage.supervisor.session(session))["performance"][
            "workerPid"
        ]
        return pid


async def play(
    given: argparse.Namespace, directory: Path, stack: AsyncExitStack, report: Report
) -> bool:
    """All of it; whether everything held. Raises LabError."""
    stage = await Stage.set(directory, given.sessions, stack, KILL_SETTINGS)
    traffic, letters = Traffic(stage, PACE_SECONDS), Letters(stage)
    kills = Kills(stage, given.kills, given.seed)
    await stage.read_log()
    paired = len(stage.log)
    async with asyncio.TaskGroup() as group:
        others = [
            group.create_task(traffic.write()),
            group.create_task(letters.write(PACE_SECONDS)),
            group.create_task(_show(kills, given.kills, report)),
        ]
        reading = group.create_task(traffic.read())
        await kills.run()
        for other in others:
            other.cancel()
        violations = await judge(stage, traffic, letters, paired)
        reading.cancel()
    report.figures(figures(kills, stage, traffic, letters, paired))
    violations += await end(stage)
    if violations:
        seen = [
            f"--- the stand-in on {v.session}:\n{stage.last_entries(v.session)}"
            for v in violations
            if v.session
        ]
        report.broken(
            violations,
            command(given),
            "\n".join([*seen[:3], "--- the supervisor:", stage.supervisor_log()]),
        )
    return not violations


async def judge(stage: Stage, traffic: Traffic, letters: Letters, paired: int) -> list[Violation]:
    """What has to hold when the killing is over.

    `paired`: how long the stand-in's log was when all were paired.
    """
    found = await _texts_in(stage, traffic) + await _texts_out(stage, letters)
    for session in stage.sessions:
        await stage.supervisor.wait_state(session, "open", seconds=HEAL_SECONDS)
    look = await stage.look()
    await stage.read_log()
    entries = stage.log[paired:]
    found += invariants.no_overlap(entries)
    found += invariants.no_pairing_lost(entries, look.devices, stage.jids, look.jids())
    return found + invariants.texts_once(traffic.ledger, stage.sessions)


async def _texts_in(stage: Stage, traffic: Traffic) -> list[Violation]:
    """All have to come: what died with a worker is in the store, or WhatsApp delivers it again.

    And new ones, too.
    """
    missing = await traffic.arrived(dict(traffic.ledger.sent), BACKLOG_SECONDS)
    if missing:
        return invariants.none_missing(missing, await traffic.fates(missing))
    fresh = {
        session: [await traffic.send(session) for _ in range(FINAL_TEXTS)][-1]
        for session in stage.sessions
    }
    missing = await traffic.arrived(fresh, TEXT_SECONDS)
    return invariants.none_missing(missing, await traffic.fates(missing))


async def _texts_out(stage: Stage, letters: Letters) -> list[Violation]:
    """New texts are acknowledged, and their recipients can read them."""
    found = []
    for session in stage.sessions:
        sent = [await letters.send(session) for _ in range(FINAL_TEXTS)]
        acknowledged = {identifier for identifier in sent if identifier is not None}
        if len(acknowledged) < FINAL_TEXTS:
            refused = FINAL_TEXTS - len(acknowledged)
            found.append(
                Violation("new texts go out", session, f"{refused} of {FINAL_TEXTS} were refused")
            )
        if unread := await _unread(stage, acknowledged):
            found.append(
                Violation("new texts decrypt", session, f"never read: {', '.join(unread)}")
            )
    return found


async def _unread(stage: Stage, acknowledged: set[str]) -> tuple[str, ...]:
    """Which of these nobody could read, when all have had their time."""
    deadline = time.monotonic() + TEXT_SECONDS
    while True:
        await stage.read_log()
        never = fate(acknowledged, stage.log).never
        if not never or time.monotonic() > deadline:
            return never
        await asyncio.sleep(0.1)


def figures(
    kills: Kills, stage: Stage, traffic: Traffic, letters: Letters, paired: int
) -> dict[str, str]:
    """What was counted."""
    log = stage.log[paired:]
    sent, seen, _ = traffic.ledger.totals()
    receipts = invariants.of_event(log, "receipt")
    asked_anew = {entry["id"] for entry in receipts if entry["type"] == "retry"}
    of_letters = fate(letters.acknowledged, log)
    times = kills.recoveries
    return {
        "kill -9": str(kills.done),
        "pairings lost": str(len(invariants.of_event(log, "removed", "registered"))),
        "logins": (
            f"{len(invariants.of_event(log, 'login'))}, overlapping:"
            f" {len(invariants.of_event(log, 'overlap'))}"
        ),
        "kill to open": (
            f"median {statistics.median(times):.2f} s, most {max(times):.2f} s ({len(times)} times)"
        ),
        "texts in": f"{sent} sent, {seen} shown ({len(asked_anew)} were asked for anew)",
        "texts out": (
            f"{len(letters.acknowledged)} acknowledged: {of_letters.read} read,"
            f" {of_letters.read_after_retry} read after a retry, {len(of_letters.never)} never;"
            f" {letters.refused} more were refused or cut off"
        ),
    }


async def _show(kills: Kills, of: int, report: Report) -> None:
    while True:
        await asyncio.sleep(SHOW_SECONDS)
        report.console.print(f"{kills.done} of {of} kills")


def command(given: argparse.Namespace) -> str:
    """The command that does the same again."""
    return (
        f"python -m scripts.chaos.kills --kills {given.kills} --sessions {given.sessions} --seed"
        f" {given.seed}"
    )


async def run(given: argparse.Namespace) -> int:
    """Run it; the exit status."""
    report = Report()
    title = f"Seed {given.seed}: {given.kills} times kill -9, {given.sessions} sessions"

    async def start(directory: Path, stack: AsyncExitStack) -> bool:
        return await play(given, directory, stack, report)

    return await playing.run(start, report, title, command(given))


def main() -> int:
    """Entry of `make kills`."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.chaos.kills", description="Kill busy workers with -9."
    )
    parser.add_argument(
        "--kills", type=playing.above_zero, default=KILLS, help=f"how many (default {KILLS})"
    )
    parser.add_argument(
        "--sessions",
        type=playing.above_zero,
        default=SESSIONS,
        help=f"how many (default {SESSIONS})",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=playing.new_seed(),
        help="decides the moments (default: a new one)",
    )
    given = parser.parse_args()
    if (ROOT / ENV_FILE).exists():
        parser.error(
            f"{ENV_FILE} would change the settings that this counts on: move it away meanwhile"
        )
    return asyncio.run(run(given))


if __name__ == "__main__":
    sys.exit(main())
