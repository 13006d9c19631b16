"""What is concluded from what was seen: ways to WhatsApp, what a supervisor says of itself, how
connections have ended, and the checklist before production.
"""

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from sessions.model import DIRECT, CloseReason
from sessions.records.incidents import Incident, RecordedClose
from supervisor.gate.way import Look
from supervisor.settings import Settings
from supervisor.watch.diagnostics.connections import (
    STAGES,
    ConnectionDiagnosticService,
    check_connections,
    closes_since,
    closures,
    handshake_failures,
)
from supervisor.watch.diagnostics.doctor import Checked, NotChecked, Subject
from supervisor.watch.diagnostics.installation import refused
from supervisor.watch.diagnostics.network import judged
from supervisor.watch.diagnostics.production import (
    CHECKLIST,
    PRODUCTION_CHECKS,
    checklist,
    errors_of,
    percentile_95,
)
from supervisor.watch.diagnostics.results import Issue, Severity
from supervisor.watch.diagnostics.running import check_growth, of_status
from supervisor.watch.memory_growth import Growth, MemoryGrowth, WorkerGrowth

NOW = 1_800_000_000.0
URL = "wss://web.whatsapp.com/ws/chat"
DAY = 86_400.0
MIB = 2**20


def close(at: float, reason: CloseReason, **more: Any) -> RecordedClose:
    return RecordedClose(at=at, reason=reason, **more)


def incident(session: str, *closes: RecordedClose) -> Incident:
    return Incident(session=session, began_at=closes[0].at, reason=closes[0].reason, closes=closes)


# --- ways -----------------------------------------------------------------------------------------


def test_a_way_that_is_open_says_nothing() -> None:
    look = Look("open", "", None, time.time(), time.time() + 90 * DAY)
    assert list(judged([(DIRECT, look)], {DIRECT: 3}, URL)) == []


def test_every_way_that_is_closed_is_told_with_what_goes_by_it() -> None:
    dead = Look("closed", "the proxy socks5://10.0.0.1:1080: refused", CloseReason.PROXY)
    away = Look("closed", "HTTP 503 at the upgrade", CloseReason.UNAVAILABLE)
    looks = [(DIRECT, away), ("socks5://10.0.0.1:1080", dead)]
    first, second = judged(looks, {DIRECT: 1, "socks5://10.0.0.1:1080": 12}, URL)
    assert "from this machine" in first.description
    assert "12 sessions go that way" in second.description
    assert "--proxy socks5://10.0.0.1:1080 https://web.whatsapp.com:443/" in second.commands[0]


def test_a_certificate_that_is_not_valid_yet_speaks_of_the_clock() -> None:
    words = "TLS with web.whatsapp.com:443: certificate is not yet valid"
    (found,) = judged([(DIRECT, Look("closed", words, CloseReason.TLS_UNTRUSTED))], {}, URL)
    assert "clock" in found.solution
    assert found.commands[0] == "date -u"


def test_a_certificate_about_to_end_and_a_clock_that_differs_are_told() -> None:
    now = time.time()
    look = Look("open", "", None, now - 7200, now + 3 * DAY)
    clock, certificate = judged([(DIRECT, look)], {}, URL)
    assert "2 hours ahead of web.whatsapp.com" in clock.description
    assert "ends in 3 days" in certificate.description


# --- the supervisor -------------------------------------------------------------------------------


def status(**more: Any) -> dict[str, Any]:
    return {
        "sessions": {},
        "gate": {"holds": []},
        "store": {"state": "ok", "words": ""},
        "alerts": [],
    } | more


def test_a_supervisor_that_is_well_says_nothing() -> None:
    assert list(of_status({"tasks": {"writer": "ok"}}, status())) == []


def test_what_a_supervisor_says_of_itself_is_told() -> None:
    alert = {"name": "phone_offline", "severity": "warning", "session": "a", "message": "x"}
    found = list(
        of_status(
            {"tasks": {"writer": "ended"}},
            status(
                store={"state": "failing", "words": "disk full"},
                sessions={
                    "a": {"humanAction": "Pair it."},
                    "b": {"humanAction": "Nothing: it comes back."},
                },
                gate={"holds": [{"words": "All are held."}]},
                alerts=[alert, alert | {"name": "cpu"}, alert | {"severity": "critical"}],
            ),
        )
    )
    assert [one.severity for one in found] == ["critical", "high", "high", "medium", "low", "high"]
    assert "wasup explain a" in found[2].commands
    assert not any("cpu" in one.description for one in found), "the machine's check says it"


def grows(leaks: bool) -> Growth:
    return Growth(
        memory_bytes=300 * MIB, bytes_per_hour=9 * MIB, hours=5.9, steadiness=0.95, leaks=leaks
    )


async def never() -> Any:
    raise AssertionError("not asked here")


async def test_memory_that_leaks_is_told_with_its_slope_and_by_the_supervisor_alone(
    bare_environment: Path,
) -> None:
    workers = [
        WorkerGrowth(session=one, pid=number, growth=grows(leaks=True))
        for number, one in enumerate(("fast", "slow"))
    ]
    outside = Subject(
        settings=Settings(data_dir=bare_environment), directory=bare_environment, host=never
    )

    def within(*seen: Any) -> Subject:
        return replace(outside, growth=lambda: MemoryGrowth(*seen))

    own, theirs = await check_growth(within(grows(leaks=True), workers))
    assert "leaks: 300 MiB, and 9.0 MiB more each hour, for 5.9 hours." in own.description
    assert "2 workers leak: fast: 300 MiB" in theirs.description
    assert theirs.commands == ("wasup sessions stop fast slow && wasup sessions start fast slow",)
    for nothing in (within(None, []), within(grows(leaks=False), []), outside):
        assert list(await check_growth(nothing)) == []

    async def ask(path: str) -> Any:
        assert path == "/diagnostics?check=growth"
        return {"issues": msgspec.to_builtins([theirs])}

    assert list(await check_growth(replace(outside, ask=ask))) == [theirs]
    with pytest.raises(NotChecked):
        await check_growth(replace(outside, supervisor=1))


# --- connections ----------------------------------------------------------------------------------


def test_handshakes_that_failed_are_told_by_stage_the_most_frequent_first() -> None:
    closes = closes_since(
        [
            incident("a", close(10.0, CloseReason.DNS), close(20.0, CloseReason.DNS)),
            incident("b", close(30.0, CloseReason.DNS, message="no name")),
            incident("b", close(31.0, CloseReason.ATTEMPT_TIMED_OUT)),
            incident("b", close(32.0, CloseReason.CONNECTION_LOST, was_open=True)),
            incident("b", close(33.0, CloseReason.REQUESTED)),
            incident("old", close(1.0, CloseReason.DNS)),
        ],
        since=5.0,
    )
    first, second = handshake_failures(closes)
    assert (first.stage, first.reason, first.count, first.sessions) == ("name", "dns", 3, 2)
    assert (first.last_at, first.message) == ("1970-01-01T00:00:30.000Z", "no name")
    assert second.stage == STAGES[CloseReason.ATTEMPT_TIMED_OUT] == "login"


def test_closes_that_have_something_in_common_are_a_pattern() -> None:
    lost = [("a", close(3600.0 + n, CloseReason.CONNECTION_LOST, was_open=True)) for n in range(9)]
    others = [
        ("b", close(9000.0, CloseReason.DEAF, was_open=True, was_stable=True)),
        ("c", close(9001.0, CloseReason.DEAF, was_open=True, was_stable=True)),
        ("c", close(9002.0, CloseReason.DNS)),
    ]
    found = closures([*lost, *others])
    assert (found.count, found.short_lived) == (11, 9)
    assert found.by_reason == {"connection_lost": 9, "deaf": 2}
    assert found.by_hour == {"01": 9, "02": 2}
    assert [words.split(" of the last day's 11 ")[1] for words in found.patterns] == [
        "closes are of one session, a.",
        "closes have one reason, connection_lost.",
        "closes fell into one hour, 01:00 UTC.",
        "connections closed before they were stable.",
    ]
    assert closures(lost[:5]).patterns == (), "five are no pattern"


@pytest.mark.parametrize(
    ("began_at", "over", "told"),
    [
        (NOW - 60, False, True),
        (NOW - DAY, True, False),
        (NOW - 20 * DAY, False, False),
        (NOW - 20 * DAY, True, False),
    ],
)
def test_a_version_is_refused_by_incidents_of_these_days_that_are_not_over(
    began_at: float, over: bool, told: bool
) -> None:
    """Of long ago, also as the only one, and what an upgrade has ended, call for none."""
    one = Incident(
        session="a",
        began_at=began_at,
        ended_at=began_at + 60 if over else None,
        ending="open" if over else None,
        reason=CloseReason.CLIENT_OUTDATED,
    )
    assert bool(refused([one], NOW)) is told


async def test_the_records_are_read_once_for_all_that_is_told_of_them(
    bare_environment: Path,
) -> None:
    reads = 0

    async def incidents(*_: object) -> list[Incident]:
        nonlocal reads
        reads += 1
        return [incident("a", close(time.time(), CloseReason.DNS))]

    subject = Subject(
        settings=Settings(data_dir=bare_environment),
        directory=bare_environment,
        host=never,
        store=SimpleNamespace(records=SimpleNamespace(incidents=incidents)),  # type: ignore[arg-type]
    )
    service = ConnectionDiagnosticService(subject)
    (failed,) = await service.analyze_handshake_failures()
    assert failed.reason == "dns"
    assert (await service.check_premature_closures()).count == 0
    await service.validate_websocket_config()
    assert reads == 1
    await check_connections(subject)
    assert reads == 2, "a later look reads what is on record then"


# --- production -----------------------------------------------------------------------------------


def test_the_checklist_is_the_guide_s_own_and_rests_on_checks_that_there_are() -> None:
    assert [item.words for item in CHECKLIST] == [
        "Instalar todas as dependências",
        "Configurar variáveis de ambiente",
        "Testar com múltiplos usuários",
        "Verificar recursos do servidor",
        "Configurar backup do banco",
        "Verificar uso de memória",
        "Monitorar conexões de banco",
        "Acompanhar tempo de resposta",
        "Verificar logs de erro",
    ]
    names = {check.name for check in PRODUCTION_CHECKS}
    assert [item for item in CHECKLIST if not set(item.checks) <= names] == []


def test_a_line_is_ok_or_not_or_for_a_human_to_check() -> None:
    wrong = Issue("resource", Severity.MEDIUM, "The disk is full.", "Make room.")
    busy = Issue("resource", Severity.MEDIUM, "Cpu is 100%.", "Look.", ("cpu",))
    advice = Issue("resource", Severity.LOW, "Advice.", "Think.")
    lines = checklist(
        [
            Checked("versions", "ok", "the versions", 1.0),
            Checked("settings", "found", "the settings", 1.0, (advice,)),
            Checked("permissions", "ok", "owners", 1.0),
            Checked("disks", "found", "the disks", 1.0, (wrong,)),
            Checked("machine", "found", "the machine", 1.0, (busy,)),
            Checked("backups", "skipped", "where they go is not known", 1.0),
        ]
    )
    verdicts = {line.item: line.verdict for line in lines}
    assert verdicts["Instalar todas as dependências"] == "ok"
    assert verdicts["Configurar variáveis de ambiente"] == "ok"
    assert verdicts["Verificar recursos do servidor"] == "not ok"
    assert verdicts["Verificar uso de memória"] == "ok", "the CPU is another line's"
    assert verdicts["Configurar backup do banco"] == "by hand"
    assert verdicts["Testar com múltiplos usuários"] == "by hand"
    by_hand = next(line for line in lines if line.item == "Configurar backup do banco")
    assert by_hand.words.startswith("where they go is not known. WHATSAPP_BACKUP_SCHEDULE")


def test_the_errors_of_the_last_day_are_counted_by_what_they_are_about(tmp_path: Path) -> None:
    log = tmp_path / "supervisor.log"
    lines = [
        '{"level": "error", "timestamp": "2026-01-02T10:00:00Z", "action": "store"}',
        '{"level": "error", "timestamp": "2026-01-02T10:00:01Z", "action": "store"}',
        '{"level": "error", "timestamp": "2025-12-01T10:00:01Z", "action": "old"}',
        '{"level": "info", "timestamp": "2026-01-02T10:00:01Z", "action": "ready"}',
        '{"level": "error", "timesta',
        "a line of somebody else's",
        '{"level": "error", "timestamp": 7}',
        "[1, 2]",
    ]
    log.write_text("\n".join(lines))
    assert errors_of(log, 1_767_312_000.0) == {"store": 2}


def test_the_95th_of_a_hundred() -> None:
    assert percentile_95([float(n) for n in range(1, 101)]) == 95.0
    assert percentile_95([7.0]) == 7.0
