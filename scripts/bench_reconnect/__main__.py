"""`make bench-reconnect`: the same faults for wasup, for what users run today, and for an oracle;
simulated, then with real Baileys.

Prints a table; writes a plot and all figures to docs/benchmarks/. Fails when a promise of the
README is not kept.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from scripts.bench_reconnect.measuring import NAMES, ORACLE, OURS, Figures, measure_one
from scripts.bench_reconnect.plot import svg
from scripts.bench_reconnect.real import REAL_SCRIPT, lower_bounds, measure_real
from scripts.bench_reconnect.report import claims, table
from scripts.bench_reconnect.script import SCRIPT, Named
from scripts.bench_reconnect.small import SMALL, SMALL_SEEDS, SmallFigures, measure_small, summed
from scripts.bench_reconnect.strategies import RIVALS

SESSIONS: Final = 1000
REAL_SESSIONS: Final = 20
SEED: Final = 1
OUT: Final = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"


def simulated(sessions: int, seed: int, processes: int) -> list[Figures]:
    """Every strategy under every scenario, in simulated time."""
    jobs = [(strategy, scenario.key) for scenario in SCRIPT for strategy in NAMES]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        return list(pool.map(measure_one, jobs, [sessions] * len(jobs), [seed] * len(jobs)))


def small(seed: int, processes: int) -> list[SmallFigures]:
    """Fleets of one, two and four under each outage, wasup and the oracle, summed over many
    seeds.
    """
    jobs = [
        (strategy, scenario.key, sessions, seed + number)
        for scenario in SCRIPT
        if scenario.outage
        for sessions in SMALL
        for strategy in (OURS, ORACLE)
        for number in range(SMALL_SEEDS)
    ]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        return summed(list(pool.map(measure_small, jobs)))


def real(sessions: int) -> list[Figures]:
    """Every strategy under the shortened script, one after the other, with real Baileys."""
    figures = lower_bounds(sessions)
    for strategy in (OURS, *(rival.key for rival in RIVALS)):
        print(
            f"Real Baileys: {NAMES[strategy]}, {sessions} sessions, some five minutes ...",
            flush=True,
        )
        with tempfile.TemporaryDirectory(prefix="wasup-bench-") as directory:
            figures += asyncio.run(measure_real(strategy, sessions, Path(directory)))
    return sorted(figures, key=lambda one: list(NAMES).index(one.strategy))


def write(
    name: str, title: str, figures: Sequence[Figures], scenarios: Sequence[Named], directory: Path
) -> None:
    """The plot, and all figures beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    machine = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "loadAverage": os.getloadavg()[0],
    }
    data = {"machine": machine, "figures": [one.as_dict() for one in figures]}
    (directory / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
    (directory / f"{name}.svg").write_text(svg(figures, scenarios, title))
    print(
        f"\n{table(figures, scenarios)}\n\nThe plot and all figures: {directory / name}.svg,"
        " .json\n",
        flush=True,
    )


def main() -> int:
    """Entry of `make bench-reconnect`."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench_reconnect", description=__doc__)
    parser.add_argument("--only", choices=("simulated", "real"), help="one of the two parts")
    parser.add_argument(
        "--sessions", type=int, default=SESSIONS, help="simulated (default: %(default)s)"
    )
    parser.add_argument(
        "--real-sessions", type=int, default=REAL_SESSIONS, help="real (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--out", type=Path, default=OUT, metavar="DIR", help="where plots and figures are written"
    )
    given = parser.parse_args()
    kept = True
    if given.only != "real":
        print(
            f"Simulating {given.sessions} sessions: {len(SCRIPT)} faults, {len(NAMES)} strategies.",
            flush=True,
        )
        figures = simulated(given.sessions, given.seed, given.processes)
        write(
            "reconnect",
            f"{given.sessions:,} sessions in simulated time, seed {given.seed}",
            figures,
            SCRIPT,
            given.out,
        )
        for well, words in claims(figures):
            print(f"{'kept  ' if well else 'BROKEN'}  {words}")
            kept &= well
        few = small(given.seed, given.processes)
        (given.out / "reconnect-small.json").write_text(
            json.dumps([asdict(one) for one in few], indent=1) + "\n"
        )
        for one in few:
            print(f"{'kept  ' if one.kept else 'BROKEN'}  {one.words}")
            kept &= one.kept
    if given.only != "simulated":
        figures = real(given.real_sessions)
        write(
            "reconnect-real",
            f"{given.real_sessions} sessions of real Baileys, in real time",
            figures,
            REAL_SCRIPT,
            given.out,
        )
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
