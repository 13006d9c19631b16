"""The checklist before production, and of what is watched for ever after: each line checked, or
said to be for a human to check.

The lines are those of the guide that wasup follows here, in its words and in English.
"""

import asyncio
import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from sessions.views.times import wall_seconds
from supervisor.process.daemon_threads import in_thread
from supervisor.watch.diagnostics.checks import CHECKS
from supervisor.watch.diagnostics.doctor import Check, Checked, NotChecked, Subject
from supervisor.watch.diagnostics.results import Issue, Severity

USERS: Final = 200
"""Simultaneous ones that the guide guarantees."""
ANSWER_MS: Final = 500.0
"""Within which it wants them answered: 95 of 100."""
LOG_BYTES: Final = 4 * 2**20
"""Of the log's end, that are read."""
LOG_SECONDS: Final = 24 * 3600.0
SHOWN: Final = 5

BEFORE: Final = "Antes de Deployar (before the deployment)"
AFTER: Final = "Monitoramento Contínuo (for ever after)"

Verdict = Literal["ok", "not ok", "by hand"]


@dataclass(frozen=True, slots=True)
class Item:
    """A line of the checklist: its words, what it rests on, and how it is done by hand."""

    phase: str
    words: str
    english: str
    checks: tuple[str, ...]
    by_hand: str
    about: str | None = None
    """Only issues that affect this."""


class Line(msgspec.Struct, frozen=True, rename="camel"):
    """A line of the checklist, checked. `words`: on what the verdict rests, or what is to be done
    by hand.
    """

    phase: str
    item: str
    english: str
    verdict: Verdict
    words: str


CHECKLIST: Final = (
    Item(
        BEFORE,
        "Instalar todas as dependências",
        "all dependencies are installed",
        ("versions",),
        "make setup-run",
    ),
    Item(
        BEFORE,
        "Configurar variáveis de ambiente",
        "the environment's variables are set",
        ("settings", "permissions"),
        "wasup doctor --check settings",
    ),
    Item(
        BEFORE,
        "Testar com múltiplos usuários",
        f"{USERS} users at once are answered within {ANSWER_MS:g} ms",
        ("users",),
        "start the supervisor, then: wasup doctor --production",
    ),
    Item(
        BEFORE,
        "Verificar recursos do servidor",
        "the machine has what the fleet needs",
        ("limits", "disks", "clock", "machine"),
        "wasup capacity",
    ),
    Item(
        BEFORE,
        "Configurar backup do banco",
        "the database is copied regularly",
        ("backups",),
        "WHATSAPP_BACKUP_SCHEDULE and WHATSAPP_BACKUP_DIR, on another disk (docs/upkeep.md)",
    ),
    Item(
        AFTER,
        "Verificar uso de memória",
        "memory is watched, and is enough",
        ("growth", "machine"),
        "free -m; wasup capacity",
        about="memory",
    ),
    Item(
        AFTER,
        "Monitorar conexões de banco",
        "the database answers, and has connections left",
        ("database",),
        "wasup doctor --check database",
    ),
    Item(
        AFTER,
        "Acompanhar tempo de resposta",
        "the supervisor answers in time",
        ("supervisor", "users"),
        "start the supervisor, then: wasup status",
    ),
    Item(
        AFTER,
        "Verificar logs de erro",
        "the log of the last day has no errors",
        ("log",),
        "pm2 logs wasup --err --lines 100; journalctl -u wasup -p err -S -24h",
    ),
)


async def check_users(subject: Subject) -> Iterable[Issue]:
    """As many callers at once as the guide has users, each with one call of a list."""
    ask = subject.ask
    if ask is None:
        raise NotChecked("no supervisor runs that could be asked")

    async def one() -> float | Exception:
        began = time.monotonic()
        try:
            await ask("/sessions?limit=20")
        except Exception as error:  # a refusal is what is looked for here
            return error
        return (time.monotonic() - began) * 1000

    answers = await asyncio.gather(*(one() for _ in range(USERS)))
    laps = sorted(one for one in answers if isinstance(one, float))
    refused = [one for one in answers if isinstance(one, Exception)]
    if refused:
        return [
            _issue(
                Severity.HIGH,
                f"Of {USERS} callers at once {len(refused)} were not answered: {refused[0]}",
                "Raise WHATSAPP_API_CONNECTIONS, or see what keeps the supervisor busy.",
                "wasup status",
            )
        ]
    p95 = percentile_95(laps)
    if p95 > ANSWER_MS:
        return [
            _issue(
                Severity.MEDIUM,
                f"Of {USERS} callers at once 95 of 100 were answered within {p95:.0f} ms; it should"
                f" be {ANSWER_MS:g} ms.",
                "See what keeps the machine busy; run it again when it is quiet.",
                "top -b -n 1 | head -20",
                "wasup capacity",
            )
        ]
    return []


async def check_log(subject: Subject) -> Iterable[Issue]:
    """Errors that the supervisor has logged in the last day."""
    log = subject.logs
    if log is None:
        raise NotChecked("the log is no file that is known here")
    counts = await in_thread(lambda: errors_of(log, time.time() - LOG_SECONDS))
    if not counts:
        return []
    most = ", ".join(f"{name} {count}" for name, count in counts.most_common(SHOWN))
    return [
        _issue(
            Severity.MEDIUM,
            f"{log} has {counts.total()} errors of the last day: {most}.",
            "Read them: each says what it is about.",
            f"grep -E '\"level\": ?\"(error|critical)\"' '{log}' | tail -20",
        )
    ]


PRODUCTION_CHECKS: Final = (
    *CHECKS,
    Check("users", f"{USERS} users at once", "connection", check_users, alone=True),
    Check("log", "the log of the last day", "configuration", check_log),
)


def checklist(checked: Sequence[Checked]) -> list[Line]:
    """The checklist, from what the checks have found. Pure."""
    by_name = {one.name: one for one in checked}
    return [_line(item, by_name) for item in CHECKLIST]


def percentile_95(sorted_values: Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed."""
    return sorted_values[max(0, math.ceil(0.95 * len(sorted_values)) - 1)]


def errors_of(log: Path, since: float) -> Counter[str]:
    """How often each action was logged as an error since then, in the log's last part.

    Raises OSError.
    """
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_BYTES), os.SEEK_SET)
        lines = file.read(LOG_BYTES).splitlines()
    found = Counter[str]()
    for line in lines:
        try:
            entry = msgspec.json.decode(line)
            level, at = entry["level"], wall_seconds(str(entry["timestamp"]))
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, OverflowError):
            continue  # a line that was cut, or that somebody else wrote
        if level in {"error", "critical"} and at >= since:
            found[str(entry.get("action", entry.get("event", "?")))] += 1
    return found


def _line(item: Item, by_name: Mapping[str, Checked]) -> Line:
    rest = [by_name[name] for name in item.checks if name in by_name]
    wrong = [
        issue
        for one in rest
        for issue in one.issues
        if issue.wants_somebody and (item.about is None or item.about in issue.affected_components)
    ]
    skipped = [one for one in rest if one.state == "skipped"]
    if wrong:
        verdict, words = "not ok", " ".join(issue.description for issue in wrong)
    elif skipped or not rest:
        why = "; ".join(one.words for one in skipped) or "it was not looked at"
        verdict, words = "by hand", f"{why}. {item.by_hand}"
    else:
        verdict, words = "ok", f"looked at: {', '.join(one.name for one in rest)}"
    return Line(item.phase, item.words, item.english, verdict, words)  # type: ignore[arg-type]


def _issue(severity: Severity, description: str, solution: str, *commands: str) -> Issue:
    return Issue("connection", severity, description, solution, ("supervisor",), commands)
