"""The doctor: what is found is told by weight and by cause, and a check that fails or hangs stops
none of the others.
"""

import asyncio
import dataclasses
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scripts.lab.processes import ROOT
from sessions.model import StoreUnavailable
from supervisor.alerts.judging.thresholds import Thresholds
from supervisor.cli.common import client
from supervisor.cli.watch_commands import doctor
from supervisor.cli.watch_commands.doctor import shown
from supervisor.process import lock
from supervisor.process.daemon_threads import in_thread
from supervisor.settings import Settings
from supervisor.watch.diagnostics import checks
from supervisor.watch.diagnostics.checks import (
    CHECKS,
    NAMES,
    Diagnostics,
    chosen,
    from_outside,
    unknown,
)
from supervisor.watch.diagnostics.doctor import (
    Check,
    NotChecked,
    Subject,
    concluded,
    examine,
)
from supervisor.watch.diagnostics.production import PRODUCTION_CHECKS
from supervisor.watch.diagnostics.resources import resource_usage
from supervisor.watch.diagnostics.results import Issue, Severity, result_of
from tests.host_tools import connections, host, reading


def issue(severity: Severity, words: str = "it is wrong", solution: str = "mend it") -> Issue:
    return Issue("resource", severity, words, solution, ("disk",), ("df -h", "ls -l"))


@pytest.fixture
def subject(bare_environment: Path) -> Subject:
    async def never() -> None:
        raise AssertionError("not asked here")

    return Subject(
        settings=Settings(data_dir=bare_environment),
        directory=bare_environment,
        host=never,  # type: ignore[arg-type]
    )


def check(name: str, *found: Issue) -> Check:
    async def look(subject: Subject) -> Iterable[Issue]:
        return found

    return Check(name, f"the {name}", "resource", look)


def failing(name: str, error: Exception) -> Check:
    async def look(subject: Subject) -> Iterable[Issue]:
        raise error

    return Check(name, f"the {name}", "connection", look)


async def hang(subject: Subject) -> Iterable[Issue]:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody ends that")


def test_the_gravest_comes_first_and_among_equals_the_cause_before_its_effect() -> None:
    cause, effect = issue(Severity.HIGH, "the disk"), issue(Severity.HIGH, "the database")
    found = result_of([issue(Severity.LOW), cause, issue(Severity.CRITICAL), effect], 12.34)
    assert [one.severity for one in found.issues] == ["critical", "high", "high", "low"]
    assert found.issues[1:3] == (cause, effect)
    assert not found.success
    assert found.recommendations == ("mend it",), "each is said once"
    assert (found.metrics.error_count, found.metrics.response_time_ms) == (3, 12.3)


def test_advice_alone_needs_nobody() -> None:
    assert result_of([issue(Severity.LOW)], 0.0).success
    assert not result_of([issue(Severity.MEDIUM)], 0.0).success


def test_the_result_has_the_names_of_the_interface() -> None:
    limits = Thresholds().of_host(2, 0)
    usage = resource_usage(
        reading(
            host=host(
                used_memory_bytes=250, cpu_fraction=0.5, load_1=1.5, tcp_resent_fraction=0.01
            ),
            connections=connections(50),
        ),
        limits,
        12.0,
    )
    shape = msgspec.to_builtins(result_of([issue(Severity.HIGH)], 1.0, usage))
    assert set(shape) == {"success", "issues", "recommendations", "metrics"}
    assert set(shape["issues"][0]) == {
        *("type", "severity", "description", "solution", "affectedComponents", "commands")
    }
    assert set(shape["metrics"]) == {"responseTimeMs", "resourceUsage", "errorCount"}
    assert shape["metrics"]["resourceUsage"] == {
        "memory": {"usedBytes": 250, "availableBytes": 750, "percent": 25.0},
        "cpu": {"percent": 50.0, "loadAverage": (1.5, 0.0, 0.0)},
        "connections": {"active": 50, "maxAllowed": 500, "percent": 10.0},
        "network": {
            "bandwidthBytesPerSecond": 0.0,
            "latencyMs": 12.0,
            "packetLossPercent": 1.0,
        },
    }


async def test_one_that_fails_hangs_or_cannot_look_stops_none_of_the_others(
    subject: Subject,
) -> None:
    told: list[str] = []
    checks = [
        failing("a", ValueError("no such figure")),
        Check("b", "what hangs", "resource", hang),
        failing("c", NotChecked("it is another user's")),
        failing("d", StoreUnavailable("the store is away")),
        check("e", issue(Severity.MEDIUM)),
        check("f"),
    ]
    found = await examine(subject, checks, lambda one: told.append(one.name), seconds=0.2)
    assert [one.name for one in found] == ["a", "b", "c", "d", "e", "f"]
    assert [one.state for one in found] == ["found", "found", "skipped", "skipped", "found", "ok"]
    assert sorted(told) == ["a", "b", "c", "d", "e", "f"]
    assert told[-1] == "b", "each is told as it ends"
    assert "ValueError: no such figure" in found[0].issues[0].description
    assert "did not end within 0.2 s" in found[1].issues[0].description
    assert found[1].issues[0].commands[0] == "wasup doctor --check b"
    assert found[2].words == "it is another user's"


async def test_whoever_measures_is_alone(subject: Subject) -> None:
    under_way: list[str] = []
    seen: dict[str, list[str]] = {}

    def measuring(name: str, alone: bool) -> Check:
        async def look(subject: Subject) -> Iterable[Issue]:
            under_way.append(name)
            await asyncio.sleep(0.01)
            seen[name] = sorted(under_way)
            under_way.remove(name)
            return ()

        return Check(name, name, "resource", look, alone)

    checks = [measuring("x", True), measuring("a", False), measuring("b", False)]
    found = await examine(subject, [*checks, measuring("y", True)])
    assert [one.name for one in found] == ["x", "a", "b", "y"], "told in the order of causes"
    assert seen == {"a": ["a", "b"], "b": ["b"], "x": ["x"], "y": ["y"]}


async def test_a_thread_that_hangs_keeps_nobody_from_ending() -> None:
    forever = threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await in_thread(forever.wait)
    forever.set()
    assert await in_thread(lambda: 7) == 7
    with pytest.raises(KeyError):
        await in_thread(lambda: {}["nothing"])


async def test_a_reading_that_hangs_keeps_no_later_diagnosis_from_being_made(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never() -> Any:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(checks, "COUNT_SECONDS", 0.05)
    diagnostics = Diagnostics(lambda: dataclasses.replace(subject, host=never, within=True))
    async with asyncio.timeout(10):
        for _ in range(2):
            found = await diagnostics.examination(["supervisor"])
            assert found.metrics.resource_usage is None


@pytest.mark.parametrize("hanging", ["holder", "store's file"])
async def test_a_data_directory_that_hangs_keeps_no_check_from_being_carried_out(
    bare_environment: Path, monkeypatch: pytest.MonkeyPatch, hanging: str
) -> None:
    """A file system over the network whose server is away: not even a signal ends who asks it."""
    back, waited, exists = threading.Event(), list[object](), Path.exists
    settings = Settings(data_dir=bare_environment)

    def hangs(path: Path) -> None:
        back.wait(10)
        waited.append(path)

    def hangs_there(path: Path) -> bool:
        if path.is_relative_to(bare_environment):
            hangs(path)
        return exists(path)

    if hanging == "holder":
        monkeypatch.setattr(lock, "holder", hangs)
        monkeypatch.setattr(client, "holder", hangs)
    else:
        monkeypatch.setattr(Path, "exists", hangs_there)
    monkeypatch.setattr(checks, "COUNT_SECONDS", 0.05)
    asked = await doctor._ask(settings)
    async with from_outside(settings, asked) as seen:
        (found,) = await examine(seen, [check("a")])
    assert not waited, "whoever hangs is left behind"
    back.set()
    assert (asked, seen.supervisor, seen.store) == (None, None, None)
    assert found.state == "ok"


def test_a_thread_that_ends_after_its_loop_says_nothing() -> None:
    """Between a look at the loop and the call, the loop may be closed: nobody waits any more."""
    ends, complaints = threading.Event(), list[object]()

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await in_thread(lambda: ends.wait(10))

    class Closing(asyncio.SelectorEventLoop):
        looks_open = True

        def is_closed(self) -> bool:
            return not self.looks_open and super().is_closed()

    loop = Closing()
    loop.run_until_complete(leave())
    (left,) = [one for one in threading.enumerate() if one.name == "may block"]
    loop.close()
    hook, threading.excepthook = threading.excepthook, complaints.append
    try:
        ends.set()
        left.join(10)
    finally:
        threading.excepthook = hook
        loop.looks_open = False
    assert complaints == []


def test_checks_are_chosen_by_name() -> None:
    assert [one.name for one in chosen(["disks", "settings"])] == ["settings", "disks"]
    assert chosen([]) == list(CHECKS)
    assert len(set(NAMES)) == len(NAMES)
    assert unknown(["disks", "disk"]) == ["disk"]
    assert [one.name for one in chosen(["log", "disks"], PRODUCTION_CHECKS)] == ["disks", "log"]
    assert (unknown(["log"]), unknown(["log"], PRODUCTION_CHECKS)) == (["log"], [])


async def test_people_are_told_what_to_do_with_commands_that_can_be_pasted(
    subject: Subject,
) -> None:
    command = "x" * 150
    grave = Issue("resource", Severity.CRITICAL, "word " * 40, "mend " * 40, (), (command,))
    skipped = failing("c", NotChecked("it is another user's"))
    found = concluded(await examine(subject, [check("a", grave), check("b"), skipped]), 0.5, None)
    lines = list(shown(found, width=80))
    assert lines[0] == "1 thing needs somebody. The first one is the most important."
    assert lines[2].startswith("1. CRITICAL: word word")
    assert f"     {command}" in lines, "a command is never broken"
    assert [line for line in lines if len(line) > 80] == [f"     {command}"]
    assert lines[-2:] == ["Nothing wrong with: b.", "Not checked: c: it is another user's."]


async def test_when_nothing_is_wrong_it_says_so(subject: Subject) -> None:
    assert next(shown(concluded(await examine(subject, [check("a")]), 0.5, None))) == (
        "Nothing is wrong."
    )
    advice = concluded(await examine(subject, [check("a", issue(Severity.LOW))]), 0.5, None)
    assert next(shown(advice)) == "Nothing is wrong; 1 piece of advice."


def test_the_page_has_every_check_in_the_order_of_causes() -> None:
    page = (ROOT / "docs/doctor.md").read_text(encoding="utf-8")
    table = page[page.index("## The checks") : page.index("## Before production")]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(NAMES)
