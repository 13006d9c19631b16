"""Whoever asks for a figure asks for one that is measured."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from sessions.model import event_types
from supervisor.delivery.endpoint.outgoing import TEST
from supervisor.history.series import SERIES
from supervisor.watch.performance import service_performance

ROOT = Path(__file__).parents[3]
KINDS = {name.partition(".")[0] for name in SERIES}
NAME = re.compile(rf"(?:{'|'.join(sorted(KINDS))})\.[a-z0-9_]+")
NO_SERIES = re.compile(r".+\.(lock|log|sock|cli|program|json|md)")
"""Files and modules."""


def named() -> Iterator[tuple[str, str]]:
    """Every text of the program that reads like the name of a series, and where it stands."""
    for room in ("supervisor", "api"):
        for path in (ROOT / room).rglob("*.py"):
            if "node_modules" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                text = node.value if isinstance(node, ast.Constant) else None
                if isinstance(text, str) and NAME.fullmatch(text):
                    yield text, f"{path.relative_to(ROOT)}:{node.lineno}"


def test_every_series_that_is_named_anywhere_is_measured() -> None:
    events = {kind.type for kind in event_types()} | {TEST}
    found = list(named())
    unknown = [
        f"{name} in {where}"
        for name, where in found
        if name not in SERIES and name not in events and not NO_SERIES.fullmatch(name)
    ]
    assert unknown == []
    assert len({name for name, _ in found} & SERIES.keys()) > len(SERIES) / 2


def test_the_figures_that_scripts_read_are_those_that_were_measured() -> None:
    told = service_performance(
        {
            ("api.requests", None): 20.0,
            ("host.websockets", None): 3.0,
            ("database.pool_in_use", None): 2.0,
            ("host.memory", None): 0.5,
        }
    )
    assert (told.requests_per_second, told.active_connections) == (2.0, 3.0)
    assert (told.db_connections, told.memory_usage) == (2.0, 0.5)
