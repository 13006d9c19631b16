"""What the resource monitor shows: a picture for a terminal, of any width, and a line for
everything else.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from rich.box import ROUNDED
from rich.console import ConsoleDimensions, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from supervisor.host.reading.alarms import percent
from supervisor.host.reading.host_sampler import Reading, SupervisorReading, WorkersReading
from supervisor.host.reading.monitor import ResourceMonitor, figures
from supervisor.host.reading.report import size

WIDE_COLUMNS: Final = 110
"""From here on two panels stand side by side."""
BLOCKS: Final = "▁▂▃▄▅▆▇█"
ROOMY_LINES: Final = 34
"""A terminal with fewer lines has no room for frames around panels that stand one below the
other.
"""
WARNING_SHARE: Final = 0.8
"""A figure is yellow from this share of its alarm's limit on."""


def picture(
    monitor: ResourceMonitor, interval_seconds: float | None, size: ConsoleDimensions
) -> RenderableType:
    """All of it. `interval_seconds`: None for a single reading."""
    if not monitor.readings:
        return Text("The first reading is under way ...")
    reading = monitor.readings[-1]
    width = min(size.width, 160)
    half = width // 2 if width >= WIDE_COLUMNS else width
    panels = [
        ("Host", _host(monitor, reading, half - 4)),
        ("Connections", _connections(monitor, reading, half - 4)),
        ("Workers", _workers(monitor, reading, half - 4)),
        ("Supervisor", _supervisor(monitor, reading, half - 4)),
    ]
    if half < width:
        framed = [_panel(name, content) for name, content in panels]
        body: list[RenderableType] = [_beside(half, *framed[:2]), _beside(half, *framed[2:])]
    elif interval_seconds is not None and size.height < ROOMY_LINES:
        # a small terminal: frames would push the end out of sight
        body = [content for _, content in panels]
    else:
        body = [_panel(name, content) for name, content in panels]
    return Group(
        _title(monitor, reading, interval_seconds), *_alarms(monitor), *body, *_notes(reading)
    )


def line(monitor: ResourceMonitor) -> str:
    """The last reading in one line, for a log."""
    reading = monitor.readings[-1]
    host, connections, workers = reading.host, reading.connections, reading.workers
    words = [
        f"cpu {percent(host.cpu_fraction)}",
        f"load {host.load_1:.2f}",
        (
            f"memory {percent(host.used_memory_bytes / host.total_memory_bytes)}"
            f" ({_size(host.available_memory_bytes)} available)"
        ),
        f"descriptors {_of(host.open_descriptors, host.max_descriptors)}",
        f"tcp {_or_unknown(connections and connections.total)}",
        f"websockets {_or_unknown(connections and connections.websockets)}",
        (
            f"in {_size(host.network_in_bytes_per_second)}/s out"
            f" {_size(host.network_out_bytes_per_second)}/s"
        ),
        f"workers {_or_unknown(workers and workers.count)}",
    ]
    if workers and workers.pss_sum_bytes is not None:
        words.append(f"pss {_size(workers.pss_sum_bytes)}")
    if own := reading.supervisor:
        words.append(f"supervisor descriptors {_of(own.process.descriptors, own.open_files.soft)}")
    stamp = datetime.fromtimestamp(reading.at).astimezone().isoformat(timespec="seconds")
    alarms = "".join(f"; ALARM {words}" for words in monitor.active.values())
    return f"{stamp} {', '.join(words)}{alarms}"


# --- the panels -----------------------------------------------------------------------------------


def _title(monitor: ResourceMonitor, reading: Reading, interval_seconds: float | None) -> Text:
    clock = f"{datetime.fromtimestamp(reading.at):%H:%M:%S}"
    every = (
        ""
        if interval_seconds is None
        else f" · every {interval_seconds:g} s · reading {monitor.count} · Ctrl-C ends it"
    )
    return Text.assemble(
        ("WebSocket resources", "bold"), f" · {clock}{every}", overflow="ellipsis", no_wrap=True
    )


def _host(monitor: ResourceMonitor, reading: Reading, width: int) -> Table:
    host, limits = reading.host, monitor.limits
    table = _rows()
    share = host.used_memory_bytes / host.total_memory_bytes
    load = f"{host.load_1:.2f} {host.load_5:.2f} {host.load_15:.2f}, {host.cores} cores"
    if host.usable_cores < host.cores:
        load += f", {host.usable_cores:g} usable"
    _gauge(table, "CPU", host.cpu_fraction, limits.cpu_fraction, percent(host.cpu_fraction), width)
    _gauge(table, "Load", host.load_1 / limits.load, 1.0, load, width)
    memory = (
        f"{percent(share)} of {_size(host.total_memory_bytes)},"
        f" {_size(host.available_memory_bytes)} left"
    )
    _gauge(table, "Memory", share, limits.memory_fraction, memory, width)
    if host.swap_total_bytes:
        swap = f"{_size(host.swap_used_bytes)} of {_size(host.swap_total_bytes)}"
        _gauge(table, "Swap", host.swap_used_bytes / host.swap_total_bytes, 1.0, swap, width)
    used, most = host.open_descriptors, host.max_descriptors
    _gauge(
        table,
        "Descriptors",
        _share(used, most),
        limits.descriptors_fraction,
        _of(used, most),
        width,
    )
    traffic = (
        f"in {_size(host.network_in_bytes_per_second)}/s {host.network_in_packets_per_second:.0f}"
        f" packets · out {_size(host.network_out_bytes_per_second)}/s"
        f" {host.network_out_packets_per_second:.0f} packets"
    )
    table.add_row("Network", Text(traffic, overflow="ellipsis", no_wrap=True))
    _history(table, "CPU lately", monitor, "cpuFraction", width, most=1.0)
    return table


def _connections(monitor: ResourceMonitor, reading: Reading, width: int) -> Table:
    connections = reading.connections
    table = _rows()
    if connections is None:
        table.add_row("TCP", "unknown")
        return table
    limit = monitor.limits.websockets
    websockets = f"{connections.websockets} (alarm above {limit})"
    _gauge(table, "WebSocket", connections.websockets / limit, 1.0, websockets, width)
    table.add_row("TCP", f"{connections.total}, {connections.established} established")
    table.add_row(
        "by state", _listed(f"{state} {count}" for state, count in connections.by_state.items())
    )
    table.add_row(
        "by port", _listed(f":{port} {count}" for port, count in connections.by_port.items())
    )
    _history(table, "lately", monitor, "websockets", width)
    return table


def _workers(monitor: ResourceMonitor, reading: Reading, width: int) -> Table:
    workers, table = reading.workers, _rows()
    if workers is None or not workers.count:
        table.add_row("Workers", "unknown" if workers is None else "none")
        return table
    cpu = "" if workers.cpu_cores is None else f", {workers.cpu_cores:.2f} cores busy"
    table.add_row("Workers", f"{workers.count}{cpu}, {workers.threads} threads")
    table.add_row("PSS", Text(_weights(workers), overflow="ellipsis", no_wrap=True))
    heaviest = (f"{one.pid}: {(one.pss_bytes or 0) / 2**20:.0f}" for one in workers.heaviest)
    table.add_row("pid: MiB", _listed(heaviest))
    _history(table, "sum lately", monitor, "workersPssSumBytes", width)
    return table


def _supervisor(monitor: ResourceMonitor, reading: Reading, width: int) -> Table:
    own, table = reading.supervisor, _rows()
    if own is None:
        table.add_row("Supervisor", "not found")
        return table
    table.add_row(
        "Supervisor",
        f"pid {own.process.pid}, PSS {_size(own.process.pss_bytes)}, {own.process.threads} threads",
    )
    _own_descriptors(table, own, monitor.limits.descriptors_fraction, width)
    return table


def _own_descriptors(table: Table, own: SupervisorReading, limit: float, width: int) -> None:
    used, most = own.process.descriptors, own.open_files.soft
    _gauge(table, "descriptors", _share(used, most), limit, _of(used, most), width)


def _weights(workers: WorkersReading) -> str:
    if workers.pss_sum_bytes is None:
        return "unknown"
    about = "about " if workers.weighed < workers.count else ""
    return (
        f"sum {about}{_size(workers.pss_sum_bytes)}, median {_size(workers.pss_median_bytes)}, most"
        f" {_size(workers.pss_max_bytes)}"
    )


def _alarms(monitor: ResourceMonitor) -> list[RenderableType]:
    if monitor.active:
        return [Text(f"ALARM {words}", style="bold red") for words in monitor.active.values()]
    before = ", ".join(f"{seen.name} ({seen.readings})" for seen in monitor.seen.values())
    return [Text(f"No alarm now; before: {before}" if before else "No alarm.", style="green")]


def _notes(reading: Reading) -> list[RenderableType]:
    return [Text(f"Note: {note}.", style="dim") for note in reading.notes]


def _beside(width: int, left: RenderableType, right: RenderableType) -> Table:
    grid = Table.grid()
    grid.add_column(width=width)
    grid.add_column(width=width)
    grid.add_row(left, right)
    return grid


# --- small things ---------------------------------------------------------------------------------


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=escape(title), title_align="left", box=ROUNDED, padding=(0, 1))


def _rows() -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(style="bold", no_wrap=True, width=11)
    table.add_column(overflow="ellipsis", no_wrap=True, ratio=1)
    return table


def _gauge(
    table: Table, name: str, share: float | None, limit: float, words: str, width: int
) -> None:
    """A bar of the share, with the alarm's limit marked by its colour."""
    bar_width = max(8, min(30, width - 12 - 34))
    if share is None:
        table.add_row(name, words)
        return
    filled = min(bar_width, round(share * bar_width))
    style = "red" if share > limit else "yellow" if share > limit * WARNING_SHARE else "green"
    table.add_row(
        name, Text.assemble(("█" * filled, style), ("░" * (bar_width - filled), "dim"), " ", words)
    )


def _history(
    table: Table,
    name: str,
    monitor: ResourceMonitor,
    figure: str,
    width: int,
    most: float | None = None,
) -> None:
    """The last readings of a figure as a sparkline."""
    values = [figures(reading).get(figure) for reading in monitor.readings]
    if len(values) > 1:
        table.add_row(name, sparkline(values[-max(8, width - 13) :], most))


def sparkline(values: Sequence[float | None], most: float | None = None) -> str:
    """Values as blocks, from 0 to the largest (or to `most`); a blank where there was none."""
    top = most or max((value for value in values if value is not None), default=0) or 1
    step = len(BLOCKS) - 1
    return "".join(
        " " if value is None else BLOCKS[min(step, max(0, round(value / top * step)))]
        for value in values
    )


def _listed(words: Iterable[str]) -> str:
    return "  ".join(words) or "none"


def _share(used: int | None, most: int | None) -> float | None:
    return None if used is None or not most else used / most


def _of(used: int | None, most: int | None) -> str:
    return f"{_or_unknown(used)} of {'unlimited' if most is None else most}"


def _or_unknown(value: object) -> str:
    return "unknown" if value is None else str(value)


def _size(count_bytes: float | None) -> str:
    """Bytes for people."""
    return "unknown" if count_bytes is None else size(count_bytes)
