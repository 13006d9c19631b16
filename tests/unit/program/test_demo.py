"""The demo's screen: it tells its story on a terminal of 80 by 24, and its figures never fall."""

import io
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console
from rich.live import Live

from scripts import demo
from scripts.demo import SESSIONS, Screen

STORY = (
    "✔ all dropped, and HTTP 503 for 4 s (Baileys reports nothing of that): all open again (4.6 s)"
)


def session(name: str, messages: int) -> dict[str, Any]:
    last = {
        "closeCode": 428,
        "closeReason": "network_unreachable",
        "rule": "first try, almost at once",
    }
    figures = {"messagesProcessed": messages, "workerPid": 1_234_567}
    jid = "15550000001:1@s.whatsapp.net"
    return {
        "id": name,
        "state": "connecting",
        "jid": jid,
        "reconnection": last,
        "performance": figures,
    }


def screen(width: int, out: io.StringIO) -> Screen:
    made = Screen(Console(file=out, width=width, height=24, force_terminal=True, color_system=None))
    made.see([session(name, 1) for name in SESSIONS])
    made.now = (
        "The supervisor itself is killed with -9; what comes in meanwhile waits in the workers for"
        " its successor"
    )
    return made


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_table_fits_and_leaves_most_of_the_screen_to_the_story(width: int) -> None:
    out = io.StringIO()
    made = screen(width, out)
    made.console.print(made.draw())
    lines = out.getvalue().splitlines()
    assert len(lines) <= 10
    assert max(map(len, lines)) <= width
    for words in ("network_unreachable (428)", "1234567", "loja-5", "successor"):
        assert any(words in line for line in lines), words


def test_the_story_scrolls_above_the_table_and_its_end_is_seen() -> None:
    out = io.StringIO()
    made = screen(80, out)
    with Live(made.draw(), console=made.console, auto_refresh=False) as made.live:
        for n in range(20):
            made.tell("✔", f"{n}: {STORY}")
        made.tell("✔", "everything healed")
        said = out.getvalue()
        assert said.index("everything healed") > said.index("✔ 19: ")
        assert all(f"✔ {n}: " in said for n in range(20)), "before the demo is over"


def test_messages_do_not_fall_when_a_new_supervisor_counts_from_nothing() -> None:
    made = Screen(Console(file=io.StringIO()))
    for counter in (0, 2, 3, 0, 0, 1):
        made.see([session("loja-1", counter)])
    assert made.messages["loja-1"] == 4


async def test_each_step_is_said_before_it_begins_so_that_no_wait_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.StringIO()
    seen = list[str]()

    async def step(_: demo.Demo) -> str:
        """All numbers
        are being paired."""
        seen.append(out.getvalue())
        return "paired"

    async def nothing(*_: object) -> list[object]:
        return []

    monkeypatch.setattr(demo, "STORY", (step,))
    stage = SimpleNamespace(
        screen=Screen(Console(file=out, width=80)),
        look=nothing,
        standin=SimpleNamespace(log=nothing),
    )
    assert await demo.tell(cast("demo.Demo", stage))
    assert seen == ["… All numbers are being paired\n"]
    assert "✔ paired" in out.getvalue()
