"""`wasup explain-delivery`: what it says, and its exit status, are of all pages."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import typer

from supervisor.cli.common.client import Client
from supervisor.cli.watch_commands import explain_delivery as command
from supervisor.cli.watch_commands.explain_delivery import explain_delivery


def event(n: int, arrived: bool) -> dict[str, Any]:
    state = "delivered" if arrived else "paused"
    at = {"webhook": "wh_1", "url": "https://shop.example", "state": state, "arrived": arrived}
    return {
        "n": n,
        "type": "message.received",
        "session": "shop",
        "time": "2026-01-02T10:00:00.000Z",
        "webhooks": [at | {"why": "why not", "whatToDo": "resume it"}],
    }


def lost(n: int) -> dict[str, Any]:
    """One of which nobody knows any more."""
    found = event(n, False)
    found["webhooks"][0]["state"] = "unknown"
    return found


class Paged(Client):
    """An API that gives one event at a time, and judges each page by itself."""

    def __init__(self, *events: dict[str, Any]) -> None:
        super().__init__("http://127.0.0.1:1", None)
        self._events = events
        self.asked: list[str] = []

    def call(self, method: str, path: str, body: Any = None) -> Any:
        self.asked.append(path)
        asked = parse_qs(urlsplit(path).query)
        after = int(asked.get("after", ["0"])[0])
        (first, *rest) = [one for one in self._events if one["n"] > after]
        arrived = all(one["arrived"] for one in first["webhooks"])
        return {
            "message": "3EB0",
            "arrived": arrived,
            "words": "Everything has arrived." if arrived else "Not everything has.",
            "events": [first],
            "next": first["n"] if rest else None,
        }


@pytest.mark.parametrize(
    ("events", "status", "words"),
    [
        ([event(1, True), event(2, True)], 0, "Everything has arrived that was asked for, of 2"),
        ([event(1, True), event(2, False)], 1, "1 of what was to be delivered has not arrived."),
        ([event(1, False), event(2, True)], 1, "1 of what was to be delivered has not arrived."),
        (
            [lost(1), event(2, True)],
            1,
            "3EB0: Of 1 it is not known any more whether it has arrived.",
        ),
        (
            [lost(1), event(2, False)],
            1,
            "has not arrived, and of 1 it is not known any more whether",
        ),
    ],
)
def test_a_later_page_counts_as_much_as_the_first(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    events: list[dict[str, Any]],
    status: int,
    words: str,
) -> None:
    client = Paged(*events)
    monkeypatch.setattr(command, "must_run", lambda: client)
    with pytest.raises(typer.Exit) as ended:
        explain_delivery("3EB0", session="shop")
    assert ended.value.exit_code == status
    told = capsys.readouterr().out
    assert words in told
    assert "Event 2" in told
    assert all("session=shop" in path for path in client.asked)
