"""The supervisor that runs, or should: whether it answers, what it says of itself, whether its
memory leaks, and whether one could start here.
"""

import asyncio
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sessions.model import StoreError
from supervisor.host.needs.session_costs import MIB
from supervisor.watch.diagnostics.doctor import NotChecked, Subject, asked_of_the_running
from supervisor.watch.diagnostics.results import Issue, Severity
from supervisor.watch.memory_growth import Growth, MemoryGrowth

SLOW_SECONDS: Final = 2.0
"""For an answer that comes from memory."""
SHOWN: Final = 10
_RESTART: Final = "pm2 restart wasup || sudo systemctl restart wasup"
_ELSEWHERE: Final = frozenset(
    {
        "cpu",
        "memory",
        "load",
        "descriptors",
        "supervisor_descriptors",
        "websockets",
        "disk_space",
        "disk_inodes",
        "disk_silent",
        "store",
        "outage",
    }
)
"""Alerts about what other checks look at themselves."""


async def check_supervisor(subject: Subject) -> Iterable[Issue]:
    """Whether one runs and answers, its store and tasks, its alerts, and who waits for a human."""
    if subject.within:
        return []
    if subject.ask is not None:
        return await _answers(subject)
    if subject.supervisor is not None:
        return [
            _issue(
                Severity.HIGH,
                f"The supervisor (pid {subject.supervisor}) runs, and no API of it can be asked.",
                "If it is not just starting, it hangs: see its log, then restart it.",
                f"ps -o pid,stat,etime,wchan:20,args -p {subject.supervisor}",
                "pm2 logs wasup --lines 50 || journalctl -u wasup -n 50",
            )
        ]
    return [*_port(subject), *await _none_runs(subject)]


async def check_growth(subject: Subject) -> Iterable[Issue]:
    """Whether the supervisor's memory leaks, or a worker's: measured by the supervisor alone."""
    if subject.growth is not None:
        return leaks(subject.growth())
    if subject.ask is not None:
        return await asked_of_the_running(subject.ask, "growth")
    if subject.supervisor is not None:
        raise NotChecked("the supervisor that runs cannot be asked")
    return []  # where nothing runs, nothing grows


def leaks(seen: MemoryGrowth) -> list[Issue]:
    """What leaks, as issues: the supervisor, and all workers as one. Pure."""
    found = []
    if seen.supervisor is not None and seen.supervisor.leaks:
        found.append(
            Issue(
                "resource",
                Severity.MEDIUM,
                f"The supervisor's memory leaks: {_grows(seen.supervisor)}.",
                "Restart it, which costs no login; report it with these figures.",
                ("memory", "supervisor"),
                (_RESTART, "wasup --version"),
            )
        )
    if seen.workers:
        sessions = [one.session for one in seen.workers]
        named = " ".join(sessions)
        each = "; ".join(f"{one.session}: {_grows(one.growth)}" for one in seen.workers)
        found.append(
            Issue(
                "resource",
                Severity.MEDIUM,
                f"The memory of {len(sessions)} worker{'' if len(sessions) == 1 else 's'}"
                f" leak{'s' if len(sessions) == 1 else ''}: {each}.",
                "Give each a new one, which costs its number a login, in a quiet hour; report it"
                " with these figures.",
                ("memory", *sessions),
                (f"wasup sessions stop {named} && wasup sessions start {named}",),
            )
        )
    return found


def _grows(growth: Growth) -> str:
    return (
        f"{growth.memory_bytes / MIB:,.0f} MiB, and {growth.bytes_per_hour / MIB:,.1f} MiB more"
        f" each hour, for {growth.hours:g} hours"
    )


async def _answers(subject: Subject) -> list[Issue]:
    assert subject.ask is not None, "asked for by its caller"
    began = time.monotonic()
    try:
        ready, seen = await asyncio.gather(
            subject.ask("/readyz"), subject.ask("/reconnection-status")
        )
    except NotChecked:
        raise
    except Exception as error:  # whatever it is: that it does not answer is the finding
        return [
            _issue(
                Severity.CRITICAL,
                f"The supervisor that runs does not answer as it should: {error}",
                "See its log; if it hangs, restart it: the workers live on.",
                f"ps -o pid,stat,etime,wchan:20,args -p {subject.supervisor}",
                "pm2 logs wasup --lines 50 || journalctl -u wasup -n 50",
            )
        ]
    found = list(of_status(ready, seen))
    took_seconds = time.monotonic() - began
    if took_seconds > SLOW_SECONDS:
        found.append(
            _issue(
                Severity.MEDIUM,
                f"The supervisor took {took_seconds:.1f} s to answer two calls.",
                "See what keeps the machine, or the supervisor, busy.",
                "top -b -n 1 | head -20",
                "wasup capacity",
            )
        )
    return found


def of_status(ready: Mapping[str, Any], seen: Mapping[str, Any]) -> Iterator[Issue]:
    """What `/readyz` and `/reconnection-status` say, as issues. Pure."""
    store = seen["store"]
    if store["state"] != "ok":
        yield _issue(
            Severity.CRITICAL if store["state"] == "failing" else Severity.HIGH,
            f"The supervisor's store is {store['state']}: {store['words']}",
            "Mend what keeps it from writing: the numbers stay open meanwhile.",
            "wasup status",
            "wasup doctor --check disks --check database",
        )
    for task, state in ready["tasks"].items():
        if state != "ok":
            yield _issue(
                Severity.HIGH,
                f"The supervisor's task {task} is {state}.",
                "Restart the supervisor, which costs no login; report the log.",
                "grep task_ data/logs/supervisor.log",
                _RESTART,
            )
    humans = [
        name
        for name, one in seen["sessions"].items()
        if not one["humanAction"].startswith("Nothing")
    ]
    if humans:
        named = ", ".join(humans[:SHOWN]) + (" ..." if len(humans) > SHOWN else "")
        yield _issue(
            Severity.HIGH,
            f"{len(humans)} session{'' if len(humans) == 1 else 's'} wait"
            f"{'s' if len(humans) == 1 else ''} for a human: {named}.",
            "Do what stands beside each of them.",
            "wasup sessions list --for-me",
            f"wasup explain {humans[0]}",
        )
    for hold in seen["gate"]["holds"]:
        yield _issue(
            Severity.MEDIUM,
            f"An outage is under way. {hold['words']}",
            "Mend what is yours, then wait; do not restart.",
            "wasup status",
        )
    alerts = [alert for alert in seen["alerts"] if alert["name"] not in _ELSEWHERE]
    for alert in alerts[:SHOWN]:
        of = f"{alert['session']}: " if alert["session"] else ""
        yield _issue(
            Severity.HIGH if alert["severity"] == "critical" else Severity.LOW,
            f"Alert {alert['name']}: {of}{alert['message']}.",
            "docs/runbooks.md says under its name what is to be done about it.",
            "wasup alerts list",
        )


def _port(subject: Subject) -> Iterator[Issue]:
    """Whether the API could listen."""
    host, port = subject.settings.api_host, subject.settings.api_port
    if not port:
        return
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[:1]:
            with socket.socket(family, kind, protocol) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(address)
    except OSError as error:
        yield _issue(
            Severity.CRITICAL,
            f"The API cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}.",
            "End what listens there, or set WHATSAPP_API_HOST or WHATSAPP_API_PORT to another.",
            f"ss -ltnp 'sport = :{port}'",
            f"fuser -v {port}/tcp",
        )


async def _none_runs(subject: Subject) -> list[Issue]:
    wanted = 0
    if subject.store is not None:
        try:
            wanted = sum(row.wanted for row in await subject.store.sessions())
        except StoreError:
            wanted = 0  # told by the check of the database
    return [
        _issue(
            Severity.HIGH if wanted else Severity.LOW,
            f"No supervisor runs on {subject.directory}"
            + (f", and {wanted} sessions should be open." if wanted else "."),
            "Start it.",
            "wasup run",
            "pm2 start ecosystem.config.js || sudo systemctl start wasup",
        )
    ]


def _issue(severity: Severity, description: str, solution: str, *commands: str) -> Issue:
    return Issue("connection", severity, description, solution, ("supervisor",), commands)
