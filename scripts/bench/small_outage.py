"""`python -m scripts.bench.small_outage`: one number alone, default settings, real Baileys; outages
of door, network and name.

Each run has a laboratory of its own. What is measured is the stand-in's own log: seconds from the
outage's end to the session being open, and logins (accepted and refused ones) from its begin on.
DNS is taken away for real: the supervisor and its workers live in a mount namespace of their own,
whose /etc/hosts loses the name (Linux, `unshare`).
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from scripts.lab import LabError, StandIn, Supervisor, pair
from scripts.lab.names import Names, by_name

NAME: Final = "only"
BACK_SECONDS: Final = 20.0
"""What is promised."""
GIVE_UP_SECONDS: Final = 700.0
"""Longer than a breaker would take."""
MOST_LOGINS: Final = 3


@dataclass(slots=True)
class Lab:
    """One run's parts."""

    directory: Path
    standin: StandIn
    supervisor: Supervisor
    port: int
    names: Names


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a run. `back_seconds`: None when it was not back while it was watched."""

    back_seconds: float | None
    logins: int
    breaker: str
    reason: str | None

    @property
    def kept(self) -> bool:
        """Whether all that is promised held."""
        in_time = self.back_seconds is not None and self.back_seconds <= BACK_SECONDS
        return in_time and self.logins <= MOST_LOGINS and self.breaker == "closed"


Act = Callable[[Lab], Awaitable[None]]


async def _door(lab: Lab, how: str) -> None:
    await lab.standin.fault("refuse", how=how)
    await lab.standin.fault("drop", how="reset")


async def _open_door(lab: Lab) -> None:
    await lab.standin.mend()


async def _away(lab: Lab) -> None:
    """End the stand-in: nobody listens any more, and the kernel refuses connects."""
    await lab.standin.close()


async def _here_again(lab: Lab) -> None:
    lab.standin = await StandIn.start(lab.directory / "standin", lab.port)


async def _nameless(lab: Lab) -> None:
    lab.names.take_away()
    await lab.standin.fault("drop", how="reset")


async def _named(lab: Lab) -> None:
    lab.names.give_back()


KINDS: Final[dict[str, tuple[Act, Act]]] = {
    "refused": (_away, _here_again),
    "reset": (partial(_door, how="reset"), _open_door),
    "503": (partial(_door, how="503"), _open_door),
    "dns": (_nameless, _named),
}


async def _logins(lab: Lab, after: int) -> int:
    return len(await lab.standin.log("login", "login_refused", session=NAME, after=after))


async def run(kind: str, seconds: float, directory: Path) -> Run:
    """One outage of a number that had been open, and what it cost."""
    begins, ends = KINDS[kind]
    names = Names(directory)
    standin = await StandIn.start(directory / "standin")
    environment = standin.environment()
    prefix: tuple[str, ...] = ()
    if kind == "dns":
        environment["WHATSAPP_WEB_SOCKET_URL"] = by_name(environment["WHATSAPP_WEB_SOCKET_URL"])
        prefix = names.prefix
    port = int(standin.url.split(":")[2].split("/")[0])
    supervisor = Supervisor(directory / "data", environment, prefix=prefix)
    lab = Lab(directory, standin, supervisor, port, names)
    try:
        await supervisor.start()
        await pair(supervisor, standin, NAME)
        before = await standin.last_entry()
        await begins(lab)
        await asyncio.sleep(seconds)
        reason = (await supervisor.reconnection(NAME))["closeReason"]
        ended = time.monotonic()
        await ends(lab)
        back: float | None = None
        try:
            await supervisor.wait_state(NAME, "open", seconds=GIVE_UP_SECONDS)
            back = time.monotonic() - ended
        except LabError:
            back = None
        breaker = (await supervisor.reconnection(NAME))["breaker"]["state"]
        logins = await _logins(lab, 0 if kind == "refused" else before)
        return Run(back, logins, breaker, reason)
    finally:
        await supervisor.close()
        await lab.standin.close()


async def measure(kind: str, seconds: float, runs: int, at_once: int, root: Path) -> list[Run]:
    """So many runs, some at once."""
    places = asyncio.Semaphore(at_once)

    async def one(number: int) -> Run:
        directory = root / f"{kind}-{seconds:g}-{number}"
        directory.mkdir()
        async with places:
            return await run(kind, seconds, directory)

    return list(await asyncio.gather(*(one(number) for number in range(runs))))


def row(kind: str, seconds: float, runs: list[Run]) -> str:
    """A line of the table."""
    times = sorted(run.back_seconds for run in runs if run.back_seconds is not None)
    median = f"{statistics.median(times):.1f}" if times else "-"
    worst = f"{times[-1]:.1f}" if len(times) == len(runs) else "never"
    reasons = ", ".join(sorted({str(run.reason) for run in runs}))
    breakers = ", ".join(sorted({run.breaker for run in runs}))
    kept = sum(run.kept for run in runs)
    logins = max(run.logins for run in runs)
    return (
        f"{kind:8} {seconds:>7g} {median:>9} {worst:>9} {logins:>7} {breakers:>8} {kept:>4} of"
        f" {len(runs):<4} {reasons}"
    )


def main() -> int:
    """Entry."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench.small_outage", description=__doc__
    )
    parser.add_argument("--seconds", type=float, nargs="+", default=[60.0, 300.0])
    parser.add_argument("--kinds", nargs="+", choices=sorted(KINDS), default=sorted(KINDS))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument(
        "--at-once",
        type=int,
        default=5,
        help="laboratories at the same time (default: %(default)s)",
    )
    given = parser.parse_args()
    print(
        "outage   seconds  median s     max s  logins  breaker  kept        reason shown",
        flush=True,
    )
    well = True
    with tempfile.TemporaryDirectory(prefix="wasup-small-") as root:
        for seconds in given.seconds:
            for kind in given.kinds:
                runs = asyncio.run(measure(kind, seconds, given.runs, given.at_once, Path(root)))
                print(row(kind, seconds, runs), flush=True)
                well &= sum(run.kept for run in runs) >= 0.95 * len(runs)
    return int(not well)


if __name__ == "__main__":
    sys.exit(main())
