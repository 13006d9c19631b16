"""Which events somebody asks for, and what is said to who asks for what there cannot be."""

import pytest

from sessions.model import InvalidSessionId
from supervisor.fleet.event_filter import (
    MOST,
    EventFilter,
    InvalidEventFilter,
    check_types,
    covers,
    event_names,
)

KNOWN = frozenset(
    {"message.received", "message.sent", "message.status", "session.state", "outage.began"}
)


@pytest.mark.parametrize(
    ("patterns", "kind", "wanted"),
    [
        (("*",), "message.received", True),
        (("message.*",), "message.received", True),
        (("message.*",), "messages.received", False),
        (("message.*",), "message", False),
        (("message.received",), "message.received", True),
        (("message.received",), "message.status", False),
        (("session.state", "message.*"), "message.status", True),
        ((), "message.status", False),
    ],
)
def test_a_type_is_covered_by_its_name_its_group_or_all(
    patterns: tuple[str, ...], kind: str, wanted: bool
) -> None:
    assert covers(patterns, kind) is wanted


def test_who_names_sessions_gets_theirs_alone_and_who_names_none_gets_the_fleet_s_too() -> None:
    some, everything = EventFilter.of(sessions=["a", "b"]), EventFilter.of()
    assert [some.wants(session, "session.state") for session in ("a", "c", None)] == [
        True,
        False,
        False,
    ]
    assert everything.wants(None, "outage.began")
    assert everything.wants("c", "session.state")
    assert everything.wants_all
    assert not some.wants_all


def test_it_can_be_narrowed_to_what_somebody_may_see_and_never_widened_by_it() -> None:
    asked, everything = EventFilter.of(sessions=["a", "b"]), EventFilter.of()
    assert asked.within({"b", "c"}).sessions == {"b"}
    assert asked.within(None) == asked
    assert everything.within({"b"}).sessions == {"b"}
    assert not everything.within({"b"}).wants(None, "outage.began")
    nothing = asked.within({"c"})
    assert nothing.sessions == frozenset(), "no session is left, which is not the same as all"
    assert not nothing.wants("a", "session.state")


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("mesage.received", "Is it message.received"),
        ("message.recieved", "Is it message.received"),
        ("Message.Received", "Is it message.received"),
        ("mesage.*", "message.*"),
        ("message", "message.*"),
        ("outage", "outage.*"),
        ("zzz.qqq", "docs/events.md"),
        ("message.**", "message.*"),
        ("*.*", "docs/events.md"),
        ("", "docs/events.md"),
        ("x" * 500, "docs/events.md"),
    ],
)
def test_what_can_never_come_is_refused_with_what_was_perhaps_meant(
    pattern: str, hint: str
) -> None:
    with pytest.raises(InvalidEventFilter) as refused:
        check_types(["session.state", pattern], KNOWN)
    assert hint in refused.value.hint
    assert len(str(refused.value)) < 100


def test_names_groups_and_all_are_accepted() -> None:
    check_types(["*", "message.*", "session.state"], KNOWN)
    check_types([], KNOWN)


def test_neither_types_nor_sessions_are_without_end() -> None:
    with pytest.raises(InvalidEventFilter):
        check_types(["*"] * (MOST + 1), KNOWN)
    with pytest.raises(InvalidEventFilter):
        EventFilter.of(sessions=[f"s{number}" for number in range(MOST + 1)])


def test_a_session_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(InvalidSessionId):
        EventFilter.of(sessions=["../x"])


def test_what_the_program_publishes_is_known() -> None:
    import supervisor.program  # noqa: F401 - with it all that publishes is loaded

    assert {"message.received", "session.state", "outage.began", "alert.raised"} <= event_names()
    assert EventFilter.of(types=["alert.*", "alert.*"]).types == ("alert.*",)


def test_who_asks_for_what_lies_before_a_number_has_an_end() -> None:
    assert EventFilter.of(before=10).last == 9
    assert EventFilter.of().last is None


def test_whoever_asks_for_many_types_pushes_out_nothing_that_is_asked_for_each_event() -> None:
    before = covers.cache_info()
    check_types([f"session.{name}" for name in ("state", "*")] * 40, KNOWN)
    with pytest.raises(InvalidEventFilter):
        check_types(["message.unheard_of"], KNOWN)
    assert covers.cache_info() == before
