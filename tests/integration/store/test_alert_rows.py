"""What is remembered of alerts, in a real store: the fake of the unit tests does the same."""

import pytest
from sqlalchemy import URL

from sessions.store import Store
from sessions.store.supervision.alert_rows import AlertRecord, AlertRows
from tests.unit.alerts.story import Rows


def records(*ids: str, owner: str = "mail") -> list[AlertRecord]:
    return [AlertRecord("told", owner, one, 1.0, b"{}") for one in ids]


def _order(record: AlertRecord) -> tuple[str, str, str]:
    return record.kind, record.owner, record.id


async def _contract(rows: AlertRows) -> list[AlertRecord]:
    rows.replace("told", "mail", lambda: records("a", "b"))
    rows.replace("told", "chat", lambda: records("a", owner="chat"))
    rows.replace("silence", "", lambda: [AlertRecord("silence", "", "s", 2.0, b"[]")])
    rows.replace("told", "mail", lambda: records("b", "c"))
    rows.replace("told", "chat", list)
    rows.replace("told", "pager", lambda: records("a", "b", "c", owner="pager"))
    there = records("b", "d", owner="pager")
    rows.change("told", "pager", ["a"], lambda ids: [one for one in there if one.id in ids])
    rows.change("told", "pager", ["d"], lambda ids: [one for one in there if one.id in ids])
    return sorted(await rows.all(), key=_order)


@pytest.mark.parametrize("real", [True, False])
async def test_each_owners_records_are_replaced_as_a_whole_or_one_by_one(
    url: URL, real: bool
) -> None:
    silence = AlertRecord("silence", "", "s", 2.0, b"[]")
    of_pager = records("b", "c", "d", owner="pager")
    found = sorted([silence, *records("b", "c"), *of_pager], key=_order)
    if not real:
        assert await _contract(Rows()) == found
        return
    store = await Store.open(url)
    await _contract(store.alerts)
    await store.close()  # writes what waits
    store = await Store.open(url)
    after = await store.alerts.all()
    assert sorted(after, key=_order) == found
    await store.close()
