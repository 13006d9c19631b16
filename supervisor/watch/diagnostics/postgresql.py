"""What a PostgreSQL server's settings and figures say: what is unsafe, what is short, who waits for
whom. Advice alone: a server has others than us, and nothing of it is ever changed.
"""

from collections.abc import Iterator
from typing import Final

from sessions.store.engine.examination import ServerFacts
from sessions.views.times import duration
from supervisor.watch.diagnostics.results import Issue, Severity

SLOW_MS: Final = 50.0
"""A round trip to the database; each message that comes in waits for some."""
OLDEST_SERVER: Final = 13
UNSAFE: Final = {"fsync": "off", "full_page_writes": "off"}
"""Settings with which a power cut loses pairings."""
FEW_LEFT: Final = 5
"""Connections."""
BLOCKED_SECONDS: Final = 5.0
"""Our transactions take milliseconds."""
LEAST_CACHED: Final = 0.99
"""Of the blocks that are asked for; of a store whose hot part is in memory it is more."""
ENOUGH_READS: Final = 100_000
"""Blocks; fewer say nothing."""
MIB: Final = 2**20
MAINTENANCE_BYTES: Final = 64 * MIB
"""With less, tidying up (VACUUM) goes through the indexes several times; it is the default."""
MOST_WORK_BYTES: Final = 64 * MIB
"""Of `work_mem`, which each sort of each connection may take."""
RELOAD: Final = "psql -c 'SELECT pg_reload_conf()'"


def advice(name: str, facts: ServerFacts, most_of_ours: int) -> Iterator[Issue]:
    """`most_of_ours`: connections that a supervisor may want."""
    for setting, value in UNSAFE.items():
        if facts.settings.get(setting) == value:
            yield _issue(
                Severity.HIGH,
                f"PostgreSQL runs with {setting} = {value}: a power cut can lose pairings, or the"
                " whole database.",
                "Set it to on.",
                f"psql -c 'ALTER SYSTEM SET {setting} = on' -c 'SELECT pg_reload_conf()'",
            )
    yield from _locks(facts)
    yield from _connections(facts, most_of_ours)
    if facts.latency_ms > SLOW_MS:
        yield _issue(
            Severity.MEDIUM,
            f"A round trip to {name} takes {facts.latency_ms:.0f} ms.",
            "Bring the database nearer, or see what keeps it busy.",
            "psql -c 'SELECT pid, state, left(query, 60) FROM pg_stat_activity'",
        )
    yield from _memory(facts)
    if facts.settings.get("autovacuum") == "off":
        yield _issue(
            Severity.LOW,
            "PostgreSQL runs with autovacuum = off: between the nights, in which wasup tidies its"
            " own tables (docs/upkeep.md), they grow.",
            "Set it to on, as it is by default.",
            "psql -c 'ALTER SYSTEM SET autovacuum = on'",
            RELOAD,
        )
    if int(facts.version.partition(".")[0]) < OLDEST_SERVER:
        yield _issue(
            Severity.LOW,
            f"PostgreSQL {facts.version} gets no corrections any more.",
            "Upgrade it.",
            "psql -c 'SELECT version()'",
        )


def _connections(facts: ServerFacts, most_of_ours: int) -> Iterator[Issue]:
    reserved = int(facts.settings.get("superuser_reserved_connections", "0"))
    most = int(facts.settings["max_connections"]) - reserved
    others = facts.connections - facts.ours
    if most - facts.connections >= FEW_LEFT and most - others >= most_of_ours:
        return
    yield _issue(
        Severity.MEDIUM,
        f"PostgreSQL has {facts.connections} of {most} connections in use ({others} are not"
        f" wasup's), and a supervisor may want {most_of_ours}.",
        "Raise max_connections and restart PostgreSQL, or let wasup want fewer"
        " (WHATSAPP_DATABASE_POOL_SIZE, WHATSAPP_DATABASE_MAX_OVERFLOW); see who has the others.",
        "psql -c 'SELECT application_name, usename, state, count(*) FROM pg_stat_activity GROUP BY"
        " 1, 2, 3 ORDER BY 4 DESC'",
        "psql -c 'ALTER SYSTEM SET max_connections = 200'",
        "sudo systemctl restart postgresql",
    )


def _locks(facts: ServerFacts) -> Iterator[Issue]:
    for one in facts.blocked:
        if one.waits.seconds >= BLOCKED_SECONDS:
            yield _issue(
                Severity.HIGH,
                f"A connection of {one.waits.name} (pid {one.waits.pid}) has waited"
                f" {duration(one.waits.seconds)} for a lock that {one.holder_name} (pid"
                f" {one.holder}) holds.",
                "See what that one does; end it if nobody needs it.",
                f"psql -c 'SELECT * FROM pg_stat_activity WHERE pid = {one.holder}'",
                f"psql -c 'SELECT pg_terminate_backend({one.holder})'",
            )
    for idle in facts.idle:
        yield _issue(
            Severity.MEDIUM,
            f"A transaction of {idle.name} (pid {idle.pid}) has done nothing for"
            f" {duration(idle.seconds)}: what is deleted meanwhile cannot be tidied away.",
            "End it, and have PostgreSQL end such by itself.",
            f"psql -c 'SELECT pg_terminate_backend({idle.pid})'",
            "psql -c \"ALTER SYSTEM SET idle_in_transaction_session_timeout = '10min'\"",
            RELOAD,
        )


def _memory(facts: ServerFacts) -> Iterator[Issue]:
    asked = facts.blocks_cached + facts.blocks_read
    buffers = facts.memory_bytes.get("shared_buffers", 0)
    if (
        asked > ENOUGH_READS
        and facts.blocks_cached < LEAST_CACHED * asked
        and facts.size_bytes > buffers
    ):
        yield _issue(
            Severity.LOW,
            f"{facts.blocks_cached / asked:.1%} of what was read was in PostgreSQL's memory:"
            f" shared_buffers is {buffers // MIB} MiB, the database {facts.size_bytes // MIB} MiB.",
            "Raise shared_buffers, to a quarter of the machine's memory at the most; it wants a"
            " restart.",
            "psql -c \"ALTER SYSTEM SET shared_buffers = '1GB'\"",
            "sudo systemctl restart postgresql",
        )
    if 0 < facts.memory_bytes.get("maintenance_work_mem", 0) < MAINTENANCE_BYTES:
        yield _issue(
            Severity.LOW,
            "maintenance_work_mem is"
            f" {facts.memory_bytes['maintenance_work_mem'] // MIB} MiB: tidying up is slow.",
            "Raise it; 256 MiB is plenty.",
            "psql -c \"ALTER SYSTEM SET maintenance_work_mem = '256MB'\"",
            RELOAD,
        )
    if (work := facts.memory_bytes.get("work_mem", 0)) > MOST_WORK_BYTES:
        most = int(facts.settings["max_connections"])
        yield _issue(
            Severity.LOW,
            f"work_mem is {work // MIB} MiB, and each sort of each of {most} connections may take"
            f" that: {work * most // 2**30} GiB. wasup's own statements need 4 MiB.",
            "Lower it for all, and raise it for the one program or user that needs it.",
            "psql -c 'ALTER SYSTEM RESET work_mem'",
            RELOAD,
        )


def _issue(severity: Severity, description: str, solution: str, *commands: str) -> Issue:
    return Issue("configuration", severity, description, solution, ("database",), commands)
