"""What the host has, against what its own tools say, and from made-up trees."""

import math
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.host.needs.facts import read_facts
from supervisor.host.needs.requirements import TABLE, Kind


def test_each_row_is_read_or_its_absence_explained() -> None:
    facts = read_facts()
    for row in TABLE:
        assert (row.name in facts.values) != (row.name in facts.missing), row.name
        assert facts.missing.get(row.name) != ""


@pytest.mark.skipif(shutil.which("sysctl") is None, reason="no sysctl here")
def test_kernel_values_are_those_that_sysctl_shows() -> None:
    facts = read_facts()
    for row in TABLE:
        if row.kind is Kind.SYSCTL and row.name in facts.values:
            shown = subprocess.run(
                ["sysctl", "-n", row.name], capture_output=True, text=True, check=True
            ).stdout
            assert facts.values[row.name].text == " ".join(shown.split())


def test_limits_are_those_that_ulimit_shows() -> None:
    facts = read_facts()
    for name, flag in (("nofile_soft", "-Sn"), ("nofile_hard", "-Hn")):
        assert (
            facts.values[name].text
            == subprocess.check_output(["sh", "-c", f"ulimit {flag}"], text=True).strip()
        )
    assert facts.values["nproc_soft"].value in (
        resource.getrlimit(resource.RLIMIT_NPROC)[0],
        math.inf,
    )


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    place = tmp_path / "proc"
    (place / "self").mkdir(parents=True)
    (place / "sys/net/core").mkdir(parents=True)
    (place / "self/status").write_text("Name:\tx\nCapBnd:\t0000000000000000\n")
    (place / "self/cgroup").write_text("0::/\n")
    (place / "meminfo").write_text(
        "MemTotal:  1024 kB\nSwapTotal: 100 kB\nSwapFree: 60 kB\nHugePages_Total: 0\n"
    )
    return place


def test_control_groups_v2_count_all_the_way_up(tmp_path: Path, proc: Path) -> None:
    (proc / "self/cgroup").write_text("0::/a/b\n")
    tree = tmp_path / "sys/fs/cgroup"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/pids.max").write_text("300\n")
    (tree / "a/b/pids.max").write_text("max\n")
    (tree / "a/b/memory.max").write_text("524288\n")
    (tree / "a/b/memory.current").write_text("4096\n")
    facts = read_facts(proc, tmp_path / "sys", tmp_path)
    assert facts.values["cgroup_pids"].value == 300
    assert facts.values["memory"].value == 524288, "less than the machine's"


def test_control_groups_v1_and_their_word_for_no_limit(tmp_path: Path, proc: Path) -> None:
    (proc / "self/cgroup").write_text("8:pids:/docker/1234\n4:memory:/docker/1234\n0::/\n")
    tree = tmp_path / "sys/fs/cgroup"
    for name in ("pids", "memory", "unified"):
        (tree / name).mkdir(parents=True)
    # the host's path is not there: the top is the container's own group
    (tree / "pids/pids.max").write_text("77\n")
    (tree / "memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    facts = read_facts(proc, tmp_path / "sys", tmp_path)
    assert facts.values["cgroup_pids"].value == 77
    assert facts.values["memory"].value == 1024 * 1024
    assert facts.container == "docker"


def test_what_cannot_be_read_or_understood_is_told_and_stops_nothing(
    tmp_path: Path, proc: Path
) -> None:
    (proc / "sys/net/core/somaxconn").write_text("many\n")
    (proc / "sys/net/core/netdev_max_backlog").mkdir()
    (proc / "meminfo").write_text("nonsense\n")
    facts = read_facts(proc, tmp_path / "sys", tmp_path)
    assert "cannot be understood" in facts.missing["net.core.somaxconn"]
    assert "cannot be read" in facts.missing["net.core.netdev_max_backlog"]
    assert "does not have it" in facts.missing["fs.nr_open"]
    assert "cannot be understood" in facts.missing["memory"]
    assert "nofile_soft" in facts.values
    assert not facts.may_raise_limits


def test_swap_huge_pages_and_systemd(tmp_path: Path, proc: Path) -> None:
    (tmp_path / "sys/kernel/mm/transparent_hugepage").mkdir(parents=True)
    (tmp_path / "sys/kernel/mm/transparent_hugepage/enabled").write_text("[always] madvise never\n")
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    (tmp_path / "run/systemd/container").write_text("systemd-nspawn\n")
    (proc / "sys/kernel").mkdir()
    (proc / "sys/kernel/pid_max").write_text("32768\n")
    facts = read_facts(proc, tmp_path / "sys", tmp_path)
    assert facts.values["swap_used"].value == 40
    assert facts.values["transparent_hugepages"].text == "always"
    assert facts.values["systemd_default_tasks"].value == 4915, (
        "15 % of 32,768, as systemctl show says"
    )
    assert facts.container == "systemd-nspawn"


@pytest.mark.parametrize(
    ("uid_map", "may"),
    [("         0          0 4294967295\n", True), ("0 100000 65536\n", False), ("0 0 1\n", False)],
)
def test_who_is_not_root_is_told_what_root_may_and_a_user_namespace_may_not(
    tmp_path: Path, proc: Path, uid_map: str, may: bool
) -> None:
    """setrlimit(2) asks for the capability in the machine's own user namespace, although CapEff is
    full in each.
    """
    (proc / "self/status").write_text("CapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\n")
    (proc / "self/uid_map").write_text(uid_map)
    assert read_facts(proc, tmp_path / "sys", tmp_path).may_raise_limits == may


def test_the_root_of_a_user_namespace_may_not_raise_limits() -> None:
    script = (
        "from supervisor.host.needs.facts import read_facts; print(read_facts().may_raise_limits)"
    )
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr:
        pytest.skip("no user namespaces here")
    assert done.stdout == "False\n", done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may have it")
def test_the_capability_is_the_one_that_counts() -> None:
    """Who has it may raise a hard limit; who has it not gets EPERM."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    raise_it = f"import resource; resource.setrlimit(resource.RLIMIT_NPROC, ({soft}, {hard} + 1))"
    done = subprocess.run(["python3", "-c", raise_it], capture_output=True, check=False)
    assert (done.returncode == 0) == read_facts().may_raise_limits
