"""The bus between the rooms: typed, in order, and harmless to whoever publishes."""

from dataclasses import dataclass

import structlog

from sessions.model import SessionId
from supervisor.fleet.bus import EARLY_MOST, Bus

SHOP = SessionId("shop")


@dataclass(frozen=True)
class Began:
    """Something has begun."""

    number: int


@dataclass(frozen=True)
class BeganBadly(Began):
    """Something has begun, and how."""


@dataclass(frozen=True)
class Ended:
    """Something has ended."""


def test_a_value_reaches_those_who_subscribed_to_its_class_or_to_one_above_it() -> None:
    bus, began, badly, ended = Bus(), list[Began](), list[BeganBadly](), list[Ended]()
    bus.subscribe(Began, lambda _, value: began.append(value))
    bus.subscribe(BeganBadly, lambda _, value: badly.append(value))
    bus.subscribe(Ended, lambda _, value: ended.append(value))
    bus.tell(Began(1))
    bus.tell(BeganBadly(2))
    assert (began, badly, ended) == ([Began(1), BeganBadly(2)], [BeganBadly(2)], [])


def test_subscribers_are_notified_in_their_order_and_of_the_session_that_it_is_about() -> None:
    bus, told = Bus(), list[tuple[str, SessionId | None]]()
    bus.subscribe(Began, lambda session, _: told.append(("all", session)))
    bus.subscribe(BeganBadly, lambda session, _: told.append(("some", session)))
    bus.publish(SHOP, BeganBadly(1))
    assert told == [("all", SHOP), ("some", SHOP)]


def test_what_is_published_before_anybody_subscribes_is_told_to_the_first_who_does() -> None:
    bus, first, second = Bus(), list[Began](), list[Began]()
    bus.tell(Began(1))
    bus.tell(Ended())
    bus.tell(Began(2))
    bus.subscribe(Began, lambda _, value: first.append(value))
    bus.subscribe(Began, lambda _, value: second.append(value))
    assert (first, second) == ([Began(1), Began(2)], [])
    ended = list[Ended]()
    bus.subscribe(Ended, lambda _, value: ended.append(value))
    assert ended == [Ended()], "what others do not want has stayed"


def test_what_nobody_ever_wants_does_not_grow() -> None:
    bus, told = Bus(), list[Began]()
    for number in range(EARLY_MOST + 5):
        bus.tell(Began(number))
    bus.subscribe(Began, lambda _, value: told.append(value))
    assert [value.number for value in told] == list(range(5, EARLY_MOST + 5))


def test_a_subscriber_that_fails_harms_neither_the_others_nor_whoever_publishes() -> None:
    bus, told = Bus(), list[Began]()

    def fail(_session: SessionId | None, _: Began) -> None:
        raise KeyError

    bus.subscribe(Began, fail)
    bus.subscribe(Began, lambda _, value: told.append(value))
    structlog.reset_defaults()  # a logger that was used before does not notice that it is captured
    with structlog.testing.capture_logs() as logs:
        bus.tell(Began(1))
    assert told == [Began(1)]
    assert [(entry["action"], entry["about"]) for entry in logs] == [("subscriber_failed", "Began")]
