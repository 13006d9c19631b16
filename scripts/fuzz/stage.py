"""A supervisor under fuzz: the real one, with a heartbeat in its loop, and a control that shows the
machine's own noise.
"""

import os
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from scripts.fuzz.heartbeat import NOTED_SECONDS, worst_ms
from scripts.lab.processes import ROOT, LabError, Process, eventually
from scripts.lab.supervisor import Supervisor

STALL_MS: Final = 250.0
NOISE: Final = 3.0
"""A stall is the supervisor's own if it is so many times the worst that an idle process had on this
machine meanwhile.
"""
BAD_WORDS: Final = ('"api_error"', '"task_died"', '"session_error"', "never retrieved", "Traceback")
"""What the log says of errors of the program itself."""
WARM_UP: Final = ("/sessions", "/incidents", "/events?after=0", "/host", "/workers")
"""Asked before anything is measured: the store opens its reading connections when they are first
needed.
"""
READERS: Final = 12
"""Descriptors that may have come: the store keeps up to five reading connections, a few files each,
once so many read at the same time.
"""
GROWTH_BYTES: Final = 96 * 2**20
"""What a supervisor's memory may have grown by when all is over: allocators keep pages, SQLite its
cache, /events 16 MiB.
"""


@dataclass(slots=True)
class Stage:
    """The supervisor and its measures."""

    supervisor: Supervisor
    directory: Path
    memory_before: int = 0
    descriptors_before: int = 0

    @classmethod
    async def set(
        cls, directory: Path, stack: AsyncExitStack, root: Path = ROOT, **settings: str
    ) -> "Stage":
        """Start both; they end with the stack. Raises LabError."""
        directory.mkdir(parents=True, exist_ok=True)
        notes = {"FUZZ_HEARTBEAT": str(directory / "stalls")}
        control = await Process.start(
            [sys.executable, "-m", "scripts.fuzz.heartbeat"],
            os.environ | {"FUZZ_HEARTBEAT": str(directory / "control"), "FUZZ_CONTROL": "1"},
            directory / "control.out",
        )
        stack.push_async_callback(control.end)
        given = {
            "WHATSAPP_WEB_SOCKET_URL": "ws://127.0.0.1:9",
            "WHATSAPP_SPARE_WORKERS": "0",
            "WHATSAPP_DEBUGGABLE": "true",  # its memory and descriptors are counted from outside
        }
        given |= notes | settings
        supervisor = Supervisor(
            directory / "data", given, module="scripts.fuzz.heartbeat", root=root
        )
        stack.push_async_callback(supervisor.close)
        stage = cls(await supervisor.start(), directory)
        for path in WARM_UP:
            await stage.supervisor.get(path)
        for notes_of_the_start in ("stalls", "control", "stalls.stacks"):
            # imports and migrations, when nobody could call yet
            (directory / notes_of_the_start).write_text("")
        stage.memory_before, stage.descriptors_before = (
            stage.process.memory_info().rss,
            stage.process.num_fds(),
        )
        return stage

    @property
    def process(self) -> psutil.Process:
        """The supervisor."""
        assert self.supervisor.process is not None
        return psutil.Process(self.supervisor.process.pid)

    async def after(self) -> tuple[list[str], str]:
        """What is not as it was before, and the figures in words.

        Raises nothing: a dead supervisor is a finding.
        """
        process = self.supervisor.process
        assert process is not None
        if process.status is not None:
            return [f"the supervisor ended with {process.status}: {process.tail(5)}"], ""
        found = []

        async def descriptors() -> int:
            return self.process.num_fds() - 2 * len(self.process.children())

        try:
            await eventually(
                descriptors, lambda count: count <= self.descriptors_before + READERS, 20
            )
        except LabError:
            left = [str(c.laddr) for c in self.process.net_connections("all")] + [
                f.path for f in self.process.open_files()
            ]
            found.append(
                f"descriptors {self.descriptors_before} -> {self.process.num_fds()}: {left[:40]}"
            )
        memory = self.process.memory_info().rss
        if memory > self.memory_before + GROWTH_BYTES:
            found.append(f"memory {self.memory_before >> 20} -> {memory >> 20} MiB")
        log = process.output.read_text(errors="replace").splitlines()
        found += [
            f"the log says: {line[:600]}" for line in log if any(word in line for word in BAD_WORDS)
        ]
        words = (
            f"memory {self.memory_before >> 20} -> {memory >> 20} MiB, descriptors"
            f" {self.descriptors_before} -> {self.process.num_fds()}, longest stall"
            f" {_stall(self.worst_ms())} (an idle process: {_stall(self.noise_ms())})"
        )
        return found[:5], words

    def worst_ms(self) -> float:
        """The supervisor's longest stall."""
        return worst_ms(self.directory / "stalls")

    def noise_ms(self) -> float:
        """That of a process with nothing to do."""
        return worst_ms(self.directory / "control")

    def stalled(self) -> str | None:
        """Whether the loop stood still longer than the machine explains."""
        worst, noise = self.worst_ms(), self.noise_ms()
        if worst <= max(STALL_MS, NOISE * noise):
            return None
        stacks = (self.directory / "stalls.stacks").read_text()
        return (
            f"the loop stood still for {worst:.0f} ms (an idle process: {noise:.0f} ms); last"
            f" stack:\n{stacks[-1500:]}"
        )


def _stall(longest_ms: float) -> str:
    return f"{longest_ms:.0f} ms" if longest_ms else f"below {NOTED_SECONDS * 1000:.0f} ms"
