"""`wasup status`: one sentence, and whether somebody is needed."""

from typing import Any

import pytest

from supervisor.cli.watch_commands.status import document, lines, put_together

QUIET: dict[str, Any] = {"status": "ready", "store": "ok", "tasks": {"writer": "ok"}}


def seen(
    *sessions: tuple[str, str, str],
    alerts: tuple[tuple[str, str], ...] = (),
    holds: tuple[str, ...] = (),
    store: str = "ok",
) -> dict[str, Any]:
    """What /reconnection-status says: sessions as id, state and what a human must do."""
    return {
        "sessions": {
            name: {"state": state, "humanAction": action} for name, state, action in sessions
        },
        "gate": {"holds": [{"words": words} for words in holds]},
        "store": {"state": store},
        "alerts": [
            {"severity": severity, "session": None, "message": message}
            for severity, message in alerts
        ],
    }


OPEN = ("loja-1", "open", "Nothing.")
PARKED = ("loja-2", "parked", "Pair it again.")
WAITING = ("loja-3", "waiting", "Nothing: it comes back by itself.")


@pytest.mark.parametrize(
    ("shown", "ready", "needed", "sentence"),
    [
        (seen(OPEN), QUIET, False, "All is well: 1 session: 1 open."),
        (
            seen(OPEN, PARKED),
            QUIET,
            True,
            "Somebody is needed: 1 session waits for you.",
        ),
        (
            seen(OPEN, WAITING, holds=("held",), alerts=(("warning", "cpu"),)),
            QUIET,
            False,
            (
                "Nobody has to do anything, but not all is well: 1 outage under way, 1 session on"
                " the way back, 1 warning."
            ),
        ),
        (
            seen(OPEN, alerts=(("critical", "disk"), ("critical", "disk"))),
            QUIET,
            True,
            "Somebody is needed: 2 critical alerts.",
        ),
        (seen(OPEN, store="failing"), QUIET, True, "Somebody is needed: the store is failing."),
        (
            seen(OPEN),
            QUIET | {"tasks": {"writer": "ended"}},
            True,
            "Somebody is needed: the supervisor's writer fails.",
        ),
        (
            seen(),
            QUIET | {"status": "starting"},
            False,
            "Nobody has to do anything, but not all is well: the supervisor is just starting.",
        ),
    ],
)
def test_it_says_in_a_sentence_whether_somebody_is_needed(
    shown: dict[str, Any], ready: dict[str, Any], needed: bool, sentence: str
) -> None:
    found = put_together("http://127.0.0.1:4001", "1.0", shown, ready)
    assert found.sentence == sentence
    assert (bool(found.needs), document(found)["needsSomebody"]) == (needed, needed)
    assert document(found)["well"] is sentence.startswith("All is well")
    assert next(lines(found)) == sentence


def test_a_large_fleet_in_trouble_fits_on_a_screen_and_says_where_the_rest_is() -> None:
    parked = [(f"loja-{n}", "parked", "Pair it again.") for n in range(500)]
    alerts = tuple(("critical", f"alert {n}") for n in range(500))
    shown = list(lines(put_together("a", "1", seen(*parked, alerts=alerts), QUIET)))
    assert len("\n".join(shown).splitlines()) < 40
    assert "  and 492 more: wasup sessions list --for-me" in shown
    assert "500 sessions wait for you, 500 critical alerts" in shown[0]
