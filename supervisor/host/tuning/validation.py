"""The guide's six validations of this host, as it is for a plain process right now.

Nothing is raised or changed first: what is tested is the limit that a process gets. Each validation
says what it measured and, if it failed, what to do. One that cannot find out says so and does not
pass.
"""

import asyncio
import contextlib
import errno
import os
import socket
import statistics
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from supervisor.host.needs.facts import Facts, read_facts
from supervisor.host.needs.requirements import BY_NAME, SESSIONS_DEFAULT
from supervisor.host.needs.session_costs import MIB
from supervisor.host.numbers import number, whole
from supervisor.host.reading.readings import Host

LOOPBACK: Final = "127.0.0.1"
BACKLOG: Final = 1024
AT_ONCE: Final = 100
"""Connections that are being opened at the same time; more would test the queue before accept(),
not the limits.
"""
CONNECTIONS_SECONDS: Final = 60.0
"""For all of them: 10,000 take a few seconds.

A firewall that drops packets on loopback ends here.
"""
SETTLING_SECONDS: Final = 0.5
"""Those that were accepted are answered, before those that could not be are refused, which ends the
test.
"""
LOAD_SECONDS: Final = 3.0
"""For so long all of them carry traffic, and the CPU is measured."""
TRAFFIC_SECONDS: Final = 1.0
"""Between two round trips of a connection: far more than a session has."""
CPU_SAMPLES: Final = 3
CPU_PAUSE_SECONDS: Final = 1.1
"""A little more than the sampler's own second, so that each sample is a new one."""
TCP_KEYS: Final = (
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
)
NETWORK_KEYS: Final = ("net.core.somaxconn", "net.core.netdev_max_backlog")
OPTIMIZE: Final = "run `sudo python3 scripts/optimize_system.py`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """One of the six. `measured`: name and value of each figure."""

    name: str
    passed: bool
    criterion: str
    measured: dict[str, str | float | None] = field(default_factory=dict)
    what_to_do: str = ""


T = TypeVar("T")


class Held(NamedTuple):
    """A connection, as its client has it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What came of opening connections: how many were open at the same time, and what ended it.

    `cpu_fraction`: of the host while they carried traffic; None: it was not measured.
    `round_trips`: that traffic.
    """

    connections: int
    seconds: float
    trouble: str = ""
    cpu_fraction: float | None = None
    round_trips: int = 0


async def validate(
    connections: int,
    facts: Facts | None = None,
    host: Host | None = None,
    pause_seconds: float = CPU_PAUSE_SECONDS,
    load_seconds: float = LOAD_SECONDS,
) -> list[Validation]:
    """All six, in the guide's order.

    CPU at rest is measured first, before the connections make it busy; then under their load.
    """
    known = facts or read_facts()
    sampler = host or Host()
    cpu, load, available = await _at_rest(sampler, pause_seconds)
    opened = await open_connections(connections, load=sampler, load_seconds=load_seconds)
    return [
        file_descriptors(known),
        memory(known, available),
        settings("tcp", TCP_KEYS, known),
        settings("network", NETWORK_KEYS, known),
        many_connections(connections, opened),
        performance(cpu, load, opened),
    ]


def file_descriptors(facts: Facts) -> Validation:
    """At least 10,000 for a process, by its soft limit: that is what counts."""
    least, now = whole("descriptors_test"), facts.values["nofile_soft"]
    hard = facts.values["nofile_hard"]
    passed = now.value >= least
    todo = (
        f"this shell may raise it itself (`ulimit -n {least}`: the hard limit is {hard.text}); for"
        f" good, {OPTIMIZE} and log in again"
        if hard.value >= least
        else f"{OPTIMIZE} and log in again; in a container `docker run --ulimit nofile=65536:65536`"
    )
    return Validation(
        name="file_descriptors",
        passed=passed,
        criterion=f"a process may open at least {least:,}",
        measured={"soft": now.text, "hard": hard.text},
        what_to_do="" if passed else todo,
    )


def memory(facts: Facts, available_bytes: int) -> Validation:
    """At least 2 GB available, the control group's limit included."""
    least = whole("memory_test")
    group = facts.values.get("cgroup_memory")
    passed = available_bytes >= least
    todo = (
        "stop what else uses memory here, run fewer sessions, or give the machine (or its control"
        " group: `docker update --memory`) more"
    )
    return Validation(
        name="memory",
        passed=passed,
        criterion=f"at least {least / MIB:,.0f} MiB available",
        measured={
            "availableBytes": available_bytes,
            "controlGroupLimit": group.text if group else None,
        },
        what_to_do="" if passed else todo,
    )


def settings(
    name: str, keys: Sequence[str], facts: Facts, sessions: int = SESSIONS_DEFAULT
) -> Validation:
    """Kernel values as the guide wants them, or better.

    One that this network namespace does not have is its host's, and is told.
    """
    wrong, measured = [], {}
    for key in keys:
        row, fact = BY_NAME[key], facts.values.get(key)
        measured[key] = fact.text if fact else facts.missing.get(key, "not read")
        if fact is not None and not row.satisfied(fact.value, sessions):
            wrong.append(
                f"{key} is {fact.text}, wanted {row.direction} {row.wanted_shown(sessions)}"
            )
    if all(key not in facts.values for key in keys):
        wrong.append(
            "none of them can be read here, so nobody knows: look on the host of this container"
        )
    return Validation(
        name=name,
        passed=not wrong,
        criterion=", ".join(
            f"{key} {BY_NAME[key].direction} {BY_NAME[key].wanted_shown(sessions)}" for key in keys
        ),
        measured=dict(measured),
        what_to_do=f"{'; '.join(wrong)}: {OPTIMIZE}" if wrong else "",
    )


def many_connections(wanted: int, opened: Opened) -> Validation:
    """So many open at the same time on loopback, both ends in this process."""
    passed = opened.connections >= wanted
    todo = f"it ended with: {opened.trouble or 'no error'}"
    if opened.trouble in (os.strerror(errno.EMFILE), os.strerror(errno.ENFILE)):
        todo += (
            f". Both ends take a descriptor each, so {2 * wanted + 64} are needed: {OPTIMIZE} and"
            " log in again"
        )
    else:
        todo += (
            ". Look whether the loopback device is up (`ip link show lo`) and no firewall drops"
            " packets on it"
        )
    return Validation(
        name="connections",
        passed=passed,
        criterion=f"{wanted:,} open at the same time (the guide: {whole('connections_test')})",
        measured={
            "open": opened.connections,
            "seconds": round(opened.seconds, 2),
            "trouble": opened.trouble or None,
        },
        what_to_do="" if passed else todo,
    )


def performance(cpu_fraction: float, load_1: float, opened: Opened) -> Validation:
    """CPU at rest below 80 %, and below 70 % while the connections carry traffic."""
    most, under_load = number("cpu_test"), number("cpu_after")
    loaded = opened.cpu_fraction
    wrong = []
    if cpu_fraction * 100 >= most:
        wrong.append(
            "see what is busy (`top`): with the sessions on top of it, there is no time left"
        )
    if loaded is None:
        wrong.append("the CPU under load is not known, as the connections could not be opened")
    elif loaded * 100 >= under_load:
        wrong.append(
            f"{opened.connections} connections that carry traffic leave too little CPU: see what"
            " else is busy (`top`), or give the machine more cores"
        )
    return Validation(
        name="performance",
        passed=not wrong,
        criterion=(
            f"CPU at rest below {most:.0f} %, and below {under_load:.0f} % while the connections"
            " carry traffic"
        ),
        measured={
            "cpuPercent": round(cpu_fraction * 100, 1),
            "load1": round(load_1, 2),
            "roundTripsUnderLoad": opened.round_trips,
            "cpuUnderLoadPercent": None if loaded is None else round(loaded * 100, 1),
        },
        what_to_do="; ".join(wrong),
    )


async def _at_rest(host: Host, pause_seconds: float) -> tuple[float, float, int]:
    """CPU (the middle one of a few samples, so that one busy second decides nothing), load, bytes
    available.
    """
    samples = []
    for _ in range(CPU_SAMPLES):
        await asyncio.sleep(pause_seconds)
        samples.append(host.sample(time.monotonic()))
    last = samples[-1]
    middle = statistics.median(sample.cpu_fraction for sample in samples)
    return middle, last.load_1, last.available_memory_bytes


# ---- connections


async def open_connections(
    wanted: int,
    seconds: float = CONNECTIONS_SECONDS,
    load: Host | None = None,
    load_seconds: float = LOAD_SECONDS,
) -> Opened:
    """Open them on loopback and hold them all at once; a byte goes there and back on each. `load`:
    they go on doing so, while it measures the CPU.

    All are closed again.
    """
    began = time.monotonic()
    held: list[Held] = []
    cpu: float | None = None
    trips = 0
    took: float | None = None
    trouble: list[str] = []
    try:
        listener = socket.create_server((LOOPBACK, 0), backlog=BACKLOG)
    except OSError as error:
        return Opened(
            connections=0, seconds=time.monotonic() - began, trouble=error.strerror or str(error)
        )
    listener.setblocking(False)
    port = listener.getsockname()[1]
    answering = asyncio.create_task(_answer_all(listener, trouble))
    gate = asyncio.Semaphore(AT_ONCE)
    try:
        async with asyncio.timeout(seconds):
            await _until_one_fails([_connect(port, gate, held) for _ in range(wanted)])
        took = time.monotonic() - began
        if load is not None:
            cpu, trips = await _under_load(held, load, load_seconds)
    except TimeoutError:
        trouble.append(f"not all were open after {seconds:.0f} s")
    except OSError as error:
        trouble.append(error.strerror or str(error))
    finally:
        opened, took = len(held), took or time.monotonic() - began
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        await _close(held)
    return Opened(
        connections=opened,
        seconds=took,
        trouble=trouble[0] if trouble else "",
        cpu_fraction=cpu,
        round_trips=trips,
    )


async def _under_load(held: Sequence[Held], host: Host, seconds: float) -> tuple[float, int]:
    """The CPU's share while each of them sends a byte a second there and back, and how many have
    come back.

    Raises OSError: one of them was closed.
    """
    host.sample(time.monotonic())  # what was before is not counted
    until = time.monotonic() + seconds
    trips = await _until_one_fails(
        [
            _carry(one, until, first=place / len(held) * TRAFFIC_SECONDS)
            for place, one in enumerate(held)
        ]
    )
    return host.sample(time.monotonic()).cpu_fraction, sum(trips)


async def _carry(held: Held, until: float, first: float) -> int:
    """How many bytes have gone there and back. `first`: after so many seconds, so that not all go
    at the same moment.
    """
    wait, trips = first, 0
    while time.monotonic() + wait < until:
        await asyncio.sleep(wait)
        wait = TRAFFIC_SECONDS
        held.writer.write(b"?")
        try:
            await held.reader.readexactly(1)
        except asyncio.IncompleteReadError:
            raise OSError("a connection was closed under load") from None
        trips += 1
    await asyncio.sleep(max(0.0, until - time.monotonic()))
    return trips


async def _answer_all(listener: socket.socket, trouble: list[str]) -> None:
    """Be the other end of each, until cancelled.

    The first connection that cannot be accepted ends the test.

    asyncio's own server would try again for ever, each second, also when it has been closed
    meanwhile, with a traceback for each try.
    """
    loop = asyncio.get_running_loop()
    async with _Ends() as ends:
        with listener:  # what waits to be accepted is refused when it closes
            try:
                while True:
                    connection, _ = await loop.sock_accept(listener)
                    ends.answer(connection)
            except OSError as error:
                trouble.append(error.strerror or str(error))
                await asyncio.sleep(SETTLING_SECONDS)
        await loop.create_future()  # those that were accepted go on until all is over


class _Ends:
    """The ends that answer; all of them end with the block."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "_Ends":
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def answer(self, connection: socket.socket) -> None:
        """Send back what comes."""
        self._tasks.add(asyncio.create_task(self._echo(connection)))

    @staticmethod
    async def _echo(connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        # The other end goes away when the test is over: that is no failure.
        with connection, contextlib.suppress(ConnectionError):
            connection.setblocking(False)
            while data := await loop.sock_recv(connection, 1):
                await loop.sock_sendall(connection, data)


async def _connect(port: int, gate: asyncio.Semaphore, held: list[Held]) -> None:
    async with gate:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            writer.write(b"?")
            if await reader.readexactly(1) != b"?":
                raise OSError("the answer is not what was sent")
        except asyncio.IncompleteReadError:
            writer.close()
            raise OSError("the connection was closed at once") from None
        except BaseException:
            writer.close()
            raise
        held.append(Held(reader, writer))


async def _until_one_fails(work: Sequence[Awaitable[T]]) -> list[T]:
    """What all of them return, or the first one's error; then none is left."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _close(held: Sequence[Held]) -> None:
    for one in held:
        one.writer.close()
    for one in held:
        with contextlib.suppress(ConnectionError):
            await one.writer.wait_closed()
