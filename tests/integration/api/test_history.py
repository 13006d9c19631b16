"""What was measured, over HTTP: as it was measured, for whom it is, and refused with what to ask
instead.
"""

import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from sessions.model import SessionId, SessionNotFound
from sessions.records.distribution import begin_of
from sessions.store import Store, sqlite_url
from sessions.views.times import iso
from supervisor.access.key import new_id, new_key
from supervisor.access.scopes import Scope
from supervisor.history import history as history_room
from supervisor.history import points
from supervisor.history.archive import Archive
from supervisor.history.history import History
from supervisor.history.series import buckets_of
from tests.api_tools import TOKEN, Answer, api, ask, known_key

SHOP, BAR = SessionId("shop"), SessionId("bar")
THEN = time.time() // 60 * 60 - 120
"""The begin of a minute of late."""
OF_SHOP = new_key(new_id())


class Fleet:
    def get(self, session: SessionId) -> Any:
        if session not in {SHOP, BAR}:
            raise SessionNotFound(f"There is no session {session!r}.")
        return SimpleNamespace(id=session)


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[tuple[str, int]]:
    store = await Store.open(sqlite_url(tmp_path / "wasup.db"))
    history = History(Archive(store.history_pages))
    for second, cpu, messages in ((0, 0.25, 3), (10, 0.75, 3), (70, 0.5, 10)):
        figures = {("host.cpu", None): cpu, ("disk.used", "/data"): 0.5}
        figures |= {("session.messages", name): messages for name in (SHOP, BAR)}
        history.take(figures | buckets_of("fleet.response_ms", None, {30: messages}), THEN + second)
    await history.close()
    keys = [known_key(OF_SHOP, Scope.READ, frozenset({SHOP}))]
    async with api(token=TOKEN, known_keys=keys, history=history, fleet=Fleet()) as found:
        yield found
    await store.close()


async def get(address: tuple[str, int], path: str, key: str = TOKEN) -> Answer:
    return await ask(address, "GET", path, Authorization=f"Bearer {key}")


def period(begin: float = THEN, end: float = THEN + 120) -> str:
    return f"from={quote(iso(begin))}&to={quote(iso(end))}"


async def test_what_was_measured_is_told_at_the_step_that_was_asked_for(
    address: tuple[str, int],
) -> None:
    told = msgspec.json.decode(
        (await get(address, f"/history?series=host.cpu&{period()}&step=60")).body
    )
    assert told["points"] == [
        {"at": iso(THEN), "count": 2, "mean": 0.5, "sum": 1.0, "min": 0.25, "max": 0.75},
        {"at": iso(THEN + 60), "count": 1, "mean": 0.5, "sum": 0.5, "min": 0.5, "max": 0.5},
    ]
    assert (told["unit"], told["kind"], told["stepSeconds"]) == ("fraction", "gauge", 60)
    assert (told["fromAt"], told["toAt"]) == (iso(THEN), iso(THEN + 120))
    told = msgspec.json.decode(
        (await get(address, f"/history?series=session.messages&subject=shop&{period()}")).body
    )
    assert [point["sum"] for point in told["points"]] == [3, 7]
    last_hour = msgspec.json.decode((await get(address, "/history?series=host.cpu&step=10")).body)
    assert len(last_hour["points"]) == 3


@pytest.mark.parametrize(
    "path", ["/history?series=host.cpu", "/history/distribution?series=fleet.response_ms"]
)
async def test_a_long_period_is_reckoned_beside_the_loop(
    address: tuple[str, int], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Counter[int]()

    def noted(work: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*given: Any) -> Any:
            threads[threading.get_ident()] += 1
            return work(*given)

        return noting

    for module, name in (
        (history_room, "joined"),
        (history_room, "point"),
        (history_room, "Spread"),
        (points, "quantile"),
    ):
        monkeypatch.setattr(module, name, noted(getattr(module, name)))
    told = msgspec.json.decode((await get(address, f"{path}&{period()}")).body)
    assert len(told["points"]) == 2
    assert threads
    assert threading.get_ident() not in threads


async def test_a_distribution_is_told_by_its_percentiles(address: tuple[str, int]) -> None:
    path = f"/history/distribution?series=fleet.response_ms&{period()}"
    told = msgspec.json.decode((await get(address, path)).body)
    assert [point["count"] for point in told["points"]] == [3, 7]
    assert begin_of(30) < told["points"][0]["p50"] < told["points"][0]["p99"] < begin_of(31)
    for path in ("/history", "/history/latest"):
        answer = await get(address, f"{path}?series=fleet.response_ms")
        assert "/history/distribution" in answer.error["hint"]
    answer = await get(address, "/history/distribution?series=host.cpu")
    assert answer.error["code"] == "bad_request"


async def test_what_is_measured_is_listed_and_so_is_what_it_is_now(
    address: tuple[str, int],
) -> None:
    listed = msgspec.json.decode((await get(address, "/history/series")).body)
    assert {"host.cpu", "session.up"} <= {series["name"] for series in listed["series"]}
    now = msgspec.json.decode((await get(address, "/history/latest?series=session.messages")).body)
    assert now["figures"] == [{"subject": "shop", "value": 7}, {"subject": "bar", "value": 7}]


async def test_a_key_of_one_session_has_its_figures_and_no_others(
    address: tuple[str, int],
) -> None:
    own = await get(address, f"/history?series=session.messages&subject=shop&{period()}", OF_SHOP)
    assert own.status == 200
    now = await get(address, "/history/latest?series=session.messages", OF_SHOP)
    assert msgspec.json.decode(now.body)["figures"] == [{"subject": "shop", "value": 7}]
    for subject in ("bar", "nobody"):
        path = f"/history?series=session.messages&subject={subject}"
        assert (await get(address, path, OF_SHOP)).error["code"] == "session_not_found"
    for path in (
        "/history?series=host.cpu",
        "/history?series=disk.used&subject=/data",
        "/history/latest?series=host.cpu",
        "/history/latest?series=fleet.messages",
    ):
        assert (await get(address, path, OF_SHOP)).error["code"] == "forbidden_fleet"


@pytest.mark.parametrize(
    ("asked", "code", "hint"),
    [
        ("", "bad_request", "series"),
        ("series=host.cpus", "unknown_series", "host.cpu"),
        ("series=host.cpu&subject=shop", "bad_request", "subject"),
        ("series=session.up", "bad_request", "/history/latest?series=session.up"),
        ("series=session.up&subject=a/b", "invalid_session_id", "session id"),
        ("series=session.up&subject=nobody", "session_not_found", "/sessions"),
        ("series=host.cpu&step=7", "invalid_period", "10, 60"),
        ("series=host.cpu&step=x", "bad_request", "step"),
        ("series=host.cpu&from=yesterday", "bad_request", "2027-01-31T08:00:00Z"),
        ("series=host.cpu&from=2026-01-31T08:00:00", "bad_request", "time zone"),
        ("series=host.cpu&from=2020-01-31T08:00:00Z&step=86400", "invalid_period", "400 d"),
        (f"series=host.cpu&{period(THEN, THEN)}", "invalid_period", "earlier"),
        (f"series=host.cpu&{period(THEN - 200_000)}&step=10", "invalid_period", "60 s"),
        ("series=host.cpu&sinc=1", "bad_request", "from"),
    ],
)
async def test_what_cannot_be_answered_is_refused_with_what_could_be(
    address: tuple[str, int], asked: str, code: str, hint: str
) -> None:
    answer = await get(address, f"/history?{asked}")
    assert answer.error["code"] == code
    assert hint in answer.error["hint"]
