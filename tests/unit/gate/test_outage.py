"""The outage detector as a table: who is open, who closes how and when, and whom that shows to be
in an outage.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions.model import CloseReason as R
from sessions.model import SessionId
from sessions.policy import correlated_reasons
from supervisor.gate.outage import ANSWERS, FLEET, SERVER_MADE, Detector, Finding, Scope

A, B = "http://proxy-a", "http://proxy-b"


def _id(number: int, egress: str = "direct") -> SessionId:
    return SessionId(f"{egress}/{number}")


def _fleet(*sizes: tuple[str, int], at: float = 0.0) -> Detector:
    """So many open sessions at each egress."""
    detector = Detector()
    for egress, size in sizes:
        for number in range(size):
            detector.registered(_id(number, egress), egress)
            detector.opened(_id(number, egress), at)
    return detector


def _close(
    detector: Detector,
    session: SessionId,
    now: float,
    reason: R = R.CONNECTION_CLOSED,
    was_open: bool = True,
    held: Iterable[Scope] = (),
) -> Scope | None:
    """As the gate does, while no hold covers the session."""
    if not was_open:
        detector.tries(session, now)
    finding = detector.closed(session, reason, was_open, 0.0, now)
    if finding not in {Finding.EVIDENCE, Finding.TRIAL}:
        return None
    detector.add(session, finding, now)
    return detector.suspect(session, now, set(held))


@dataclass(frozen=True)
class Case:
    """`closes`: egress, number, reason, second.

    `at`: which close shows the outage, counted from 1 (0: none); `scope`: whose it is.
    """

    name: str
    fleet: tuple[tuple[str, int], ...]
    closes: tuple[tuple[str, int, R, float], ...]
    at: int
    scope: Scope | None = None


def _many(
    egress: str,
    numbers: Iterable[int],
    reason: R = R.CONNECTION_LOST,
    every: float = 0.0,
    begin: float = 100.0,
):
    return tuple(
        (egress, number, reason, begin + place * every) for place, number in enumerate(numbers)
    )


CASES = [
    Case("a fifth of 50, at once", (("direct", 50),), _many("direct", range(30)), 10, FLEET),
    Case(
        "a fifth is not enough of fewer than five", (("direct", 10),), _many("direct", range(4)), 0
    ),
    Case("the fifth of ten", (("direct", 10),), _many("direct", range(10)), 5, FLEET),
    Case("nobody is open but who fails", (("direct", 5),), _many("direct", range(5)), 5, FLEET),
    Case("four can never be an outage", (("direct", 4),), _many("direct", range(4)), 0),
    Case("too far apart", (("direct", 20),), _many("direct", range(20), every=16.0), 0),
    Case("within the minute", (("direct", 20),), _many("direct", range(20), every=14.0), 5, FLEET),
    Case("the same session ten times", (("direct", 20),), _many("direct", [1] * 10), 0),
    Case("each for his own reason", (("direct", 20),), _many("direct", range(20), R.REPLACED), 0),
    Case(
        "a crash of workers is no outage",
        (("direct", 20),),
        _many("direct", range(20), R.WORKER_EXITED),
        0,
    ),
    Case("our own closes are none", (("direct", 20),), _many("direct", range(20), R.REQUESTED), 0),
    Case("one proxy of two", ((A, 20), (B, 20)), _many(A, range(10)), 5, Scope("egress", A)),
    Case(
        "a small proxy of a large fleet",
        ((A, 10), (B, 990)),
        _many(A, range(10)),
        5,
        Scope("egress", A),
    ),
    Case(
        "a proxy and a stranger",
        ((A, 20), (B, 20)),
        _many(B, [0]) + _many(A, range(10)),
        6,
        Scope("egress", A),
    ),
    Case(
        "both proxies alternately",
        ((A, 20), (B, 20)),
        tuple(close for n in range(9) for close in _many(A, [n]) + _many(B, [n])),
        8,
        FLEET,
    ),
    Case("the only egress is everybody", ((A, 20),), _many(A, range(20)), 5, FLEET),
    Case(
        "503 to some",
        (("direct", 40),),
        _many("direct", range(12), R.UNAVAILABLE),
        8,
        Scope("reason", R.UNAVAILABLE),
    ),
    Case(
        "429 to some",
        (("direct", 40),),
        _many("direct", range(12), R.RATE_LIMITED),
        8,
        Scope("reason", R.RATE_LIMITED),
    ),
    Case("503 to nearly all", (("direct", 6),), _many("direct", range(6), R.UNAVAILABLE), 5, FLEET),
    Case(
        "503 to as many as lost their lines",
        (("direct", 40),),
        tuple(
            close
            for n in range(9)
            for close in _many("direct", [n], R.UNAVAILABLE) + _many("direct", [20 + n])
        ),
        8,
        FLEET,
    ),
    Case(
        "a reason of the network's is everybody's",
        (("direct", 40),),
        _many("direct", range(12)),
        8,
        FLEET,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_which_close_shows_an_outage_and_whose(case: Case) -> None:
    detector = _fleet(*case.fleet)
    for place, (egress, number, reason, now) in enumerate(case.closes, 1):
        scope = _close(detector, _id(number, egress), now, reason)
        if place == case.at or (scope is not None and not case.at):
            break
        assert scope is None, f"close {place} of {case.at}"
    assert (scope is not None) == bool(case.at)
    assert scope == case.scope


def test_a_cold_start_into_an_outage_is_seen_after_five_failures_however_large_the_fleet() -> None:
    detector = Detector()
    for number in range(1000):
        detector.registered(_id(number), "direct")
    found = [_close(detector, _id(number), 10.0, was_open=False) for number in range(5)]
    assert found == [None] * 4 + [FLEET]


def test_who_comes_back_at_once_is_no_evidence_any_more() -> None:
    detector = _fleet(("direct", 20))
    for number in range(20):
        assert _close(detector, _id(number), 100.0 + number) is None
        detector.opened(_id(number), 100.5 + number)


def test_who_closes_later_for_a_reason_of_his_own_is_no_evidence_any_more() -> None:
    detector = _fleet(("direct", 20))
    for number in range(4):
        _close(detector, _id(number), 100.0)
        _close(detector, _id(number), 101.0, R.LOGGED_OUT, was_open=False)
    assert [_close(detector, _id(number), 102.0) for number in range(10, 14)] == [None] * 4


def test_who_leaves_the_fleet_counts_neither_as_open_nor_as_closed() -> None:
    detector = _fleet(("direct", 30))
    for number in range(4):
        _close(detector, _id(number), 100.0)
        detector.left(_id(number))
    for number in range(4, 9):
        detector.left(_id(number))
    found = [_close(detector, _id(number), 100.0) for number in range(9, 14)]
    assert found == [None] * 4 + [FLEET], "5 of 21"
    assert not detector.is_open(_id(5))


def test_sessions_that_have_long_been_ill_alone_are_no_evidence() -> None:
    detector = _fleet(("direct", 20))
    for number in range(6):  # one after the other, so that they never looked like an outage
        assert _close(detector, _id(number), 100.0 + 61 * number) is None
    assert [_close(detector, _id(n), 5000.0, was_open=False) for n in range(6)] == [None] * 6
    assert detector.closed(_id(0), R.CONNECTION_LOST, False, 0.0, 5001.0) is Finding.ALONE


def test_what_an_outage_has_taken_is_no_evidence_of_the_next() -> None:
    detector = _fleet(("direct", 20))
    for number in range(5):
        _close(detector, _id(number), 100.0)
    assert detector.take(FLEET, 100.0) == {_id(n): R.CONNECTION_CLOSED for n in range(5)}
    detector.over(FLEET, 110.0)
    for number in range(10, 15):
        detector.opened(_id(number), 110.0)
    assert [_close(detector, _id(n), 111.0) for n in range(10, 15)] == [None] * 4 + [FLEET]


def _released(fleet: int, closed: int) -> Detector:
    """A fleet after an outage that was seen by so many, and has ended."""
    detector = _fleet(("direct", fleet))
    for number in range(closed):
        _close(detector, _id(number), 100.0)
    detector.take(FLEET, 100.0)
    detector.over(FLEET, 110.0)
    return detector


def test_who_fails_again_after_a_release_fails_on_its_own_while_most_are_well() -> None:
    detector = _released(20, 9)
    assert [_close(detector, _id(n), 112.0, was_open=False) for n in range(9)] == [None] * 9
    assert all(detector.fails_alone(_id(n)) for n in range(9))
    assert detector.closed(_id(0), R.CONNECTION_LOST, False, 0.0, 113.0) is Finding.ALONE
    detector.opened(_id(0), 114.0)
    assert not detector.fails_alone(_id(0)), "until it has been open again"
    assert detector.closed(_id(0), R.CONNECTION_LOST, True, 0.0, 115.0) is Finding.EVIDENCE


def test_when_most_fail_again_after_a_release_it_is_the_next_outage_and_they_are_not_ill() -> None:
    detector = _released(20, 15)
    found = [_close(detector, _id(n), 112.0, was_open=False) for n in range(6)]
    assert found == [None] * 5 + [FLEET], "6 of 11"
    assert detector.take(FLEET, 112.0).keys() == {_id(n) for n in range(6)}
    assert not any(detector.fails_alone(_id(n)) for n in range(6))


def test_an_outage_during_a_release_is_found_by_those_who_were_open_and_closed() -> None:
    detector = _released(20, 9)
    for number in range(3):
        _close(detector, _id(number), 112.0, was_open=False)
        detector.opened(_id(number + 3), 112.5)
    assert not any(detector.fails_alone(_id(n)) for n in range(3, 6))
    for number in range(10, 15):
        detector.opened(_id(number), 112.5)
    assert [_close(detector, _id(n), 113.0) for n in range(10, 15)] == [None] * 4 + [FLEET]


def test_an_attempt_that_began_before_the_release_makes_nobody_ill() -> None:
    detector = _fleet(("direct", 20))
    for number in range(9):
        _close(detector, _id(number), 100.0)
    detector.take(FLEET, 100.0)
    detector.tries(_id(0), 105.0)
    detector.over(FLEET, 110.0)
    assert detector.closed(_id(0), R.ATTEMPT_TIMED_OUT, False, 0.0, 115.0) is Finding.ECHO
    detector.tries(_id(0), 116.0)
    assert detector.closed(_id(0), R.ATTEMPT_TIMED_OUT, False, 0.0, 117.0) is Finding.TRIAL


def test_the_others_are_well_when_most_have_been_open_all_the_time() -> None:
    detector = _fleet((A, 10), (B, 10))
    for number in range(5):
        _close(detector, _id(number, A), 100.0)
    assert detector.others_are_well(FLEET, 100.0)
    assert detector.others_are_well(Scope("reason", R.UNAVAILABLE), 100.0)
    assert not detector.others_are_well(Scope("egress", A), 100.0), "half are not most"
    detector.opened(_id(0, A), 150.0)
    assert not detector.others_are_well(Scope("egress", A), 100.0), "not all the time"
    assert detector.others_are_well(Scope("egress", A), 160.0)


def test_who_was_held_while_the_others_were_well_is_ill_unless_he_has_just_closed() -> None:
    detector = _fleet(("direct", 20))
    _close(detector, _id(0), 100.0)
    _close(detector, _id(1), 219.0)
    detector.over(FLEET, 220.0, others_are_well=True)
    assert [detector.fails_alone(_id(n)) for n in range(3)] == [True, False, False]


def test_only_those_of_the_scope_are_taken() -> None:
    detector = _fleet((A, 20), (B, 20))
    for number in range(3):
        _close(detector, _id(number, A), 100.0, R.UNAVAILABLE)
        _close(detector, _id(number, B), 100.0)
    assert set(detector.take(Scope("egress", A), 100.0)) == {_id(n, A) for n in range(3)}
    assert detector.take(Scope("reason", R.UNAVAILABLE), 100.0) == {}
    assert len(detector.take(FLEET, 100.0)) == 3


def test_who_notices_an_outage_after_its_end_is_an_echo_but_not_who_has_been_let_in_since() -> None:
    detector = _fleet(("direct", 20))
    detector.over(FLEET, 110.0)
    detector.opened(_id(1), 110.0)
    close = (R.CONNECTION_LOST, True, 0.0)
    assert detector.closed(_id(0), *close, 130.0) is Finding.ECHO
    assert detector.closed(_id(1), *close, 130.0) is Finding.EVIDENCE
    assert detector.closed(_id(0), R.CONNECTION_LOST, False, 0.0, 131.0) is Finding.EVIDENCE, (
        "an attempt is none"
    )
    assert detector.closed(_id(2), *close, 171.0) is Finding.EVIDENCE, "not for ever"


def test_an_echo_is_only_of_the_scope_that_was_out() -> None:
    detector = _fleet((A, 20), (B, 20))
    detector.over(Scope("egress", A), 110.0)
    assert detector.closed(_id(0, A), R.CONNECTION_LOST, True, 0.0, 111.0) is Finding.ECHO
    assert detector.closed(_id(0, B), R.CONNECTION_LOST, True, 0.0, 111.0) is Finding.EVIDENCE


def test_the_last_egress_with_open_sessions_is_everybody_since_the_held_ones_do_not_count() -> None:
    detector = _fleet((A, 20), (B, 20))
    found = [_close(detector, _id(n, B), 100.0, held=[Scope("egress", A)]) for n in range(5)]
    assert found == [None] * 4 + [FLEET]


def test_a_session_that_changes_its_egress_is_counted_there() -> None:
    detector = _fleet((A, 10), (B, 10))
    for number in range(10):
        detector.registered(_id(number, A), B)
    found = [_close(detector, _id(n, A), 100.0) for n in range(5)]
    assert found == [None] * 4 + [FLEET], "nobody is left at the first"
    assert detector.egress(_id(0, A)) == B
    assert detector.egress(SessionId("stranger")) == "direct"


def test_the_weight_is_that_of_the_time_when_it_was_open() -> None:
    detector = _fleet(("direct", 2))
    detector.closed(_id(0), R.CONNECTION_LOST, True, 7.0, 100.0)
    detector.closed(_id(0), R.CONNECTION_LOST, False, 0.5, 160.0)
    assert detector.weight(_id(0)) == 7.0
    assert detector.weight(SessionId("stranger")) == 0.0


def test_the_reasons_are_told_apart() -> None:
    assert correlated_reasons() == {
        R.CONNECTION_CLOSED,
        R.CONNECTION_LOST,
        R.NETWORK_UNREACHABLE,
        R.DNS,
        R.TLS_UNTRUSTED,
        R.PROXY,
        R.ATTEMPT_TIMED_OUT,
        R.UNAVAILABLE,
        R.SERVER_ERROR,
        R.UPGRADE_REFUSED,
        R.RATE_LIMITED,
        R.UNDECRYPTABLE_FRAME,
    }
    assert correlated_reasons() >= SERVER_MADE
    assert not correlated_reasons() & ANSWERS


_ACTS = st.tuples(
    st.sampled_from(["open", "close", "fail", "leave", "move", "over"]),
    st.integers(0, 14),
    st.sampled_from(["direct", A, B]),
    st.sampled_from([R.CONNECTION_LOST, R.UNAVAILABLE, R.LOGGED_OUT]),
    st.floats(0, 40),
)


@given(st.lists(_ACTS, max_size=120))
def test_its_counts_are_never_wrong_whatever_the_order(
    acts: list[tuple[str, int, str, R, float]],
) -> None:
    detector, now = Detector(), 0.0
    for act, number, egress, reason, pause in acts:
        now += pause
        session = _id(number)
        match act:
            case "open":
                detector.opened(session, now)
            case "close" | "fail":
                was_open = act == "close" and detector.is_open(session)
                _close(detector, session, now, reason, was_open)
            case "leave":
                detector.left(session)
            case "move":
                detector.registered(session, egress)
            case _:
                detector.over(FLEET, now)
        members, tallies = detector._members, (detector._seen, detector._trials)
        opened = [member.egress for member in members.values() if member.opened_at is not None]
        assert detector._open == len(opened)
        assert dict(detector._open_by_egress) == {
            egress: opened.count(egress) for egress in set(opened)
        }
        assert detector._members_by_egress == Counter(member.egress for member in members.values())
        for tally in tallies:
            assert tally.by_egress == Counter(sighting.egress for _, sighting in tally.items())
            assert tally.by_reason == Counter(sighting.reason for _, sighting in tally.items())
        seen, trials = ({session for session, _ in tally.items()} for tally in tallies)
        assert not seen & trials
        assert seen | trials <= set(members)
        assert not {session for session in seen | trials if members[session].opened_at is not None}
        assert {session for session in trials if not members[session].fails_alone} == set()
