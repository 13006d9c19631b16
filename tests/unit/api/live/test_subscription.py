"""What clients ask for, in their words."""

from typing import Any

import pytest

from api.errors import BadRequest
from api.live.subscription import parse_renewal, parse_subscribe, patterns
from supervisor.fleet.event_filter import InvalidEventFilter


def test_nothing_said_asks_for_everything() -> None:
    for given in (None, {}):
        asked, after = parse_subscribe(given)
        assert asked.wants("shop", "message.received")
        assert asked.wants(None, "outage.began")
        assert after is None


def test_a_group_is_named_by_its_word() -> None:
    asked, after = parse_subscribe({"types": ["message"], "sessions": ["shop"], "after": 7})
    assert asked.wants("shop", "message.received")
    assert not asked.wants("shop", "session.state")
    assert not asked.wants("bar", "message.received")
    assert after == 7


def test_fleet_stands_for_the_groups_of_the_fleet() -> None:
    asked, _ = parse_subscribe({"types": ["fleet"]})
    for kind in ("outage.began", "alert.raised", "policy.changed", "worker.replaced"):
        assert asked.wants(None, kind)
    assert not asked.wants("shop", "message.received")
    assert patterns("session.state") == ["session.state"]


@pytest.mark.parametrize(
    "given",
    [
        {"after": "1"},
        {"after": -1},
        {"other": 1},
        {"types": "message"},
        {"types": ["message"] * 101},
        {"sessions": ["shop"] * 101},
        [],
        7,
        {"after": 10**15},
    ],
)
def test_what_cannot_be_used_is_refused(given: Any) -> None:
    with pytest.raises(BadRequest) as error:
        parse_subscribe(given)
    assert "after" in error.value.hint


def test_a_type_that_there_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidEventFilter):
        parse_subscribe({"types": ["mesage.received"]})


@pytest.mark.parametrize(
    "given", [None, {}, {"token": 7}, {"token": "secret-1", "x": 1}, "secret-1"]
)
def test_a_renewal_that_cannot_be_used_quotes_no_token(given: Any) -> None:
    with pytest.raises(BadRequest) as error:
        parse_renewal(given)
    assert "secret-1" not in f"{error.value} {error.value.hint}"
