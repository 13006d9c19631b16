"""Control groups of both versions, from made-up trees: what they leave of memory and CPU."""

from pathlib import Path

import pytest

from supervisor.host.reading.control_groups import (
    GroupCpu,
    GroupMemory,
    GroupTasks,
    group_cpu,
    group_memory,
    group_tasks,
)


def tree(root: Path, lines: str, **files: str) -> tuple[Path, Path]:
    """A /proc whose process is in these groups, and the files of the groups, by path ("." is "__",
    "/" is "___").
    """
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)
    mount = root / "cgroup"
    mount.mkdir()
    for name, text in files.items():
        file = mount / name.replace("___", "/").replace("__", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return root / "proc", mount


def test_without_control_groups_nothing_is_limited(tmp_path: Path) -> None:
    assert group_memory(tmp_path / "proc", tmp_path / "cgroup") is None
    assert group_cpu(tmp_path / "proc", tmp_path / "cgroup") is None
    assert group_tasks(tmp_path / "proc", tmp_path / "cgroup") is None


def test_version_2_counts_all_the_way_up(tmp_path: Path) -> None:
    places = tree(
        tmp_path,
        "0::/box/unit\n",
        box___memory__max="1000",
        box___memory__current="950",
        box___memory__stat="anon 500\ninactive_file 250\nactive_file 200",
        box___unit___memory__max="800",
        box___unit___memory__current="300",
        box___unit___memory__stat="inactive_file 100",
        box___pids__max="100",
        box___pids__current="90",
        box___unit___pids__max="max",
        box___unit___pids__current="30",
        box___cpu__max="150000 100000",
        box___cpu__stat="usage_usec 2500000\nuser_usec 1",
        box___unit___cpu__max="max 100000",
    )
    # above less is left
    assert group_memory(*places) == GroupMemory(limit_bytes=800, available_bytes=300)
    assert group_cpu(*places) == GroupCpu(cores=1.5, used_seconds=2.5)
    assert group_tasks(*places) == GroupTasks(limit=100, used=90)


def test_version_1_in_a_container_whose_top_is_its_own_group(tmp_path: Path) -> None:
    places = tree(
        tmp_path,
        "3:cpu,cpuacct:/docker/1\n2:memory:/docker/1\n1:name=systemd:/docker/1\n0::/\n",
        memory___memory__limit_in_bytes="1000",
        memory___memory__usage_in_bytes="700",
        memory___memory__stat="inactive_file 1\ntotal_inactive_file 200",
        unified___cgroup__procs="1",
        **{
            "cpu,cpuacct___cpu__cfs_quota_us": "50000",
            "cpu,cpuacct___cpu__cfs_period_us": "100000",
            "cpu,cpuacct___cpuacct__usage": "3000000000",
        },
    )
    assert group_memory(*places) == GroupMemory(limit_bytes=1000, available_bytes=500)
    assert group_cpu(*places) == GroupCpu(cores=0.5, used_seconds=3.0)


def test_version_1_with_a_hierarchy_for_each_and_no_limit(tmp_path: Path) -> None:
    files = {
        "memory___memory__limit_in_bytes": "9223372036854771712",
        "memory___memory__usage_in_bytes": "700",
        "cpu___cpu__cfs_quota_us": "-1",
        "cpu___cpu__cfs_period_us": "100000",
    }
    places = tree(tmp_path, "2:memory:/\n1:cpu:/\n", **files)
    assert group_memory(*places) is None
    assert group_cpu(*places) is None
    (places[1] / "cpu/cpu.cfs_quota_us").write_text("200000\n")
    # cpuacct is mounted elsewhere
    assert group_cpu(*places) == GroupCpu(cores=2.0, used_seconds=None)


@pytest.mark.parametrize("used", ["", "much"])
def test_a_limit_whose_use_is_not_told_is_left_out(tmp_path: Path, used: str) -> None:
    assert group_memory(*tree(tmp_path, "0::/\n", memory__max="1000", memory__current=used)) is None


def test_more_in_use_than_allowed_leaves_nothing(tmp_path: Path) -> None:
    places = tree(tmp_path, "0::/\n", memory__max="1000", memory__current="1200")
    assert group_memory(*places) == GroupMemory(limit_bytes=1000, available_bytes=0)
