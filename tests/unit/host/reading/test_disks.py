"""File systems: one reading for each, as df reckons; one that hangs keeps nobody waiting, and is an
alarm.
"""

import os
import threading
from pathlib import Path

import pytest

from supervisor.host.reading.alarms import AlertLimits, alarms, judge
from supervisor.host.reading.disks import DiskReading, Disks, disk_reading
from tests.host_tools import reading


def statvfs(
    blocks: int, free: int, available: int, files: int = 0, files_free: int = 0
) -> os.statvfs_result:
    return os.statvfs_result(
        (4096, 4096, blocks, free, available, files, files_free, files_free, 0, 255)
    )


def test_the_share_is_dfs_of_what_an_ordinary_user_could_have() -> None:
    """5 % are root's: with 90 of 100 blocks used, 90 of 95 are."""
    found = disk_reading(("/data",), statvfs(100, 10, 5, files=1000, files_free=100))
    assert (found.total_bytes, found.available_bytes) == (409_600, 20_480)
    assert found.used_fraction == pytest.approx(90 / 95)
    assert found.inodes_used_fraction == pytest.approx(0.9)


def test_a_file_system_without_a_fixed_number_of_inodes_has_no_share_of_them() -> None:
    found = disk_reading(("/data",), statvfs(100, 50, 50))
    assert (found.inodes, found.inodes_used_fraction) == (None, None)


def test_directories_of_one_file_system_are_one_reading(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (found,) = Disks([tmp_path, tmp_path / "logs", tmp_path]).reading()
    assert found.directories == (str(tmp_path), str(tmp_path / "logs"))
    assert found.used_fraction is not None
    assert 0 < found.used_fraction <= 1


def test_however_many_ask_a_look_is_made_once_a_second(tmp_path: Path) -> None:
    asked = []

    def counting(directory: Path) -> os.statvfs_result:
        asked.append(directory)
        return statvfs(100, 50, 50)

    disks = Disks([tmp_path], counting, fresh_seconds=3600)
    assert len({id(disks.reading()) for _ in range(100)}) == 1
    assert len(asked) == 1


def test_a_directory_that_is_gone_is_a_problem_and_no_error(tmp_path: Path) -> None:
    (found,) = Disks([tmp_path / "gone"]).reading()
    assert found.problem == "No such file or directory"


def test_a_file_system_that_hangs_is_asked_once_and_hides_no_other(tmp_path: Path) -> None:
    answers, asked = threading.Event(), []

    def hanging(directory: Path) -> os.statvfs_result:
        if directory.name == "nfs":
            asked.append(directory)
            answers.wait(30)
        return statvfs(100, 50, 50)

    (tmp_path / "nfs").mkdir()
    disks = Disks([tmp_path, tmp_path / "nfs"], hanging, fresh_seconds=0)
    for _ in range(3):
        well, hangs = disks.reading(patience_seconds=0.01)
        assert (well.used_fraction, hangs.used_fraction) == (0.5, None)
        assert hangs.directories == (str(tmp_path / "nfs"),)
    assert len(asked) == 1
    answers.set()
    for _ in range(100):
        found = disks.reading()
        if len(found) == 1:
            break
    assert [disk.used_fraction for disk in found] == [0.5]


@pytest.mark.parametrize(
    ("disk", "raised"),
    [
        ({"used_fraction": 0.85}, {}),
        ({"used_fraction": 0.86}, {"disk_space": "warning"}),
        ({"used_fraction": 0.951}, {"disk_space": "critical"}),
        ({"inodes_used_fraction": 0.99}, {"disk_inodes": "critical"}),
        ({"silent_seconds": 12.0}, {"disk_silent": "critical"}),
        ({"problem": "No such file or directory"}, {}),
    ],
)
def test_a_full_disk_is_an_alarm_before_the_store_fails(
    disk: dict[str, object], raised: dict[str, str]
) -> None:
    seen = reading(
        disks=(
            DiskReading(directories=("/other",), used_fraction=0.1),
            DiskReading(directories=("/data",), **disk),
        )
    )  # type: ignore[arg-type]
    found = judge(seen, AlertLimits())
    assert {name: judged.severity for name, judged in found.items() if judged.above} == raised
    assert all("/data" in words for words in alarms(seen, AlertLimits()).values())
