"""What is advised about a PostgreSQL server, from its settings and figures."""

from typing import Any

import msgspec
import pytest

from sessions.store.engine.examination import Backend, Blocked, ServerFacts
from supervisor.watch.diagnostics.postgresql import MIB, advice
from supervisor.watch.diagnostics.results import Severity

WELL = ServerFacts(
    version="17.2",
    latency_ms=0.4,
    settings={
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "max_connections": "100",
        "superuser_reserved_connections": "3",
        "autovacuum": "on",
    },
    connections=20,
    revision="0014",
    owner=None,
    server_seconds=0.0,
    at_seconds=0.0,
    memory_bytes={
        "shared_buffers": 128 * MIB,
        "work_mem": 4 * MIB,
        "maintenance_work_mem": 64 * MIB,
    },
    ours=10,
    blocks_cached=10_000_000,
    blocks_read=1_000,
    size_bytes=2**30,
)


def told(most_of_ours: int = 51, **changed: Any) -> list[tuple[Severity, str]]:
    facts = msgspec.structs.replace(WELL, **changed)
    return [(issue.severity, issue.description) for issue in advice("db", facts, most_of_ours)]


def settings(**changed: str) -> dict[str, str]:
    return WELL.settings | changed


def test_a_server_that_is_well_is_told_nothing() -> None:
    assert told() == []


@pytest.mark.parametrize(
    ("changed", "severity", "words"),
    [
        ({"settings": settings(fsync="off")}, Severity.HIGH, "fsync = off"),
        ({"settings": settings(autovacuum="off")}, Severity.LOW, "autovacuum = off"),
        ({"latency_ms": 80.0}, Severity.MEDIUM, "takes 80 ms"),
        ({"version": "12.4"}, Severity.LOW, "no corrections"),
        ({"connections": 93}, Severity.MEDIUM, "93 of 97 connections in use (83 are not wasup's)"),
        ({"most_of_ours": 88}, Severity.MEDIUM, "may want 88"),
        ({"blocks_read": 10_000_000}, Severity.LOW, "50.0% of what was read"),
        (
            {"memory_bytes": WELL.memory_bytes | {"work_mem": 128 * MIB}},
            Severity.LOW,
            "work_mem is 128 MiB, and each sort of each of 100 connections may take that: 12 GiB",
        ),
        (
            {"memory_bytes": WELL.memory_bytes | {"maintenance_work_mem": 16 * MIB}},
            Severity.LOW,
            "maintenance_work_mem is 16 MiB",
        ),
        (
            {"blocked": (Blocked(Backend(7, "wasup", 90.0), 9, "psql"),)},
            Severity.HIGH,
            "wasup (pid 7) has waited 1 min 30 s for a lock that psql (pid 9) holds",
        ),
        (
            {"idle": (Backend(9, "psql", 7200.0),)},
            Severity.MEDIUM,
            "A transaction of psql (pid 9) has done nothing for 2 h",
        ),
    ],
)
def test_each_trouble_is_told_once(changed: dict[str, Any], severity: Severity, words: str) -> None:
    ((how_grave, description),) = told(**changed)
    assert how_grave is severity
    assert words in description


def test_what_passes_is_not_told() -> None:
    assert told(blocked=(Blocked(Backend(7, "wasup", 0.2), 9, "psql"),)) == []
    assert told(blocks_cached=10, blocks_read=90) == [], "so few say nothing"
    assert told(blocks_read=10_000_000, size_bytes=64 * MIB) == [], "it was read once"
