"""The chaos campaign's invariants: each holds for a good log, and is broken by a made-up log that
violates it.
"""

from datetime import UTC, datetime
from typing import Any

import pytest

from scripts.chaos import invariants
from scripts.chaos.invariants import Violation
from scripts.chaos.ledger import Ledger
from scripts.chaos.letters import fate

JID = "5511900000001:1@s.whatsapp.net"


def entry(
    event: str, n: int = 1, time_ms: int = 1_000, session: str | None = "s1", **more: Any
) -> dict[str, Any]:
    return {
        "n": n,
        "time_ms": time_ms,
        "event": event,
        "session": session,
        "jid": JID,
        "connection": 7,
        **more,
    }


def logins(*seconds: float) -> list[dict[str, Any]]:
    return [
        entry("login", n=n, time_ms=round(second * 1000)) for n, second in enumerate(seconds, 1)
    ]


def words(violations: list[Violation]) -> str:
    return "\n".join(str(violation) for violation in violations)


GOOD = [
    entry("connected"),
    entry("login"),
    entry("open"),
    entry("message_in"),
    entry("logout", by="fault"),
]


def test_an_overlap_is_found() -> None:
    assert invariants.no_overlap(GOOD) == []
    assert "connection 7 while 5 lived" in words(
        invariants.no_overlap([*GOOD, entry("overlap", older=5)])
    )


@pytest.mark.parametrize(
    "bad",
    [
        entry("removed", by="phone"),
        entry("registered"),
        entry("paired"),
        entry("login_refused", by="server"),
    ],
)
def test_a_pairing_that_was_lost_is_found(bad: dict[str, Any]) -> None:
    devices = [{"jid": JID}]
    assert invariants.no_pairing_lost(GOOD, devices, {"s1": JID}, {"s1": JID}) == []
    assert bad["event"] in words(
        invariants.no_pairing_lost([*GOOD, bad], devices, {"s1": JID}, {"s1": JID})
    )


def test_a_refusal_that_is_itself_a_fault_is_no_lost_pairing() -> None:
    entries = [entry("login_refused", by="fault", reason=503)]
    assert invariants.no_pairing_lost(entries, [{"jid": JID}], {"s1": JID}, {"s1": JID}) == []


def test_a_device_that_is_gone_and_a_session_that_shows_another_are_found() -> None:
    assert "linked no more" in words(invariants.no_pairing_lost([], [], {"s1": JID}, {"s1": JID}))
    assert "it shows None" in words(
        invariants.no_pairing_lost([], [{"jid": JID}], {"s1": JID}, {"s1": None})
    )


def test_logins_within_the_bucket_pass() -> None:
    assert invariants.rate_kept(logins(10, 10, 10, 10, 10.5, 11, 11.5), rate=2, burst=4) == []


def test_a_burst_above_the_bucket_is_found_once_it_is_beyond_the_tolerance() -> None:
    assert invariants.rate_kept(logins(*[10] * 5), rate=2, burst=4) == []
    assert len(invariants.rate_kept(logins(*[10] * 6), rate=2, burst=4)) == 1


def test_a_pace_above_the_rate_is_found_however_even_it_is() -> None:
    assert invariants.rate_kept(logins(*[10 + n / 2 for n in range(40)]), rate=2, burst=4) == []
    assert invariants.rate_kept(logins(*[10 + n / 3 for n in range(40)]), rate=2, burst=4) != []


def test_two_bursts_with_too_little_between_them_are_found_as_after_a_gate_that_forgot() -> None:
    assert invariants.rate_kept(logins(*[10] * 4, *[11] * 4), rate=2, burst=4) != []
    assert invariants.rate_kept(logins(*[10] * 4, *[12] * 4), rate=2, burst=4) == []


def test_what_was_judged_before_counts_and_is_not_told_again() -> None:
    bad = logins(*[10] * 6)
    assert invariants.rate_kept(bad, rate=2, burst=4, after=6) == []
    assert (
        len(
            invariants.rate_kept(
                [*bad, entry("login", n=7, time_ms=10_000)], rate=2, burst=4, after=6
            )
        )
        == 1
    )


@pytest.mark.parametrize("event", ["login", "logout", "login_refused", "connected", "refused"])
def test_whatever_the_server_notices_is_found(event: str) -> None:
    assert invariants.unnoticed([entry("message_in"), entry("receipt"), entry("fault")]) == []
    assert event in words(invariants.unnoticed([entry(event)]))


def test_texts_are_told_apart_missing_doubled_and_astray() -> None:
    ledger = Ledger()
    texts = {
        (session, number): ledger.send(session)[1]
        for session in ("s1", "s2")
        for number in (1, 2, 3)
    }
    ledger.see("s1", texts["s1", 1])
    ledger.see("s1", "Olá!")
    ledger.see("s1", None)
    assert ledger.missing("s1") == [2, 3]
    assert ledger.missing("s1", until=2) == [2]
    assert invariants.texts_once(ledger, ["s1", "s2"]) == []
    assert "never shown: 2, 3" in words(
        invariants.none_missing({"s1": ledger.missing("s1"), "s2": []})
    )

    ledger.see("s1", texts["s1", 1])
    ledger.see("s2", texts["s1", 2])
    found = words(invariants.texts_once(ledger, ["s1", "s2"]))
    assert "s1: shown more than once: 1" in found
    assert "s2: 1 texts were sent to another session" in found


def charged(failures: int, state: str = "closed") -> dict[str, Any]:
    return {"reconnection": {"breaker": {"failures": failures, "state": state}}}


def test_a_breaker_that_counts_an_outage_is_found_and_one_that_forgets_is_not() -> None:
    before = {"s1": charged(2), "s2": charged(0)}
    assert invariants.uncharged(before, {"s1": charged(0), "s2": charged(0)}, ["s1", "s2"]) == []
    found = words(invariants.uncharged(before, {"s1": charged(2), "s2": charged(1)}, ["s1", "s2"]))
    assert (
        found
        == "an outage is charged to nobody: s2: its breaker is closed with 1 failures, and had 0"
    )
    assert "is open" in words(invariants.uncharged(before, {"s1": charged(2, "open")}, ["s1"]))


def test_too_many_logins_for_an_outage_are_found_and_any_of_somebody_with_another_way() -> None:
    three = logins(1, 2, 3)
    assert invariants.gentle(three, {"s1"}) == []
    assert "s1: 4, and 3 are enough" in words(
        invariants.gentle([*three, entry("login_refused")], {"s1"})
    )
    assert "s2: 1, and 0 are enough" in words(
        invariants.gentle([entry("login", session="s2")], {"s1"})
    )
    assert invariants.gentle([entry("refused", session="s2")], {"s1"}) == [], (
        "a look at the way is no login"
    )


def test_a_first_session_that_is_late_or_never_back_is_found() -> None:
    assert invariants.back_with_the_way(59.0, 60.0) == []
    assert "the first after 61 s" in words(invariants.back_with_the_way(61.0, 60.0))
    assert "nobody" in words(invariants.back_with_the_way(None, 60.0))


def test_what_was_written_off_is_waited_for_no_more_and_counts_as_lost_until_it_is_seen() -> None:
    ledger = Ledger()
    text = [ledger.send("s1")[1] for _ in range(3)]
    ledger.see("s1", text[0])
    ledger.write_off("s1", [2, 3])
    assert ledger.missing("s1") == []
    assert ledger.totals() == (3, 1, 2)
    ledger.see("s1", text[1])
    assert ledger.totals() == (3, 2, 1)


def test_a_figure_that_grows_is_found_and_one_that_varies_is_not() -> None:
    assert invariants.not_grown("descriptor", 50, 40, 10) == []
    assert "51, and 40 at the start" in words(invariants.not_grown("descriptor", 51, 40, 10))


def view(state: str, next_attempt_at: str | None = None) -> dict[str, Any]:
    return {
        "state": state,
        "reconnection": {"nextAttemptAt": next_attempt_at, "humanAction": "Scan the QR"},
    }


@pytest.mark.parametrize("state", ["parked", "quarantined", "qr", "stopped"])
def test_a_state_that_needs_a_human_is_found(state: str) -> None:
    assert invariants.stuck("s1", view("waiting")) == []
    assert f"it is {state}: Scan the QR" in words(invariants.stuck("s1", view(state)))


def test_patience_is_the_bound_or_longer_for_whom_shows_when_it_tries_again() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert invariants.patience([view("connecting")], 5.0, now, 60.0) == 60.0
    assert (
        invariants.patience([view("waiting", "2026-01-01T00:00:30.000Z")], 5.0, now, 60.0) == 95.0
    )
    assert (
        invariants.patience([view("waiting", "2026-01-02T00:00:00.000Z")], 5.0, now, 60.0) == 300.0
    )


def test_the_fate_of_letters() -> None:
    log = [
        entry("message_out", id="a", text="um"),
        entry("message_out", id="b", undecryptable="no session"),
        entry("message_out", id="b", text="dois"),
        entry("message_out", id="c", undecryptable="no session"),
    ]
    told = fate(["a", "b", "c", "d"], log)
    assert (told.read, told.read_after_retry, told.never) == (1, 1, ("c", "d"))
