"""The documents are true: generated ones are up to date, and everything an operator may need is
named somewhere.
"""

import re

import pytest

from api.routes import ROUTES
from scripts.generate_docs import HOST, ROOT, documents, event_types, host
from sessions.model import CloseReason, SessionState
from supervisor.alerts.judging.figures import assess
from supervisor.alerts.judging.thresholds import Thresholds
from supervisor.alerts.rules import RULES
from supervisor.cli.cli import Commands
from supervisor.delivery.telling import DEAD, FAILING, GAP, PAUSED
from supervisor.host.numbers import NUMBERS
from supervisor.host.reading.disks import DiskReading
from supervisor.settings import Settings, variable
from tests.host_tools import reading, supervisor

READMES = ["README.md", "README.pt-BR.md"]

GIB = 1024**3
GUIDE = {
    "Otimizações Implementadas": {
        "limite padrão": 1024,
        "file descriptors": 65536,
        "tcp_max_syn_backlog": 8192,
        "tcp_keepalive_time": 600,
        "tcp_fin_timeout": 30,
        "net.core.somaxconn": 8192,
        "net.core.netdev_max_backlog": 5000,
        "vm.max_map_count": 262144,
        "kernel.shmmax (1GB)": GIB,
    },
    "Monitoramento": {
        "atualiza a cada 5 segundos": 5,
        "últimas 100 medições": 100,
        "grep :8000": 8000,
    },
    "Alertas Automáticos": {
        "CPU": 80,
        "Memória": 85,
        "File Descriptors": 90,
        "WebSocket": 500,
        "Load average": 4.0,
    },
    "Critérios de Aprovação": {
        "File descriptors": 10_000,
        "Memória (2GB)": 2 * GIB,
        "conexões": 500,
        "CPU": 80,
    },
    "Métricas de Sucesso": {
        "descriptors antes": 1024,
        "conexões antes": 100,
        "CPU antes": 90,
        "descriptors depois": 65536,
        "conexões depois": 500,
        "CPU depois": 70,
    },
}
"""The tuning guide's numbers, copied from its text by hand, in its order."""


def text(*names: str) -> str:
    return "\n".join((ROOT / name).read_text(encoding="utf-8") for name in names)


def test_generated_documents_are_up_to_date() -> None:
    stale = [
        path.name
        for path, wanted in documents().items()
        if path.read_text(encoding="utf-8") != wanted
    ]
    assert stale == [], "run python -m scripts.generate_docs"


def test_every_setting_route_reason_and_state_is_documented() -> None:
    reference = text("docs/reference.md")
    wanted = [variable(name) for name in Settings.model_fields]
    wanted += [f"{route.method} {route.path}" for route in ROUTES]
    wanted += [*CloseReason, *SessionState]
    assert [name for name in wanted if f"`{name}`" not in reference] == []


def test_every_event_is_documented_under_a_name_of_the_grammar() -> None:
    page, types = text("docs/events.md"), [kind.type for kind in event_types()]
    assert {"session.state", "message.received", "alert.raised", "outage.ended"} <= set(types)
    assert len(types) == len(set(types))
    assert [name for name in types if not re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)*", name)] == []
    assert [name for name in types if len(name) > 32] == [], "the store has room for so many"
    assert [name for name in types if f"`{name}`" not in page] == []


def test_every_close_reason_is_explained_where_it_is_made() -> None:
    wire = text("docs/wire.md")
    assert [reason for reason in CloseReason if f"`{reason}`" not in wire] == []


@pytest.mark.parametrize("readme", READMES)
def test_the_readme_explains_every_state_an_operator_sees(readme: str) -> None:
    shown = text(readme)
    assert [state for state in SessionState if f"`{state}`" not in shown] == []


@pytest.mark.parametrize("table", GUIDE)
def test_every_number_of_the_guide_stands_in_the_code_and_in_the_docs(table: str) -> None:
    assert [row.value for row in NUMBERS if row.table == table] == list(GUIDE[table].values())
    shown = re.findall(
        rf"^\| `\S+` \| ([\d,.]+) \| [^|]+ \| {table} \|", text("docs/host.md"), re.MULTILINE
    )
    assert [float(value.replace(",", "")) for value in shown] == list(GUIDE[table].values())


def test_no_number_of_the_table_is_of_another_guide() -> None:
    assert {row.table for row in NUMBERS} == set(GUIDE)


@pytest.mark.parametrize(
    "marker", ["<!-- guide numbers: generated -->", "<!-- end of wanted limits -->"]
)
def test_a_page_that_has_lost_its_markers_is_not_taken_for_up_to_date(marker: str) -> None:
    with pytest.raises(ValueError, match="should have one"):
        host(HOST.read_text(encoding="utf-8").replace(marker, ""))


def test_every_command_is_in_the_reference() -> None:
    page = text("docs/reference.md")
    assert [name for name in Commands.verbs if f"| `wasup {name}" not in page] == []
    assert "| `wasup sessions start`" in page, "those of a group, too"


@pytest.mark.parametrize(
    "target", ["setup", "demo", "run", "test", "check", "bench", "chaos", "kills"]
)
def test_every_make_target_is_explained_by_make_itself(target: str) -> None:
    assert re.search(rf"^{target}:.*## ", text("Makefile"), re.MULTILINE)


def test_every_alert_is_explained() -> None:
    """Whoever raises a new one writes into docs/monitoring.md what is to be done about it."""
    raised = re.compile(
        r'''(?:alerts\.(?:begin|happened)|tell)\(\s*"(\w+)"|alerts\.begin\(\s*None,\s*"(\w+)"|AlertChange\(\s*name="(\w+)"|found\["(\w+)"\] = (?:\(\s*)?f?"'''
    )
    sources = [*(ROOT / "sessions").rglob("*.py"), *(ROOT / "supervisor").rglob("*.py")]
    found = {
        name
        for file in sources
        for match in raised.findall(file.read_text())
        for name in match
        if name
    }
    disk = DiskReading(directories=("/",), used_fraction=0.5, inodes_used_fraction=0.5)
    seen = reading(disks=(disk,), supervisor=supervisor(1, 2))
    found |= {name for _, name in assess(seen, 0.0, {}, Thresholds())}
    assert {"parked", "breaker_open", "cpu", "disk_silent", "error_rate", "store", "task"} <= found
    page = text("docs/monitoring.md")
    found |= {"response_time", FAILING, PAUSED, GAP, DEAD}
    assert [name for name in sorted(found) if f"`{name}`" not in page] == []
    assert found - set(RULES) == set(), "supervisor/alerts/rules.py lacks them"
