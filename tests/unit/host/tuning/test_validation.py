"""The six validations: real connections, and every verdict both ways."""

import asyncio
import math
import os
import resource
import subprocess
import sys

import pytest

from supervisor.host.needs.facts import Fact, Facts, read_facts
from supervisor.host.numbers import whole
from supervisor.host.reading.readings import Host
from supervisor.host.tuning.success import success_text, successes
from supervisor.host.tuning.validation import (
    NETWORK_KEYS,
    TCP_KEYS,
    Opened,
    file_descriptors,
    many_connections,
    memory,
    open_connections,
    performance,
    settings,
    validate,
)

GIB = 1024**3


def facts(
    soft: float = 10_000, hard: float = 10_000, group: float = math.inf, **values: str
) -> Facts:
    found = {
        "nofile_soft": Fact(soft, str(soft)),
        "nofile_hard": Fact(hard, str(hard)),
        "cgroup_memory": Fact(group, "group"),
    }
    return Facts(
        values=found
        | {key.replace("__", "."): Fact(int(text), text) for key, text in values.items()}
    )


@pytest.mark.parametrize(("soft", "passed"), [(9_999, False), (10_000, True), (math.inf, True)])
def test_descriptors(soft: float, passed: bool) -> None:
    result = file_descriptors(facts(soft))
    assert (result.passed, bool(result.what_to_do)) == (passed, not passed)


def test_where_the_hard_limit_allows_it_the_shell_may_raise_it() -> None:
    assert "ulimit -n 10000" in file_descriptors(facts(1024, 524288)).what_to_do
    assert "ulimit -n" not in file_descriptors(facts(1024, 4096)).what_to_do


@pytest.mark.parametrize(("available", "passed"), [(2 * GIB, True), (2 * GIB - 1, False)])
def test_memory(available: int, passed: bool) -> None:
    assert memory(facts(group=4 * GIB), available).passed == passed


def test_kernel_values_pass_when_wanted_or_better_and_the_wrong_one_is_named() -> None:
    good = facts(
        net__ipv4__tcp_max_syn_backlog="8192",
        net__ipv4__tcp_keepalive_time="600",
        net__ipv4__tcp_fin_timeout="10",
    )
    assert settings("tcp", TCP_KEYS, good).passed
    bad = facts(
        net__ipv4__tcp_max_syn_backlog="8192",
        net__ipv4__tcp_keepalive_time="601",
        net__ipv4__tcp_fin_timeout="30",
    )
    result = settings("tcp", TCP_KEYS, bad)
    assert not result.passed
    assert "tcp_keepalive_time is 601" in result.what_to_do
    assert "fin_timeout" not in result.what_to_do


def test_a_value_that_only_the_containers_host_has_is_told_but_not_all_of_them() -> None:
    assert settings("network", NETWORK_KEYS, facts(net__core__somaxconn="8192")).passed
    assert not settings("network", NETWORK_KEYS, facts()).passed, (
        "what nobody can read has not passed"
    )


def loaded(cpu_fraction: float | None) -> Opened:
    return Opened(connections=500, seconds=1, cpu_fraction=cpu_fraction)


def test_cpu_at_rest() -> None:
    assert performance(0.799, 1.0, loaded(0.1)).passed
    assert not performance(0.8, 1.0, loaded(0.1)).passed


@pytest.mark.parametrize(("cpu", "passed"), [(0.699, True), (0.7, False), (None, False)])
def test_cpu_under_the_load_of_the_connections(cpu: float | None, passed: bool) -> None:
    result = performance(0.1, 1.0, loaded(cpu))
    assert (result.passed, bool(result.what_to_do)) == (passed, not passed)


async def test_the_connections_carry_traffic_while_the_cpu_is_measured() -> None:
    opened = await open_connections(20, load=Host(0), load_seconds=1.5)
    assert (opened.connections, opened.trouble) == (20, "")
    assert opened.cpu_fraction is not None
    assert opened.round_trips >= 20


def test_success_is_shown_before_after_and_here() -> None:
    opened = Opened(connections=500, seconds=1, cpu_fraction=0.123)
    text = success_text(
        successes(
            [
                file_descriptors(facts(65_536)),
                many_connections(500, opened),
                performance(0.1, 1.0, opened),
            ]
        )
    )
    for words in ("1,024", "65,536", "about 100", "more than 500", "below 70 %", "12.3 %"):
        assert words in text


def test_what_ended_the_connections_is_shown_as_insufficient_resources() -> None:
    opened = Opened(connections=90, seconds=1, trouble="Too many open files")
    rows = successes(
        [file_descriptors(facts()), many_connections(500, opened), performance(0.1, 1.0, opened)]
    )
    assert [row.here for row in rows] == ["10000", "90", "Too many open files", "unknown"]


async def test_the_seeds_number_of_connections_is_really_open_at_once_and_all_are_closed() -> None:
    wanted = min(whole("connections_test"), resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 50)
    before = len(os.listdir("/proc/self/fd"))
    opened = await open_connections(wanted)
    assert (opened.connections, opened.trouble) == (wanted, "")
    assert many_connections(wanted, opened).passed
    await asyncio.sleep(0)
    assert len(os.listdir("/proc/self/fd")) == before


def test_at_its_limit_it_says_why_and_leaves_nothing_open_nor_a_traceback() -> None:
    """In a process of its own, with a limit of 200."""
    script = """
import asyncio, os, resource
from supervisor.host.tuning.validation import many_connections, open_connections
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
asyncio.constants.ACCEPT_RETRY_DELAY = 0.05  # asyncio's own server tries again after a second, also when it is closed
async def main():
    before = len(os.listdir("/proc/self/fd"))
    opened = await open_connections(500)
    assert 0 < opened.connections < 100, opened
    assert "Too many open files" in opened.trouble, opened
    result = many_connections(500, opened)
    assert not result.passed and "1064 are needed" in result.what_to_do
    await asyncio.sleep(0.2)
    assert len(os.listdir("/proc/self/fd")) == before
asyncio.run(main(), debug=False)
print("all held")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "all held\n", done.stderr
    assert done.stderr == ""


def test_descriptors_are_blamed_only_for_what_they_did() -> None:
    result = many_connections(
        500, Opened(connections=0, seconds=0.1, trouble="Network is unreachable")
    )
    assert "loopback" in result.what_to_do
    assert "descriptor" not in result.what_to_do


async def test_a_time_that_is_over_is_told() -> None:
    opened = await open_connections(300, seconds=0)
    assert opened.connections < 300
    assert "not all were open" in opened.trouble


async def test_all_six_in_the_seeds_order() -> None:
    results = await validate(10, read_facts(), pause_seconds=0, load_seconds=0.1)
    names = ["file_descriptors", "memory", "tcp", "network", "connections", "performance"]
    assert [result.name for result in results] == names
    assert all(result.passed or result.what_to_do for result in results)
    assert results[4].measured["open"] == 10


def test_fewer_than_wanted_do_not_pass() -> None:
    assert not many_connections(500, Opened(connections=499, seconds=1)).passed
