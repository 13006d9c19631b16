"""`python -m scripts.fuzz`: throw what strangers may send at the real parts. The seed decides what;
the same command throws it again.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from scripts.fuzz import files, http, worker
from scripts.fuzz.calls import Calls
from scripts.fuzz.stage import Stage

Throw = Callable[[random.Random], Awaitable[str | None]]
TARGETS: Final = ("settings", "policy", "alerts", "restore", "http", "calls", "worker")
RUNS: Final = {
    "settings": 3000,
    "policy": 3000,
    "alerts": 3000,
    "restore": 60,
    "http": 3000,
    "calls": 600,
    "worker": 300,
}
"""Cases of each target; one of `calls` is a round of calls."""
AT_ONCE: Final = 16
"""Requests under way at the same time."""
MOST_FINDINGS: Final = 10


class Fuzz:
    """One campaign. `findings`: what did not hold, each with the command that shows it again."""

    def __init__(self, given: argparse.Namespace, directory: Path) -> None:
        self.findings: list[str] = []
        self._given = given
        self._directory = directory

    async def run(self) -> None:
        """All targets that were asked for, one after the other."""
        for target in self._given.only:
            directory = self._directory / target
            directory.mkdir()
            began = time.monotonic()
            async with AsyncExitStack() as stack:
                count, words = await getattr(self, f"_{target}")(directory, stack)
            print(
                f"{target}: {count} cases in {time.monotonic() - began:.0f} s. {words}", flush=True
            )

    async def _settings(self, directory: Path, _stack: AsyncExitStack) -> tuple[int, str]:
        return (
            await self._throw("settings", _plain(lambda rng: files.throw_settings(directory, rng))),
            "",
        )

    async def _policy(self, directory: Path, _stack: AsyncExitStack) -> tuple[int, str]:
        return (
            await self._throw("policy", _plain(lambda rng: files.throw_policy(directory, rng))),
            "",
        )

    async def _alerts(self, directory: Path, _stack: AsyncExitStack) -> tuple[int, str]:
        return (
            await self._throw("alerts", _plain(lambda rng: files.throw_alerts(directory, rng))),
            "",
        )

    async def _restore(self, directory: Path, _stack: AsyncExitStack) -> tuple[int, str]:
        backup = await files.make_backup(directory)
        return (
            await self._throw("restore", lambda rng: files.throw_backup(directory, backup, rng)),
            "",
        )

    async def _http(self, directory: Path, stack: AsyncExitStack) -> tuple[int, str]:
        stage = await Stage.set(directory, stack)
        count = await self._throw("http", lambda rng: http.throw(stage, rng), AT_ONCE)
        return count, await self._measure("http", stage)

    async def _calls(self, directory: Path, stack: AsyncExitStack) -> tuple[int, str]:
        stage = await Stage.set(directory, stack)
        calls = await asyncio.to_thread(Calls, stage)
        await self._throw("calls", lambda rng: asyncio.to_thread(calls.throw, rng))
        return calls.made, await self._measure("calls", stage)

    async def _worker(self, directory: Path, stack: AsyncExitStack) -> tuple[int, str]:
        root = worker.rogue_root(directory / "root", str(self._given.seed))
        stage = await Stage.set(directory, stack, root, **worker.IMPATIENT)
        for name in ("a", "b", "c"):
            await stage.supervisor.must("POST", "/sessions", {"id": name})
        count = await self._throw("worker", lambda rng: worker.throw(stage, rng))
        for name in ("a", "b", "c"):
            await stage.supervisor.must("POST", f"/sessions/{name}/stop")
        return count, await self._measure("worker", stage)

    async def _throw(self, target: str, throw: Throw, at_once: int = 1) -> int:
        """Throw until the budget is used up or too much was found; how many cases."""
        cases, count = self._cases(target), 0

        async def one_after_the_other() -> None:
            nonlocal count
            for number in cases:
                found = await throw(random.Random(f"{self._given.seed}/{target}/{number}"))
                count += 1
                if found is not None:
                    self._found(
                        target, f"{found}\n    case {number}: {self._replay(target, number)}"
                    )
                    if len(self.findings) >= MOST_FINDINGS:
                        return

        await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
        return count

    def _cases(self, target: str) -> Iterator[int]:
        until = None if self._given.seconds is None else time.monotonic() + self._given.seconds
        runs = self._given.runs or (RUNS[target] if until is None else sys.maxsize)
        for number in range(self._given.first, self._given.first + runs):
            if until is not None and time.monotonic() > until:
                return
            yield number

    async def _measure(self, target: str, stage: Stage) -> str:
        found, words = await stage.after()
        if self._given.stalls and (stalled := stage.stalled()):
            found.append(stalled)
        for one in found:
            self._found(
                target, f"{one}\n    {self._replay(target, self._given.first, self._given.runs)}"
            )
        return words

    def _found(self, target: str, words: str) -> None:
        self.findings.append(f"{target}: {words}")
        print(f"FOUND {self.findings[-1]}", flush=True)

    def _replay(self, target: str, first: int, runs: int | None = 1) -> str:
        least = f" --runs {runs}" if runs else ""
        return (
            f"python -m scripts.fuzz --only {target} --seed {self._given.seed} --first"
            f" {first}{least}"
        )


def _plain(throw: Callable[[random.Random], str | None]) -> Throw:
    async def thrown(rng: random.Random) -> str | None:
        return throw(rng)

    return thrown


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.fuzz", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(10_000), help="what is thrown"
    )
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=list(TARGETS), help=", ".join(TARGETS)
    )
    parser.add_argument("--runs", type=int, help=f"cases of each target; {RUNS}")
    parser.add_argument("--seconds", type=float, help="time for each target, in place of --runs")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument(
        "--no-stalls",
        dest="stalls",
        action="store_false",
        help="a loop that stands still is no finding",
    )
    parsed = parser.parse_args(given)
    if unknown := set(parsed.only) - set(TARGETS):
        parser.error(f"{', '.join(unknown)}: there is {', '.join(TARGETS)}")
    return parsed


async def run(given: argparse.Namespace) -> list[str]:
    """The campaign; what it found."""
    with tempfile.TemporaryDirectory(prefix="wasup-fuzz-") as directory:
        fuzz = Fuzz(given, Path(directory))
        await fuzz.run()
        return fuzz.findings


def main() -> int:
    """Run it; the exit status."""
    given = arguments()
    print(f"Seed {given.seed}: {', '.join(given.only)}", flush=True)
    findings = asyncio.run(run(given))
    print(f"{len(findings)} findings." if findings else "Nothing found: every invariant held.")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
