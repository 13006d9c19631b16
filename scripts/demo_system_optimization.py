"""The whole tour of the host: diagnosis, plan, both files written and rolled back in a copy,
validations, readings under load, capacity.

    scripts/demo_system_optimization.py [--sessions N] [--connections N]

It changes nothing on this machine: what is written is written into a temporary copy of the files in
question, which is gone at the end. It takes less than a minute and needs neither root nor a
supervisor. Exit status: 0 the tour came to its end and the copy was as before; 1 something did not
hold; 2 it was used wrongly; 130 Ctrl-C.
"""

if __name__ == "__main__":  # the system's Python has neither the project nor its packages
    __import__(
        "scripts.project_python" if __package__ else "project_python", fromlist=["enter"]
    ).enter()

import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from scripts.resource_view import line
from supervisor.host.needs.capacity import Measured, amount, forecast
from supervisor.host.needs.capacity_readings import OwnUse, host_limits, read_kernel_use
from supervisor.host.needs.facts import read_facts
from supervisor.host.needs.process_limits import describe_limits
from supervisor.host.needs.requirements import SESSIONS_DEFAULT, SESSIONS_MOST
from supervisor.host.reading.host_sampler import HostSampler, Targets
from supervisor.host.reading.monitor import ResourceMonitor
from supervisor.host.reading.processes import OPEN_FILES, process_limits, read_process
from supervisor.host.reading.readings import Host, HostSample
from supervisor.host.tuning.optimizer import Action, SystemOptimizer
from supervisor.host.tuning.report import limits_table, plan_lines

VALIDATIONS: Final = Path(__file__).resolve().with_name("test_system_optimization.py")
CONNECTIONS_DEFAULT: Final = 200
CONNECTIONS_MOST: Final = 10_000
SPARE_DESCRIPTORS: Final = 64
"""Beside two for each connection: what Python itself has open."""
READINGS: Final = 3
BETWEEN_SECONDS: Final = 1.0
LAST_STEP: Final = 6
GATE_RATE: Final = 5.0
"""The default of WHATSAPP_GATE_RATE."""
COPIED: Final = (
    "etc/sysctl.conf",
    "etc/sysctl.d",
    "etc/security/limits.conf",
    "etc/security/limits.d",
    "usr/lib/sysctl.d",
    "usr/local/lib/sysctl.d",
)
"""What decides about kernel values and limits on a Linux system; nothing else is copied, least of
all /etc/security/opasswd.
"""


class DidNotHold(Exception):
    """Something that this program promises is not so; the message says what."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Give the tour; the exit status."""
    given = _parse(arguments)
    if sys.platform != "linux":
        print(
            "The tour needs Linux. Here: scripts/optimize_system.py, which diagnoses.",
            file=sys.stderr,
        )
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the copy is to be gone then, too
    try:
        with tempfile.TemporaryDirectory(prefix="wasup-tour-") as directory:
            _tour(Path(directory), given.sessions, given.connections)
    except KeyboardInterrupt:
        print(
            "\nInterrupted. Nothing on this machine was changed, and the copy is gone.",
            file=sys.stderr,
        )
        return 130
    except (DidNotHold, OSError) as error:
        print(f"\nThe tour ends here: {error}", file=sys.stderr)
        return 1
    print("\nThat was all. Nothing on this machine was changed.")
    return 0


def _tour(directory: Path, sessions: int, connections: int) -> None:
    optimizer = SystemOptimizer(sessions)
    found = optimizer.look()
    _step(
        1,
        f"Diagnosis: what {sessions:,} sessions want of this host, and what it has"
        " (scripts/optimize_system.py)",
    )
    _say(limits_table(found.before))
    _step(2, "The plan: what root would change here. It is only shown")
    _say(
        plan_lines(found.plan)
        or ["Nothing: every value that a file can set is as wanted, or better."]
    )
    _step(3, "The same in a copy: written, read back, done twice, rolled back (--root)")
    apply_in_a_copy(directory / "copy", sessions)
    _step(
        4,
        "Six validations of what a process gets here, with real connections"
        " (scripts/test_system_optimization.py)",
    )
    validate(directory)
    _step(
        5,
        f"Readings: before, with {connections:,} connections on loopback, and after"
        " (scripts/monitor_websocket_resources.py)",
    )
    asyncio.run(watch(connections))
    _step(
        6,
        "Capacity: how many sessions fit (`wasup capacity` measures it on the workers of a running"
        " supervisor)",
    )
    _say(capacity_lines(sessions))


# --- the steps ------------------------------------------------------------------------------------


def apply_in_a_copy(root: Path, sessions: int) -> None:
    """Apply, apply again, roll back, in a copy of this machine's files.

    Raises DidNotHold, OSError.
    """
    copied = copy_files(root)
    before = fingerprint(root)
    print(f"{copied} files are copied to {root}.")
    optimizer = SystemOptimizer(sessions, root=root)
    applied = optimizer.apply()
    _say([f"  {done}" for done in applied.done])
    _must(not applied.failures, f"in the copy: {'; '.join(applied.failures)}")
    _must(applied.action in {Action.APPLIED, Action.NOTHING}, f"the copy says {applied.action}")
    again = optimizer.apply()
    _must(
        again.action is Action.NOTHING, f"a second run changed something: {'; '.join(again.done)}"
    )
    print(f"A second run: {again.action}.")
    back = optimizer.rollback()
    _say([f"  {done}" for done in back.done])
    _must(not back.failures, f"the rollback failed: {'; '.join(back.failures)}")
    _must(fingerprint(root) == before, "after the rollback the copy is not what it was")
    print("After the rollback the copy is what it was: every byte, mode and owner.")


def validate(directory: Path) -> None:
    """Run the six validations as a process of their own: its limits are those that a plain process
    gets. Raises DidNotHold if that fails.
    """
    command = [sys.executable, str(VALIDATIONS), "--report-dir", str(directory)]
    ended = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    _say(ended.stdout.rstrip().splitlines())
    _must(
        ended.returncode in {0, 1},
        f"the validations could not be run (exit status {ended.returncode})",
    )
    if ended.returncode:
        print("Some did not pass; each says what to do.")


async def watch(connections: int) -> None:
    """A few readings while so many real connections come and go.

    Raises DidNotHold when this process may not open as many.
    """
    may, needed = process_limits(os.getpid())[OPEN_FILES].soft, 2 * connections + SPARE_DESCRIPTORS
    if may is not None and may < needed:
        raise DidNotHold(
            f"{connections:,} connections need {needed:,} descriptors, and a process may open"
            f" {may:,} here (`ulimit -n`)."
        )
    monitor = ResourceMonitor()
    async with _listening() as port:
        host = Host(least_seconds=0.1)
        await _read(host, port, monitor)
        async with _connected(port, connections):
            print(f"{connections:,} connections to port {port} are open; each has two ends here.")
            for _ in range(READINGS):
                await _read(host, port, monitor)
            reading = monitor.readings[-1].connections
            counted = reading.by_port.get(port, 0) if reading is not None else 0
            _must(
                counted >= connections,
                f"{connections} connections are open, and {counted} were counted",
            )
        await _read(host, port, monitor)


def capacity_lines(sessions: int) -> list[str]:
    """The forecast for this host without a session: what they cost is assumed."""
    pid = os.getpid()
    own = read_process(pid)
    assert own is not None, "we live"
    described = describe_limits(pid, sessions)
    host = Host(least_seconds=0.0)
    use = OwnUse(
        cpu_cores=0.0,
        tasks=own.threads,
        descriptors=own.descriptors or 0,
        # the supervisor raises its own to the hard one
        max_descriptors=process_limits(pid)[OPEN_FILES].hard,
        runs_as_root=os.geteuid() == 0,
        started_by=described.started_by,
    )
    sample: HostSample = host.sample(time.monotonic())
    limits = host_limits(sample, read_facts(), read_kernel_use(), use, GATE_RATE, sessions)
    told = forecast(Measured(sessions=0), limits, sessions)
    ends = [
        f"  {row.name:38}"
        f" {'no end' if row.more_sessions is None else f'{row.more_sessions:,} sessions':>18}"
        + (f"   {amount(row.missing, row.unit)} missing" if row.missing else "")
        for row in told.rows
    ]
    limits_told = [
        f"  {finding.words}" + (f". {finding.remedy}" if finding.remedy else "")
        for finding in described.findings
    ]
    manager = described.started_by.manager
    return [
        told.words,
        *ends,
        f"The limits of this very process, which {manager} has started:",
        *limits_told,
    ]


# --- small tools ----------------------------------------------------------------------------------


def copy_files(root: Path, source: Path = Path("/")) -> int:
    """Copy what decides about limits, as far as we may read it, into a new root; how many files."""
    copied = 0
    (root / "etc").mkdir(parents=True)
    for name in COPIED:
        for file in [source / name, *sorted((source / name).glob("*"))]:
            if file.is_file() and os.access(file, os.R_OK):
                # what a link leads to is copied, not the link
                target = root / file.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, target)
                copied += 1
    return copied


def fingerprint(root: Path) -> Mapping[str, tuple[int, int, int, bytes]]:
    """Mode, owner, group and content of everything below a directory, and of itself."""
    found = {}
    for path in [root, *sorted(root.rglob("*"))]:
        about = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (about.st_mode, about.st_uid, about.st_gid, content)
    return found


@asynccontextmanager
async def _listening() -> AsyncIterator[int]:
    """The port of a server on loopback that holds what connects until the other end closes."""
    held: set[asyncio.Task[None]] = set()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a task runs this"
        held.add(task)
        await reader.read()
        await _close([writer])

    server = await asyncio.start_server(hold, "127.0.0.1", 0, backlog=1024)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*held)


@asynccontextmanager
async def _connected(port: int, connections: int) -> AsyncIterator[None]:
    """So many connections to that port. Raises OSError."""
    writers: list[asyncio.StreamWriter] = []
    try:
        while len(writers) < connections:
            writers.append((await asyncio.open_connection("127.0.0.1", port))[1])
        yield
    finally:
        await _close(writers)


async def _close(writers: Sequence[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.close()
    ends = await asyncio.gather(
        *(writer.wait_closed() for writer in writers), return_exceptions=True
    )
    for end in ends:  # the other end may have been quicker, with a reset: closed it is
        if isinstance(end, BaseException) and not isinstance(end, ConnectionError):
            raise end


async def _read(host: Host, port: int, monitor: ResourceMonitor) -> None:
    await asyncio.sleep(BETWEEN_SECONDS)
    host_sampler = HostSampler(
        host, {port}
    )  # a new one each time: one that is asked often may answer with what it has just seen
    monitor.add(host_sampler.reading(time.monotonic(), Targets()))
    print(line(monitor))


def _step(number: int, title: str) -> None:
    print(f"\n=== {number} of {LAST_STEP}. {title}\n", flush=True)


def _say(lines: Sequence[str]) -> None:
    print("\n".join(lines), flush=True)


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise DidNotHold(otherwise)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo_system_optimization.py",
        description=" ".join((__doc__ or "").partition("\n\n")[0].split()),
    )
    parser.add_argument(
        "--sessions",
        type=_from_1_to(SESSIONS_MOST),
        default=SESSIONS_DEFAULT,
        help="for how many (default: %(default)s)",
    )
    parser.add_argument(
        "--connections",
        type=_from_1_to(CONNECTIONS_MOST),
        default=CONNECTIONS_DEFAULT,
        help="real ones, on loopback (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def _from_1_to(most: int) -> Callable[[str], int]:
    """A whole number from 1 to that."""

    def parse(text: str) -> int:
        if text.isdecimal() and 1 <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to {most:,}")

    return parse


if __name__ == "__main__":
    sys.exit(main())
