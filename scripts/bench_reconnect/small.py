"""Fleets of one, two and four: wasup against the oracle, in outages of everybody.

So few that each figure is summed over many seeds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from scripts.bench_reconnect.measuring import OURS, Figures, measure
from scripts.bench_reconnect.report import WITHIN_ORACLE
from scripts.bench_reconnect.script import SCRIPT

SMALL: Final = (1, 2, 4)
SMALL_SEEDS: Final = 20

Job = tuple[str, str, int, int]
"""Strategy, scenario, sessions, seed."""


@dataclass(frozen=True, slots=True)
class SmallFigures:
    """The figures of a scenario and a size, over all seeds.

    `slowest_back_seconds`: from the outage's end to all being open, the worst of them.
    """

    scenario: str
    sessions: int
    seeds: int
    down_session_seconds: float
    oracle_session_seconds: float
    slowest_back_seconds: float | None
    most_logins: int

    @property
    def times(self) -> float:
        """How many times the oracle's session-seconds down these are."""
        return self.down_session_seconds / self.oracle_session_seconds

    @property
    def kept(self) -> bool:
        """Whether it is within the promise."""
        return self.times <= WITHIN_ORACLE

    @property
    def words(self) -> str:
        """The figures in a sentence."""
        fleet = f"{self.sessions} session{'' if self.sessions == 1 else 's'}"
        back = (
            "not all back"
            if self.slowest_back_seconds is None
            else f"all back after {self.slowest_back_seconds:.1f} s at worst"
        )
        return (
            f"{self.scenario}, {fleet}: {self.times:.3f} times the oracle's session-seconds down;"
            f" {back} ({self.seeds} seeds)"
        )


def measure_small(job: Job) -> Figures:
    """One of them, in another process."""
    strategy, key, sessions, seed = job
    return measure(
        strategy, next(scenario for scenario in SCRIPT if scenario.key == key), sessions, seed
    )


def summed(figures: Iterable[Figures]) -> list[SmallFigures]:
    """Both strategies beside each other, all seeds together.

    The figures of a scenario and a size come one after the other.
    """
    found = []
    for (scenario, sessions), group in groupby(
        figures, key=lambda one: (one.scenario, one.sessions)
    ):
        of = list(group)
        ours, oracle = (
            [one for one in of if one.strategy == OURS],
            [one for one in of if one.strategy != OURS],
        )
        backs = [one.back_seconds for one in ours]
        found.append(
            SmallFigures(
                scenario=scenario,
                sessions=sessions,
                seeds=len(ours),
                down_session_seconds=round(sum(one.down_session_seconds for one in ours), 1),
                oracle_session_seconds=round(sum(one.down_session_seconds for one in oracle), 1),
                slowest_back_seconds=(
                    None if None in backs else max(back for back in backs if back is not None)
                ),
                most_logins=max(one.seen for one in ours),
            )
        )
    return found
