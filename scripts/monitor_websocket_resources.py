"""Watches what many WebSocket connections cost this host: CPU, load, memory, descriptors,
connections, network, the workers' own weight.

    scripts/monitor_websocket_resources.py [interval] [--once] [--json] [--port N ...] [--output-dir
    DIR]

On a terminal it is one live picture; elsewhere a line for each reading (with --json a JSON object).
Ctrl-C or SIGTERM ends it, and leaves the last 100 readings with statistics and the alarms seen in
websocket_monitoring_<UTC date and time>.json, and for people in a .txt beside it, which is shown,
too. It needs neither root nor a running supervisor: what may not be read is null, and a note says
why. Exit status: 0 it was ended, 1 the report could not be written or nothing could be read, 2 it
was used wrongly.
"""

if __name__ == "__main__":  # the system's Python has neither the project nor its packages
    __import__(
        "scripts.project_python" if __package__ else "project_python", fromlist=["enter"]
    ).enter()

import argparse
import errno
import io
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dotenv import dotenv_values
from rich.console import Console
from rich.live import Live

from scripts.resource_view import line, picture
from supervisor.host.numbers import number
from supervisor.host.reading.alarms import AlertLimits
from supervisor.host.reading.connections import websocket_ports
from supervisor.host.reading.host_sampler import HostSampler, find_targets
from supervisor.host.reading.monitor import ResourceMonitor, reading_document
from supervisor.host.reading.readings import Host
from supervisor.host.reading.report import report_text
from supervisor.host.tuning.report_files import write_report
from supervisor.process.streams import release

ROOT: Final = Path(__file__).resolve().parent.parent
FIRST_LOOK_SECONDS: Final = 0.5
"""CPU and network are differences between two moments: so long after the start the first reading is
taken.
"""
DEFAULT_API_PORT: Final = 4001
MOST_SECONDS: Final = 86_400.0
ENDING: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class CannotWrite(Exception):
    """The report cannot be written; the message says where and why."""


class Monitoring:
    """The readings, one after the other, until it is ended."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.interval: float = given.interval
        self.ended = threading.Event()
        self.monitor = ResourceMonitor(limits=given.limits)
        self._data: Path = given.data_dir
        self._host = Host(least_seconds=0)
        self._host_sampler = HostSampler(self._host, given.ports, fresh_seconds=0)

    def readings(self) -> Iterator[None]:
        """Wait, look, and remember; after each the monitor knows one more.

        Ends when it is told to.
        """
        wait = min(FIRST_LOOK_SECONDS, self.interval)
        while not self.ended.wait(wait):
            began = time.monotonic()
            self.look()
            yield
            took = time.monotonic() - began
            # never more than half of a core, whatever was asked for
            wait = max(self.interval - took, took)

    def look(self) -> None:
        """One reading."""
        self.monitor.add(self._host_sampler.reading(time.monotonic(), find_targets(self._data)))

    def write(self, directory: Path) -> tuple[Path, str]:
        """Leave the report, under a name that nobody has yet; the file, and the report for people,
        which is beside it.

        Raises CannotWrite.
        """
        ended = time.time()
        document = self.monitor.document(self.interval, ended)
        text = report_text(document)
        name = f"websocket_monitoring_{datetime.fromtimestamp(ended, UTC):%Y%m%d_%H%M%S}"
        try:
            file = _write_new(directory, name, json.dumps(document, indent=2) + "\n")
            write_report(directory, {file.with_suffix(".txt").name: text})
            return file, text
        except OSError as error:
            raise CannotWrite(
                f"the report cannot be written into {directory}: {error.strerror or error}"
            ) from None


def _write_new(directory: Path, name: str, text: str) -> Path:
    """Whole or not at all: the name is taken first, and replaced by the finished file."""
    for number_of_name in range(1, 1000):
        file = directory / (
            f"{name}.json" if number_of_name == 1 else f"{name}-{number_of_name}.json"
        )
        try:
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            continue  # another monitor was ended in the same second
        unfinished = file.with_name(f".{file.name}.tmp")
        try:
            with unfinished.open("w", encoding="utf-8") as output:
                output.write(text)
                output.flush()
                os.fsync(output.fileno())
            unfinished.replace(file)
        except OSError:
            unfinished.unlink(missing_ok=True)
            file.unlink(missing_ok=True)
            raise
        return file
    raise FileExistsError(f"{name}*.json: all names of this second are taken")


def watch(monitoring: Monitoring, as_json: bool, console: Console) -> None:
    """Show each reading: a live picture on a terminal, else a line.

    Raises OSError when nobody can see it any more.
    """
    if as_json or not console.is_terminal:
        for _ in monitoring.readings():
            shown = json.dumps(_document(monitoring)) if as_json else line(monitoring.monitor)
            print(shown, flush=True)
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        live.update(picture(monitoring.monitor, monitoring.interval, console.size), refresh=True)
        for _ in monitoring.readings():
            if not console.is_terminal:  # rich falls silent then, and we would watch for nobody
                raise OSError(errno.EIO, "the terminal is gone")
            live.update(
                picture(monitoring.monitor, monitoring.interval, console.size), refresh=True
            )


def once(monitoring: Monitoring, as_json: bool, console: Console) -> None:
    """One reading, shown."""
    time.sleep(FIRST_LOOK_SECONDS)
    monitoring.look()
    if as_json:
        print(json.dumps(_document(monitoring), indent=2), flush=True)
    else:
        console.print(picture(monitoring.monitor, None, console.size))


def run(given: argparse.Namespace) -> int:
    """The whole of it; the exit status."""
    monitoring, console = Monitoring(given), Console()
    if given.once:
        once(monitoring, given.json, console)
        if given.output_dir is not None:
            file, _ = monitoring.write(given.output_dir)
            print(f"The report is in {file} and {file.stem}.txt", file=sys.stderr)
        return 0
    with _ended_by_signals(monitoring.ended):
        try:
            watch(monitoring, given.json, console)
        except OSError as error:
            # the terminal or the reader of our pipe is gone; the report is still worth writing
            trouble = f"nothing can be shown any more ({error.strerror or error})"
            release()
        else:
            trouble = ""
        file, text = monitoring.write(given.output_dir or Path())
    if not given.json and not trouble:
        try:
            print(text, flush=True)
        except OSError as error:
            trouble = f"the report cannot be shown ({error.strerror or error})"
            release()
    said = f"{monitoring.monitor.count} readings. The report is in {file} and {file.stem}.txt"
    print(f"{trouble}; {said}" if trouble else said, file=sys.stderr)
    return 0


def parse(arguments: Sequence[str], environment: Mapping[str, str | None]) -> argparse.Namespace:
    """The command line; SystemExit 2 with the reason where it cannot be used."""
    parser = argparse.ArgumentParser(
        prog="monitor_websocket_resources.py",
        description=" ".join((__doc__ or "").partition("\n\n")[0].split()),
    )
    limits = AlertLimits()
    add = parser.add_argument
    add(
        "interval",
        nargs="?",
        type=_seconds,
        default=number("interval"),
        help="seconds between readings (%(default)g)",
    )
    add("--once", action="store_true", help="one reading")
    add("--json", action="store_true", help="JSON on stdout, and nothing else")
    add(
        "--port",
        type=_port,
        action="append",
        metavar="N",
        help="count WebSocket connections at this port, not at the usual ones",
    )
    add(
        "--output-dir",
        type=_directory,
        metavar="DIR",
        help="where the report goes (working directory; with --once: none)",
    )
    add(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="the supervisor's data directory (WHATSAPP_DATA_DIR, or data)",
    )
    add(
        "--max-load",
        type=_positive,
        default=limits.load,
        metavar="N",
        help="alarm above this load (%(default)g)",
    )
    add(
        "--max-websockets",
        type=_count,
        default=limits.websockets,
        metavar="N",
        help="alarm above so many (%(default)s)",
    )
    given = parser.parse_args(arguments)
    given.limits = replace(limits, load=given.max_load, websockets=given.max_websockets)
    given.data_dir = (
        (given.data_dir or ROOT / (environment.get("WHATSAPP_DATA_DIR") or "data"))
        .expanduser()
        .absolute()
    )
    try:
        given.ports = frozenset(given.port) if given.port else _usual_ports(environment)
    except ValueError as error:
        parser.error(str(error))
    if not given.once and given.output_dir is None and not os.access(Path(), os.W_OK):
        parser.error(
            "the working directory cannot be written, and the report goes there: choose another"
            " with --output-dir"
        )
    return given


def _usual_ports(environment: Mapping[str, str | None]) -> frozenset[int]:
    """Those of the supervisor's own settings. Raises ValueError."""
    text = environment.get("WHATSAPP_API_PORT") or str(DEFAULT_API_PORT)
    if not text.isdecimal() or not 0 <= int(text) < 65_536:
        raise ValueError(f"WHATSAPP_API_PORT is {text!r}; it accepts 0 to 65535")
    url = environment.get("WHATSAPP_WEB_SOCKET_URL") or None
    try:
        return websocket_ports(int(text), url)
    except ValueError as error:
        raise ValueError(f"WHATSAPP_WEB_SOCKET_URL cannot be used: {error}") from None


def _document(monitoring: Monitoring) -> dict[str, Any]:
    return reading_document(monitoring.monitor.readings[-1], monitoring.monitor.limits)


def _seconds(text: str) -> float:
    value = _positive(text)
    if value > MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than a day; it accepts seconds")
    return value


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 1 to 65535")
    return int(text)


def _directory(text: str) -> Path:
    directory = Path(text)
    if not directory.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no directory")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written")
    return directory


@contextmanager
def _ended_by_signals(ended: threading.Event) -> Iterator[None]:
    """Ctrl-C, SIGTERM, and the end of the terminal are how it is ended, not how it dies."""
    before = {one: signal.signal(one, lambda *_: ended.set()) for one in ENDING}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def main() -> int:
    """Entry of the script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # a terminal without bars shows question marks, not a traceback
            stream.reconfigure(errors="replace")
    given = parse(sys.argv[1:], dotenv_values(ROOT / ".env") | dict(os.environ))
    try:
        return run(given)
    except CannotWrite as error:
        print(f"{Path(sys.argv[0]).name}: {error}.", file=sys.stderr)
        return 1
    except OSError as error:  # stdout is full or gone; stderr, too, if that was a terminal
        release()
        with suppress(OSError):
            print(
                f"{Path(sys.argv[0]).name}: nothing can be shown ({error.strerror or error}).",
                file=sys.stderr,
            )
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
