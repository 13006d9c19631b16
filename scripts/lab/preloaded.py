"""The supervisor and its commands without their loading: a process that has imported the program
once, and forks for each that is asked for.

Loading costs 0.7 s of CPU, which is more than most tests take, and tests start some 500 of them. A
fork differs from a start by its imports alone: it has its own session, environment, directory,
streams, arguments, umask and limit of descriptors, runs the same `main`, and ends as Python ends.
What is to be tried as people start it (loading itself, namespaces, pm2, campaigns, the demo) starts
Python.
"""

import asyncio
import ctypes
import gc
import importlib
import os
import pkgutil
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from scripts.lab.processes import GENEROUS_SECONDS, ROOT, LabError, Process

POLL_SECONDS: Final = 0.01
ROOM_FOR_ARGUMENTS: Final = "-" * 2000
"""The kernel shows others the arguments that a process was started with; a fork writes its own over
these.
"""


class Preloaded:
    """Who asks. The process that forks is there with the first who asks for anything."""

    def __init__(self) -> None:
        self._line: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: Path,
        errors: Path | None = None,
        directory: Path = ROOT,
    ) -> "ForkedProcess":
        """`python -m supervisor` with these arguments; what it says goes to the files' ends."""
        with output.open("ab") as out, (errors or output).open("ab") as err:
            asked = [
                *(list(arguments), dict(environment), str(directory), _umask()),
                resource.getrlimit(resource.RLIMIT_NOFILE),
            ]
            return ForkedProcess(
                *self._fork(msgspec.json.encode(asked), out.fileno(), err.fileno()), output
            )

    async def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], directory: Path
    ) -> tuple[int, str, str]:
        """A command to its end: its exit status, and what it said on both streams.

        That is in files of the directory meanwhile.
        """
        out, err = (directory / f".said-{os.getpid()}-{time.monotonic_ns()}-{n}" for n in (1, 2))
        forked = self.start(arguments, environment, out, err)
        try:
            return await forked.wait(), out.read_text("utf-8"), err.read_text("utf-8")
        except BaseException:
            forked.signal(signal.SIGKILL)
            raise
        finally:
            out.unlink()
            err.unlink()

    def close(self) -> None:
        """End it; what it has forked lives on."""
        if self._line is not None and self._process is not None:
            self._line.close()
            self._process.wait(GENEROUS_SECONDS)
            self._line = self._process = None

    def _fork(self, asked: bytes, out: int, err: int) -> tuple[int, int]:
        line = self._line or self._load()
        told, tells = os.pipe()
        try:
            socket.send_fds(line, [asked], [out, err, tells])
            answer = line.recv(64)
            if not answer:
                raise LabError("the preloaded program has ended")
        except BaseException:
            os.close(told)
            raise
        finally:
            os.close(tells)
        os.set_blocking(told, False)
        return int(answer), told

    def _load(self) -> socket.socket:
        self._line, others = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with others:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(others.fileno()), ROOM_FOR_ARGUMENTS],
                cwd=ROOT,
                env={k: v for k, v in os.environ.items() if not k.startswith("WHATSAPP_")},
                stdin=subprocess.DEVNULL,
                pass_fds=[others.fileno()],
                start_new_session=True,
            )
        return self._line


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


class ForkedProcess(Process):
    """A process that was forked for us. Its parent tells of its end, as only a parent learns it."""

    def __init__(self, pid: int, told: int, output: Path) -> None:
        self.pid = pid
        self.output = output
        self._told: int | None = told
        self._status: int | None = None

    @property
    def status(self) -> int | None:
        """Its exit status, or None while it lives."""
        if self._told is not None:
            with suppress(BlockingIOError):
                said = os.read(self._told, 64)
                os.close(self._told)
                self._told = None
                self._status = int(said or b"-9")
        return self._status

    async def wait(self, seconds: float = GENEROUS_SECONDS) -> int:
        """Wait for its end; its exit status. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while (status := self.status) is None:  # noqa: ASYNC110 - no loop owns the pipe
                await asyncio.sleep(POLL_SECONDS)
            return status


# --- the process that forks -----------------------------------------------------------------------


def _load() -> None:
    """All that a supervisor and its commands load, but for what they load on occasion."""
    import supervisor.cli

    importlib.import_module("supervisor.program")
    for module in pkgutil.walk_packages(supervisor.cli.__path__, "supervisor.cli."):
        importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # no fork looks through, and so copies, what all share


def _serve(line: socket.socket) -> None:
    """Fork for each who is asked for, until nobody asks any more.

    It returns in each fork, which is to become what was asked for; for the process itself it does
    not.
    """
    ends: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(line, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == line.fileno():
                    asked, given, _, _ = socket.recv_fds(line, 1 << 20, 3)
                    if not asked:
                        os._exit(0)
                    pid = os.fork()
                    if pid == 0:
                        break
                    for stream in given[:2]:
                        os.close(stream)
                    end = os.pidfd_open(pid)
                    ends[end] = (pid, given[2])
                    selector.register(end, selectors.EVENT_READ)
                    line.send(str(pid).encode())
                    continue
                selector.unregister(key.fd)
                pid, tells = ends.pop(key.fd)
                _, ended = os.waitpid(pid, 0)
                with suppress(BrokenPipeError):  # nobody wants to know
                    os.write(tells, str(os.waitstatus_to_exitcode(ended)).encode())
                os.close(tells)
                os.close(key.fd)
            else:
                continue
            break
    for descriptor in [given[2], *ends, *(tells for _, tells in ends.values())]:
        os.close(descriptor)
    line.close()
    arguments, environment, directory, umask, descriptors = msgspec.json.decode(asked)
    resource.setrlimit(resource.RLIMIT_NOFILE, descriptors)
    os.chdir(directory)
    os.umask(umask)
    _become(arguments, environment, given[:2])


def _become(
    arguments: Sequence[str], environment: Mapping[str, str], streams: Sequence[int]
) -> None:
    """What a new Python would be given."""
    os.setsid()
    for number, given in enumerate(streams, 1):
        os.dup2(given, number)
        os.close(given)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    time.tzset()
    sys.argv[1:] = arguments
    _show(["-m", "supervisor", *arguments])


def _show(arguments: Sequence[str]) -> None:
    """What others see as our arguments (`/proc/PID/cmdline`; fields 48 and 49 of proc_pid_stat(5)
    say where they lie).
    """
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begins, ends = int(stat[45]), int(stat[46])
    shown = b"".join(os.fsencode(one) + b"\0" for one in [sys.executable, *arguments])
    ctypes.memset(begins, 0, ends - begins)
    ctypes.memmove(begins, shown, min(len(shown), ends - begins - 1))


def _main() -> Any:
    line = socket.socket(fileno=int(sys.argv[1]))
    _load()
    _serve(line)
    from supervisor.__main__ import main

    return main("run")


if __name__ == "__main__":
    _main()
