"""Part `connections`: what a reading of the monitor costs with 10,000 WebSocket connections open
(`python -m scripts.bench.connections`).

Each end of the connections is a process of its own, since a process may have fewer than 20,000
descriptors; the reader is a third one that holds none of them. The connections are real, on
loopback, so that the kernel lists both ends: 20,000 lines for 10,000 connections.
"""

import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from scripts.bench.report import Report
from scripts.lab import LabError
from supervisor.host.reading.connections import count_connections

PART: Final = "connections"
CONNECTIONS: Final = 10_000
READINGS: Final = 30
MOST_MS: Final = 50.0
"""What a reading may cost, median: it is made every few seconds, in the loop."""
OPENING_SECONDS: Final = 60.0
"""How long the accepting end waits for one: nobody stays behind when the other end has failed."""
SPARE_DESCRIPTORS: Final = 64
RESET_AT_CLOSE: Final = b"\x01\x00\x00\x00\x00\x00\x00\x00"
"""SO_LINGER, on, 0 s: nothing is left behind in TIME_WAIT."""


class CannotMeasure(LabError):
    """The connections could not be opened; the message says why."""


def listen(count: int) -> None:
    """The process of the accepting end: prints its port, accepts, prints `ready`, and holds them
    until its input ends.
    """
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        server.settimeout(OPENING_SECONDS)
        print(server.getsockname()[1], flush=True)
        for _ in range(count):
            connection, _ = server.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            held.append(connection)
        print("ready", flush=True)
        sys.stdin.read()


def connect(count: int, port: int) -> None:
    """The process of the opening end."""
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    for connection in held:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    print("ready", flush=True)
    sys.stdin.read()


@contextmanager
def connected(count: int) -> Iterator[int]:
    """So many connections to a port of this host, which is told, while the block runs.

    Raises CannotMeasure.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + SPARE_DESCRIPTORS:
        raise CannotMeasure(
            f"a process may have {hard} descriptors here (ulimit -Hn); {count} connections need"
            " more"
        )
    with (
        _end("listen", count) as (listening, port),
        _end("connect", count, port) as (connecting, ready),
    ):
        for process, said in ((connecting, ready), (listening, _line(listening))):
            if said != "ready":
                raise CannotMeasure(
                    f"the connections were not opened (status {process.poll()}, said {said!r})"
                )
        yield int(port)


def milliseconds(work: Callable[[], object], times: int = READINGS) -> list[float]:
    """What a piece of work takes, again and again."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def measure(report: Report, count: int = CONNECTIONS) -> None:
    """Open them, read, and put the figures into the report. Raises CannotMeasure.

    First half as many: as both their ends are listed, the kernel's table is as long as with that
    many connections to elsewhere.
    """
    for ends, many in ((count, count // 2), (2 * count, count)):
        with connected(many) as port:
            ports = frozenset({port, 443})
            seen = count_connections(ports).websockets
            if seen < many:
                raise CannotMeasure(f"{many} connections are open, and {seen} were counted")
            counted = f"{ends:,} sockets ({many:,} connections, both ends)"
            report.add(
                PART, f"count {counted}", "ms", milliseconds(partial(count_connections, ports))
            )
    report.remark(PART, f"Wanted: {count:,} connections in less than {MOST_MS:g} ms, median.")


def main() -> int:
    """Entry of `python -m scripts.bench.connections`: the status tells whether a reading was cheap
    enough.
    """
    report = Report()
    try:
        measure(report)
    except CannotMeasure as error:
        print(f"Nothing was measured: {error}.", file=sys.stderr)
        return 2
    print(report.table())
    return int(max(statistics.median(figure.samples) for figure in report.figures) >= MOST_MS)


@contextmanager
def _end(*arguments: object) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A process of one end, and the first line it says. It ends with the block."""
    code = (
        "from scripts.bench import connections as c;"
        f" c.{arguments[0]}({', '.join(map(str, arguments[1:]))})"
    )
    raised = (
        "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (r.getrlimit(r.RLIMIT_NOFILE)[1],) *"
        f" 2); {code}"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", raised],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,  # ends with us, however we end
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, _line(process)
    finally:
        process.kill()  # it may still wait for the other end
        process.communicate()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


if __name__ == "__main__":
    sys.exit(main())
