"""A line of performance.log has gauges as they are, and what was added to counts since the last."""

import json
from pathlib import Path
from typing import cast

from supervisor.history.history import History
from supervisor.history.outward.performance_log import SLOWEST, PerformanceLog
from supervisor.history.recent import Recent
from supervisor.history.series import Key
from supervisor.process.log_files import LogFile


class Measured:
    """As much of a history as is asked."""

    def __init__(self) -> None:
        self.recent = Recent()

    def latest(self) -> object:
        return self.recent.latest

    def totals(self) -> object:
        return self.recent.totals


async def test_a_line_tells_of_host_states_counts_and_the_slowest_sessions(tmp_path: Path) -> None:
    measured, file = Measured(), LogFile(tmp_path / "performance.log")
    log = PerformanceLog(file, cast("History", measured))
    await log.look()  # nothing was measured yet
    figures: dict[Key, float] = {
        ("host.cpu", None): 0.25,
        ("state.sessions", "open"): 7,
        ("state.sessions", "waiting"): 1,
        ("disk.used", "/data"): 0.5,
        ("session.messages", "shop"): 10,
    }
    figures |= {("session.response_time_ms", f"s-{number}"): 100 + number for number in range(7)}
    measured.recent.take(figures, 1)
    await log.look()
    for slot, messages in ((2, 12), (3, 15)):  # two intervals between two lines
        measured.recent.take({("session.messages", "shop"): messages}, slot)
    await log.look()
    file.close()
    first, second = (
        json.loads(line) for line in (tmp_path / "performance.log").read_text().splitlines()
    )
    assert first["host.cpu"] == 0.25
    assert first["states"] == {"open": 7, "waiting": 1}
    assert first["disks"] == {"/data": 0.5}
    assert first["fleet.messages"] == 10
    assert [one["session"] for one in first["slowest"]] == [
        f"s-{6 - place}" for place in range(SLOWEST)
    ]
    assert second["fleet.messages"] == 5
    assert second["slowest"] == []
