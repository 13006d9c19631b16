"""The bus between the rooms: typed, in order, and harmless to whoever publishes."""

from dataclasses import dataclass

import structlog

from supervisor.bus import EARLY_MOST, Bus


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
    bus.subscribe(Began, began.append)
    bus.subscribe(BeganBadly, badly.append)
    bus.subscribe(Ended, ended.append)
    bus.publish(Began(1))
    bus.publish(BeganBadly(2))
    assert (began, badly, ended) == ([Began(1), BeganBadly(2)], [BeganBadly(2)], [])


def test_what_is_published_before_anybody_subscribes_is_told_to_the_first_who_does() -> None:
    bus, first, second = Bus(), list[Began](), list[Began]()
    bus.publish(Began(1))
    bus.publish(Ended())
    bus.publish(Began(2))
    bus.subscribe(Began, first.append)
    bus.subscribe(Began, second.append)
    assert (first, second) == ([Began(1), Began(2)], [])
    ended = list[Ended]()
    bus.subscribe(Ended, ended.append)
    assert ended == [Ended()], "what others do not want has stayed"


def test_what_nobody_ever_wants_does_not_grow() -> None:
    bus, told = Bus(), list[Began]()
    for number in range(EARLY_MOST + 5):
        bus.publish(Began(number))
    bus.subscribe(Began, told.append)
    assert [value.number for value in told] == list(range(5, EARLY_MOST + 5))


def test_a_subscriber_that_fails_harms_neither_the_others_nor_whoever_publishes() -> None:
    bus, told = Bus(), list[Began]()

    def fail(_: Began) -> None:
        raise KeyError

    bus.subscribe(Began, fail)
    bus.subscribe(Began, told.append)
    structlog.reset_defaults()  # a logger that was used before does not notice that it is captured
    with structlog.testing.capture_logs() as logs:
        bus.publish(Began(1))
    assert told == [Began(1)]
    assert [(entry["action"], entry["about"]) for entry in logs] == [("subscriber_failed", "Began")]
