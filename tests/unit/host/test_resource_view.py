"""The monitor's picture: what it shows fits the terminal, and says what is known."""

import io
from dataclasses import replace

import pytest
from rich.console import Console, ConsoleDimensions

from scripts.resource_view import line, picture, sparkline
from supervisor.host.reading.connections import Connections
from supervisor.host.reading.host_sampler import summary
from supervisor.host.reading.monitor import ResourceMonitor
from tests.host_tools import connections, host, process, reading, supervisor

GIB = 2**30
BUSY = Connections(
    total=812,
    established=700,
    websockets=612,
    by_state={"established": 700, "time_wait": 100, "listen": 12},
    by_port={443: 612, 4001: 20},
)


def shown(
    monitor: ResourceMonitor, width: int, height: int, interval: float | None = 5.0
) -> list[str]:
    console = Console(
        width=width, height=height, record=True, file=io.StringIO(), force_terminal=True
    )
    console.print(picture(monitor, interval, ConsoleDimensions(width, height)))
    return console.export_text().splitlines()


@pytest.fixture
def busy() -> ResourceMonitor:
    """A host of many workers, and many readings."""
    monitor = ResourceMonitor()
    workers = [process(pid, pss_bytes=(40 + pid % 7) * 2**20) for pid in range(20_000, 20_350)]
    machine = replace(
        host(cpu_fraction=0.5, load_1=4.25, open_descriptors=21_000, max_descriptors=2_466_170),
        total_memory_bytes=24 * GIB,
        used_memory_bytes=21 * GIB,
        swap_total_bytes=GIB,
    )
    for at in range(120):
        monitor.add(
            reading(
                at=float(at),
                host=machine,
                connections=BUSY,
                workers=summary(workers, {one.pid: one.pss_bytes or 0 for one in workers}, 0.3),
                supervisor=supervisor(1100, 1200),
                notes=("3 workers of other users are not counted",),
            )
        )
    return monitor


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 60), (130, 40), (200, 50)])
def test_the_whole_picture_fits_the_terminal(
    busy: ResourceMonitor, width: int, height: int
) -> None:
    lines = shown(busy, width, height)
    assert max(map(len, lines)) <= width
    assert len(lines) <= height


@pytest.mark.parametrize("width", [80, 130])
def test_it_shows_every_figure(busy: ResourceMonitor, width: int) -> None:
    text = "\n".join(shown(busy, width, 60))
    for words in (
        "50%",
        "4.25 0.00 0.00, 2 cores",
        "87.5% of 24.0 GiB, 1000 B left",
        "21000 of 2466170",
        "612 (alarm above 500)",
        "812, 700 established",
        "established 700",
        ":443 612  :4001 20",
        "350, 0.30 cores busy",
        "median 43.0 MiB, most 46.0 MiB",
        "20005: 46",
        "1100 of 1200",
        "ALARM 612 WebSocket connections, above 500",
        "Note: 3 workers of other users are not counted.",
        "█",
    ):
        assert words in text


def test_what_is_unknown_is_not_shown_as_zero() -> None:
    monitor = ResourceMonitor()
    unknown = host(open_descriptors=None, max_descriptors=None)
    monitor.add(
        reading(
            host=unknown, connections=None, notes=("connections cannot be read: Permission denied",)
        )
    )
    text = "\n".join(shown(monitor, 80, 60))
    for words in (
        "Descriptors unknown",
        "TCP         unknown",
        "Workers     unknown",
        "Supervisor  not found",
    ):
        assert words in text
    assert "cannot be read: Permission denied" in text
    assert "tcp unknown, websockets unknown" in line(monitor)


def test_before_the_first_reading_it_says_so() -> None:
    assert shown(ResourceMonitor(), 80, 24) == ["The first reading is under way ..."]


def test_alarms_that_are_over_are_named() -> None:
    monitor = ResourceMonitor()
    monitor.add(reading(host=host(cpu_fraction=1.0)))
    assert "ALARM cpu is 100%, above 80%" in line(monitor)
    monitor.add(reading())
    assert "No alarm now; before: cpu (1)" in "\n".join(shown(monitor, 80, 24))
    assert "ALARM" not in line(monitor)


def test_words_are_not_markup() -> None:
    monitor = ResourceMonitor()
    monitor.add(
        reading(connections=connections(1), notes=("no supervisor runs in /tmp/[bold]x[/bold]",))
    )
    assert "/tmp/[bold]x[/bold]" in "\n".join(shown(monitor, 80, 60))


def test_a_line_is_one_line(busy: ResourceMonitor) -> None:
    assert "\n" not in line(busy)
    assert "workers 350, pss 14.7 GiB, supervisor descriptors 1100 of 1200; ALARM" in line(busy)


@pytest.mark.parametrize(
    ("values", "most", "line_"),
    [
        ([0, 1, 2, 4], None, "▁▃▅█"),
        ([0.0, 0.5, 1.0], 1.0, "▁▅█"),
        ([0, 0], None, "▁▁"),
        ([None, 1], None, " █"),
        ([], None, ""),
    ],
)
def test_a_sparkline_goes_from_zero_to_the_largest(
    values: list[float | None], most: float | None, line_: str
) -> None:
    assert sparkline(values, most) == line_
