"""Limits that a process really has, in words: who started it, what so many sessions need, and how
that one is told.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from supervisor.host.needs.process_limits import (
    MOST_DESCRIPTORS,
    UNLIMITED,
    Manager,
    StartedBy,
    assess,
    describe_limits,
    how_to_raise,
    judge_start,
)
from supervisor.host.reading.processes import OPEN_FILES, PROCESSES, ProcessLimit

SHELL = StartedBy(manager=Manager.SHELL)
NONE = ProcessLimit(soft=None, hard=None)


def some_limits(**changed: ProcessLimit) -> dict[str, ProcessLimit]:
    """Nothing is limited but what is said; names with underscores for blanks."""
    limits = dict.fromkeys((OPEN_FILES, PROCESSES, *UNLIMITED), NONE)
    return limits | {name.replace("_", " "): limit for name, limit in changed.items()}


# --- who has started it ---------------------------------------------------------------------------

V2 = "0::{}\n"
V1 = "12:pids:/user.slice\n1:name=systemd:{}\n0::/\n"


@pytest.mark.parametrize("groups", [V1, V2])
@pytest.mark.parametrize(
    ("variables", "path", "container", "manager", "unit"),
    [
        ({}, "/user.slice/user-1000.slice/session-3.scope", False, Manager.SHELL, None),
        (
            {"INVOCATION_ID": "x"},
            "/system.slice/wasup.service",
            False,
            Manager.SYSTEMD,
            "wasup.service",
        ),
        (
            {"SYSTEMD_EXEC_PID": "42"},
            "/system.slice/wasup.service",
            False,
            Manager.SYSTEMD,
            "wasup.service",
        ),
        # a terminal of a desktop inherits the id of the user's manager, and lives in a scope
        (
            {"INVOCATION_ID": "x"},
            "/user.slice/user@1000.service/app.slice/term.scope",
            False,
            Manager.SHELL,
            None,
        ),
        ({"pm_id": "0"}, "/user.slice/user-0.slice/session-1.scope", False, Manager.PM2, None),
        # `pm2 startup`: the daemon is a service, and hands its variables on
        (
            {"pm_id": "0", "INVOCATION_ID": "x"},
            "/system.slice/pm2-ana.service",
            False,
            Manager.PM2,
            "pm2-ana.service",
        ),
        ({}, "/docker/3f2a", False, Manager.DOCKER, None),
        ({}, "/system.slice/docker-3f2a.scope", False, Manager.DOCKER, None),
        ({}, "/kubepods/burstable/pod1/3f2a", False, Manager.DOCKER, None),
        # with a namespace of its own it sees itself at the root
        ({}, "/", True, Manager.DOCKER, None),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "/", False, Manager.DOCKER, None),
        # pm2 can hand on only what the container has
        ({"pm_id": "0"}, "/", True, Manager.DOCKER, None),
        # no container: Docker's own daemon
        ({}, "/system.slice/docker.service", False, Manager.SHELL, None),
    ],
)
def test_who_has_started_a_process(
    groups: str,
    variables: Mapping[str, str],
    path: str,
    container: bool,
    manager: Manager,
    unit: str | None,
) -> None:
    assert judge_start(42, variables, groups.format(path), container) == StartedBy(
        manager=manager, unit=unit
    )


# --- what is needed -------------------------------------------------------------------------------


def test_a_small_fleet_needs_little_and_a_large_one_more_than_the_seeds_number() -> None:
    wanted = [
        [finding.wanted for finding in assess(some_limits(), sessions, SHELL)]
        for sessions in (2, 30_000)
    ]
    assert wanted[0][0] is not None
    assert wanted[0][0] < 1024, "the usual limit of a shell is enough for two sessions"
    assert wanted[1][0] is not None
    assert wanted[1][0] > 90_000
    assert wanted[0][2:] == [None] * len(UNLIMITED)


def test_nothing_is_said_against_limits_that_are_enough() -> None:
    found = assess(some_limits(), 5_000, SHELL)
    assert [finding.name for finding in found] == [OPEN_FILES, PROCESSES, *UNLIMITED]
    assert all(finding.enough and not finding.remedy for finding in found)


@pytest.mark.parametrize("name", [OPEN_FILES, PROCESSES, *UNLIMITED])
@pytest.mark.parametrize("manager", list(Manager))
def test_a_limit_that_is_too_low_is_named_with_the_figures_and_a_way_out(
    name: str, manager: Manager
) -> None:
    low = ProcessLimit(soft=1000, hard=1000)
    found = assess(some_limits(**{name: low}), 500, StartedBy(manager=manager))
    (short,) = [finding for finding in found if not finding.enough]
    assert short.name == name
    assert "1,000" in short.words
    assert short.remedy
    assert "raises its own limit" not in short.remedy, "the hard one is too low, too"


@pytest.mark.parametrize(("soft", "enough"), [(317, False), (318, True), (None, True)])
def test_exactly_what_is_needed_is_enough(soft: int | None, enough: bool) -> None:
    found = assess(some_limits(**{OPEN_FILES: ProcessLimit(soft=soft, hard=soft)}), 10, SHELL)
    assert found[0].enough is enough


def test_a_low_soft_limit_below_a_high_hard_one_needs_a_restart_only() -> None:
    found, *_ = assess(
        some_limits(**{OPEN_FILES: ProcessLimit(soft=1024, hard=524_288)}), 1_000, SHELL
    )
    assert not found.enough
    assert "Restart" in found.remedy
    assert "524,288" in found.remedy


def test_the_number_of_processes_is_not_counted_for_root() -> None:
    low = some_limits(**{PROCESSES: ProcessLimit(soft=100, hard=100)})
    assert not all(finding.enough for finding in assess(low, 50, SHELL))
    as_root = assess(low, 50, SHELL, runs_as_root=True)
    assert all(finding.enough for finding in as_root)
    assert "root" in as_root[1].words


def test_limits_that_a_kernel_does_not_tell_are_left_out() -> None:
    assert assess({OPEN_FILES: NONE}, 10, SHELL)[0].enough
    assert len(assess({OPEN_FILES: NONE}, 10, SHELL)) == 1


@pytest.mark.parametrize(
    ("started", "told"),
    [
        (
            StartedBy(manager=Manager.SYSTEMD, unit="numbers.service"),
            "systemctl edit numbers.service",
        ),
        (StartedBy(manager=Manager.SYSTEMD), "LimitNOFILE=70000"),
        (StartedBy(manager=Manager.PM2), "ulimit -n 70000"),
        (StartedBy(manager=Manager.PM2, unit="pm2-ana.service"), "systemctl edit pm2-ana.service"),
        (StartedBy(manager=Manager.DOCKER), "--ulimit nofile=70000:70000"),
        (StartedBy(manager=Manager.SHELL), "ulimit -n 70000"),
    ],
)
def test_the_way_out_is_that_of_whoever_started_it(started: StartedBy, told: str) -> None:
    assert told in how_to_raise(OPEN_FILES, 70_000, started)


@pytest.mark.parametrize("name", list(UNLIMITED))
def test_unlimited_is_written_as_each_of_them_reads_it(name: str) -> None:
    assert "=infinity" in how_to_raise(name, None, StartedBy(manager=Manager.SYSTEMD))
    assert " unlimited`" in how_to_raise(name, None, SHELL)


@pytest.mark.parametrize("name", [OPEN_FILES, PROCESSES, *UNLIMITED])
def test_the_letters_of_ulimit_are_those_that_the_shell_knows(name: str) -> None:
    told = how_to_raise(name, 77, SHELL)
    command = told.split("`")[1].replace("77", "")  # without a value it only shows the limit
    shown = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert shown.stdout.strip()


# --- real processes -------------------------------------------------------------------------------


def test_a_process_is_described_by_what_it_really_has() -> None:
    """`/proc` against what the process was given."""
    hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 300)
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        stdin=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard)),
    )
    try:
        described = describe_limits(child.pid, sessions=5)
        found = {finding.name: finding for finding in described.findings}
        assert (found[OPEN_FILES].soft, found[OPEN_FILES].hard) == (200, hard)
        assert not described.enough
    finally:
        child.communicate(b"\n")
    with pytest.raises(ProcessLookupError):
        describe_limits(child.pid, sessions=5)


def test_the_variables_that_count_are_the_processes_own_not_ours() -> None:
    described = []
    for variables in ({}, {"pm_id": "3"}):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        child = subprocess.Popen([sys.executable, "-c", "input('up\\n')"], env=variables, **pipes)
        try:
            assert child.stdout is not None
            # until then the kernel may still show our own variables, or none
            child.stdout.readline()
            described.append(describe_limits(child.pid, sessions=5).started_by)
        finally:
            child.communicate(b"\n")
    if described[0].manager is Manager.DOCKER:
        assert described[1] == described[0], "in a container that is what counts, pm2 or not"
    else:
        assert described[1].manager is Manager.PM2


RAISE = """
import resource, subprocess, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
{more}
from supervisor.host.needs.process_limits import raise_soft_descriptors
raised = raise_soft_descriptors()
now = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
child = subprocess.run(["sh", "-c", "ulimit -Sn"], capture_output=True, text=True).stdout.strip()
print(raised.before, raised.after, now, child, raised.problem)
"""


def raise_in_a_child(soft: int, hard: int, more: str = "") -> list[str]:
    code = RAISE.format(soft=soft, hard=hard, more=more)
    root = Path(__file__).resolve().parents[4]
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    return ended.stdout.split(maxsplit=4)


def test_the_soft_limit_is_raised_to_the_hard_one_and_children_inherit_it() -> None:
    assert raise_in_a_child(256, 2000) == ["256", "2000", "2000", "2000", "None\n"]


def test_what_is_raised_already_stays() -> None:
    assert raise_in_a_child(1500, 1500)[:3] == ["1500", "1500", "1500"]


def test_a_limit_that_the_kernel_does_not_raise_stays_and_is_told() -> None:
    refuse = (
        "def refuse(kind, limits):\n    raise ValueError('not allowed to raise maximum"
        " limit')\nresource.setrlimit = refuse"
    )
    before, after, now, _, problem = raise_in_a_child(256, 2000, refuse)
    assert (before, after, now) == ("256", "256", "256")
    assert "2000" in problem
    assert "not allowed" in problem


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        ((1024, 1_073_741_816), MOST_DESCRIPTORS),  # what containerd gives
        ((1024, resource.RLIM_INFINITY), MOST_DESCRIPTORS),
        ((2_000_000, 1_073_741_816), None),  # more already: never lowered
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None),
        ((1024, 1024), None),
    ],
)
def test_it_is_raised_no_further_than_anybody_needs_and_never_lowered(
    before: tuple[int, int], wanted: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supervisor.host.needs import process_limits

    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(process_limits.resource, "getrlimit", lambda _: before)
    monkeypatch.setattr(
        process_limits.resource, "setrlimit", lambda _, limits: asked.append(limits)
    )
    raised = process_limits.raise_soft_descriptors()
    assert asked == ([] if wanted is None else [(wanted, before[1])])
    assert raised.after == (before[0] if wanted is None else wanted)


def test_our_own_limits_are_those_that_the_kernel_tells_us() -> None:
    found = {finding.name: finding for finding in describe_limits(os.getpid(), sessions=1).findings}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    expected = [None if value == resource.RLIM_INFINITY else value for value in (soft, hard)]
    assert [found[OPEN_FILES].soft, found[OPEN_FILES].hard] == expected
