"""The figures as a table, and what the README promises, checked."""

from collections.abc import Sequence
from typing import Final

from scripts.bench_reconnect.measuring import NAMES, ORACLE, OURS, Figures
from scripts.bench_reconnect.script import SCRIPT, Named, Scenario

HEAD: Final = (
    f"{'strategy':30} {'session-seconds down':>20} {'logins':>10} {'peak/s':>7}"
    f" {'median down s':>14} {'99 % back after s':>18}"
)
WITHIN_ORACLE: Final = 1.25
OF_FIXED: Final = 0.40


def table(figures: Sequence[Figures], scenarios: Sequence[Named] = SCRIPT) -> str:
    """A block for each scenario, a line for each strategy."""
    blocks = []
    for scenario in scenarios:
        rows = [one for one in figures if one.scenario == scenario.key]
        if rows:
            blocks.append(
                "\n".join(
                    [f"{scenario.name} ({rows[0].sessions} sessions)", HEAD, *map(_row, rows)]
                )
            )
    return "\n\n".join(blocks)


def _row(one: Figures) -> str:
    median = "-" if one.median_down_seconds is None else f"{one.median_down_seconds:.2f}"
    back = (
        f"never ({one.never_back} down)" if one.back_seconds is None else f"{one.back_seconds:.1f}"
    )
    return (
        f"{NAMES[one.strategy]:30} {one.down_session_seconds:>20,.0f} {one.logins:>10,}"
        f" {one.peak_per_second:>7,} {median:>14} {back:>18}"
    )


def claims(figures: Sequence[Figures]) -> list[tuple[bool, str]]:
    """Each promise, and whether it was kept."""
    of = {(one.scenario, one.strategy): one for one in figures}
    kept = []
    for scenario in SCRIPT:
        if scenario.outage and (scenario.key, OURS) in of:
            kept += _after_outage(
                scenario, {key[1]: one for key, one in of.items() if key[0] == scenario.key}
            )
    ours, fixed = of.get(("drops", OURS)), of.get(("drops", "fixed"))
    if (
        ours is not None
        and fixed is not None
        and ours.median_down_seconds
        and fixed.median_down_seconds
    ):
        share = ours.median_down_seconds / fixed.median_down_seconds
        kept.append(
            (
                share <= OF_FIXED,
                (
                    f"single drops: median {ours.median_down_seconds:.2f} s, {share:.0%} of the"
                    " fixed 2 s loop's"
                ),
            )
        )
    above = [one.scenario for one in figures if one.strategy == OURS and one.above_bucket]
    kept.append(
        (
            not above,
            (
                "wasup's logins never exceed the"
                f" bucket{': but in ' + ', '.join(above) if above else ''}"
            ),
        )
    )
    return kept


def _after_outage(scenario: Scenario, by: dict[str, Figures]) -> list[tuple[bool, str]]:
    ours, oracle = by[OURS], by[ORACLE]
    times = ours.down_session_seconds / oracle.down_session_seconds
    fewest = min(one.logins for key, one in by.items() if key not in {OURS, ORACLE})
    return [
        (
            times <= WITHIN_ORACLE,
            f"{scenario.name}: {times:.3f} times the oracle's session-seconds down",
        ),
        (
            ours.logins < fewest,
            f"{scenario.name}: {ours.logins:,} logins; the fewest of the others are {fewest:,}",
        ),
    ]
