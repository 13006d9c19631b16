"""The monitor's report for people has the statistics of the one for programs."""

from supervisor.host.reading.monitor import ResourceMonitor
from supervisor.host.reading.report import report_text, size
from tests.host_tools import host, reading


def test_every_figure_has_its_statistics_and_every_alarm_its_line() -> None:
    monitor = ResourceMonitor()
    for cpu in (0.1, 0.2, 0.9):
        monitor.add(reading(host=host(cpu_fraction=cpu), notes=("no supervisor runs",)))
    text = report_text(monitor.document(5.0, 1_800_000_000.0))
    assert "the last 3 of 3 readings, every 5 s" in text
    row = next(line for line in text.splitlines() if line.startswith("CPU in use"))
    assert row.split()[3:] == ["10%", "40%", "90%", "90%"]
    assert "memory available" in text
    assert "ALARM cpu is 90%, above 80% (1 readings" in text
    assert "Note: no supervisor runs." in text


def test_a_quiet_time_says_so() -> None:
    monitor = ResourceMonitor()
    monitor.add(reading())
    assert "No alarm." in report_text(monitor.document(5.0, 1_800_000_000.0))


def test_bytes_are_shown_for_people() -> None:
    assert [size(one) for one in (0, 1000, 2048, 1.5 * 2**20, 300 * 2**30)] == [
        "0 B",
        "1000 B",
        "2 KiB",
        "1.5 MiB",
        "300 GiB",
    ]
