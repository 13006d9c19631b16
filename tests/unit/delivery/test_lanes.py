"""Lanes: a session's events in order, sessions side by side, and a mark below which all is settled."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from supervisor.delivery.endpoint.retrying import BLOCKED_SECONDS
from supervisor.delivery.lanes import Lanes, Pending


def offered(lanes: Lanes, *sessions: str | None) -> None:
    for n, session in enumerate(sessions, start=lanes.read_to + 1):
        lanes.offer(n, session)


def taken(lanes: Lanes, now: float = 0.0) -> list[Pending]:
    found = []
    while (pending := lanes.take(now)) is not None:
        found.append(pending)
    return found


def test_one_event_of_each_session_goes_out_at_once() -> None:
    lanes = Lanes(0)
    offered(lanes, "a", "a", "b", None)
    assert [pending.n for pending in taken(lanes)] == [1, 3, 4]


def test_the_next_one_goes_when_the_one_before_is_accepted() -> None:
    lanes = Lanes(0)
    offered(lanes, "a", "a")
    (first,) = taken(lanes)
    lanes.settle(first)
    assert [pending.n for pending in taken(lanes)] == [2]


def test_the_mark_stays_below_what_is_not_settled_and_passes_what_was_not_asked_for() -> None:
    lanes = Lanes(0)
    offered(lanes, "a", "b")
    lanes.pass_over(9)
    first, second = taken(lanes)
    lanes.settle(second)
    assert lanes.low_water == 0
    lanes.settle(first)
    assert lanes.low_water == 9


def test_a_failed_event_blocks_its_own_session_alone_until_its_next_try() -> None:
    lanes = Lanes(0)
    offered(lanes, "a", "b", "a", "b")
    first, second = taken(lanes)
    assert not lanes.fail(first, 0.0, wait_seconds=5.0)
    lanes.settle(second)
    assert [pending.n for pending in taken(lanes, 4.9)] == [4]
    assert lanes.next_at() == 5.0
    assert [pending.n for pending in taken(lanes, 5.0)] == [1]


def test_an_event_that_has_blocked_for_long_enough_is_to_be_set_aside() -> None:
    lanes = Lanes(0)
    offered(lanes, "a", "a")
    (first,) = taken(lanes)
    assert not lanes.fail(first, 0.0, wait_seconds=1.0)
    (again,) = taken(lanes, BLOCKED_SECONDS)
    assert again is first
    assert lanes.fail(again, BLOCKED_SECONDS, wait_seconds=1.0)
    lanes.settle(again)
    assert lanes.low_water == 1
    assert [pending.n for pending in taken(lanes, BLOCKED_SECONDS)] == [2]


def test_the_canary_is_the_one_that_was_tried_least() -> None:
    lanes = Lanes(0)
    offered(lanes, "a", "b", "a")
    tried = []
    for _ in range(4):
        canary = lanes.take_canary()
        assert canary is not None
        tried.append(canary.n)
        lanes.fail(canary, 0.0, wait_seconds=1_000.0)
    assert tried == [1, 2, 1, 2], "an event that is refused for ever is no reason to call all away"


def test_a_canary_s_old_appointment_is_void() -> None:
    lanes = Lanes(0)
    offered(lanes, "a", "b")
    for pending in taken(lanes):
        lanes.fail(pending, 0.0, wait_seconds=10.0 * pending.n)
    canary = lanes.take_canary()
    assert canary is not None
    assert canary.n == 1
    lanes.fail(canary, 1.0, wait_seconds=100.0)
    assert taken(lanes, 11.0) == [], "it was to be tried at 10, and then put off to 101"
    assert [pending.n for pending in taken(lanes, 20.0)] == [2]


def test_when_the_endpoint_is_back_what_failed_goes_out_at_once_and_starts_afresh() -> None:
    lanes = Lanes(0)
    offered(lanes, "a", "b")
    for pending in taken(lanes):
        lanes.fail(pending, 0.0, wait_seconds=1_000.0)
    lanes.clear_failures()
    again = taken(lanes, 1.0)
    assert [pending.n for pending in again] == [1, 2]
    assert not lanes.fail(again[0], BLOCKED_SECONDS + 1, wait_seconds=1.0)


def test_what_was_not_sent_after_all_goes_first() -> None:
    lanes = Lanes(0)
    offered(lanes, "a", "b")
    pending = lanes.take(0.0)
    assert pending is not None
    lanes.put_back(pending)
    assert [pending.n for pending in taken(lanes)] == [1, 2]


steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["offer", "pass", "take", "ok", "fail", "back", "canary", "clear", "later"]
        ),
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 5),
    ),
    max_size=120,
)


class Played:
    """Lanes under a script, and what has become of each event."""

    def __init__(self) -> None:
        self.lanes, self.now = Lanes(0), 0.0
        self.expected: dict[str, list[int]] = defaultdict(list)
        self.accepted: dict[str, list[int]] = defaultdict(list)
        self.out: list[Pending] = []
        self.unsettled: set[int] = set()

    def step(self, what: str, session: str, number: int) -> None:
        match what:
            case "offer":
                n = self.lanes.read_to + 1
                self.expected[session].append(n)
                self.unsettled.add(n)
                self.lanes.offer(n, session)
            case "pass":
                self.lanes.pass_over(self.lanes.read_to + number)
            case "take":
                self.began(self.lanes.take(self.now))
            case "canary":
                self.began(self.lanes.take_canary())
            case "clear":
                self.lanes.clear_failures()
            case "later":
                self.now += number
            case _:
                self.end(what, number)

    def end(self, what: str, number: int) -> None:
        """One that is under way ends so."""
        if not self.out:
            return
        pending = self.out.pop(number % len(self.out))
        match what:
            case "ok":
                self.accept(pending)
            case "fail":
                self.lanes.fail(pending, self.now, float(number))
            case "back":
                self.lanes.put_back(pending)

    def began(self, pending: Pending | None) -> None:
        if pending is not None:
            assert pending.lane not in {other.lane for other in self.out}, "one of a lane at a time"
            self.out.append(pending)

    def accept(self, pending: Pending) -> None:
        self.lanes.settle(pending)
        self.accepted[pending.lane].append(pending.n)
        self.unsettled.discard(pending.n)

    def check(self) -> None:
        lanes, unsettled = self.lanes, self.unsettled
        assert all(pending.under_way for pending in self.out)
        assert lanes.low_water == (min(unsettled) - 1 if unsettled else lanes.read_to)
        assert len(lanes) == len(unsettled)
        assert lanes.open_numbers(1000) == sorted(unsettled)


@given(steps)
def test_whatever_happens_no_event_is_lost_doubled_or_out_of_order(
    script: list[tuple[str, str, int]],
) -> None:
    played = Played()
    for step in script:
        played.step(*step)
        played.check()
    while played.unsettled:
        played.now += 10.0
        played.out += taken(played.lanes, played.now)
        assert played.out, "what waits is tried again"
        for pending in played.out:
            played.accept(pending)
        played.out.clear()
    assert played.accepted == played.expected
    assert len(played.lanes) == 0


@given(steps, st.integers(0, 100))
def test_what_the_log_has_dropped_is_settled_and_the_rest_goes_on_in_order(
    script: list[tuple[str, str, int]], dropped: int
) -> None:
    played = Played()
    for step in script:
        played.step(*step)
    under_way = {pending.n for pending in played.out}
    gone = {n for n in played.unsettled if n <= dropped and n not in under_way}
    assert played.lanes.settle_up_to(dropped) == min(gone, default=None)
    played.unsettled -= gone
    played.check()
    for pending in played.out:
        played.accept(pending)
    played.out.clear()
    while played.unsettled:
        played.now += 10.0
        for pending in taken(played.lanes, played.now):
            played.accept(pending)
    for session, numbers in played.expected.items():
        assert played.accepted[session] == [n for n in numbers if n not in gone]
    assert played.lanes.low_water == played.lanes.read_to
