"""What a session remembers across restarts and boots: monotonic in memory, wall clock in the
store.
"""

import math
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions.lifecycle import remembered
from sessions.lifecycle.remembered import Opened, Remembered
from sessions.model import CloseReason
from sessions.policy import RATE_LIMIT_MEMORY_SECONDS, Baseline, LastClose, Memory
from sessions.policy.breaker import BreakerRecord
from sessions.workers.wire import WireError

WALL = 1_700_000_000.0
NOW = 5_000.0
DAY = 24 * 3600.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The wall clock, at `wall`."""
    clock = SimpleNamespace(wall=WALL)
    monkeypatch.setattr(
        "sessions.lifecycle.remembered.time", SimpleNamespace(time=lambda: clock.wall)
    )
    return clock


FULL = Remembered(
    Memory(
        failures=7,
        penalty_steps=5,
        penalty_until=NOW + 600,
        tries={CloseReason.REPLACED: 1, CloseReason.LOGGED_OUT: 2},
        restarts=(NOW - 30, NOW - 10),
        crashes=(NOW - 300,),
        deafs=(NOW - 3600,),
        drops=(NOW - 50, NOW - 5),
        logins=((NOW - 4000, 7), (NOW - 300, 2)),
    ),
    BreakerRecord(state="open", failures=5, opened_at=NOW - 100),
    LastClose(CloseReason.REPLACED, 440, "conflict", "try 1 of 2", "stop the other one", WALL - 1),
    parked=True,
    next_attempt_at=NOW + 44,
    judged=(3, 17),
    opened=Opened(3, 18, stable=True),
    baseline=Baseline(
        Memory(failures=1, drops=(NOW - 50,), tries={CloseReason.REPLACED: 1}),
        BreakerRecord(state="open", failures=5, opened_at=NOW - 900),
    ),
)


@pytest.mark.usefixtures("clock")
def test_all_of_it_comes_back() -> None:
    assert remembered.decode(remembered.encode(FULL, NOW), NOW) == FULL


def test_a_session_of_which_nothing_is_stored_begins_with_nothing() -> None:
    assert remembered.decode(None, NOW) == Remembered(Memory(), BreakerRecord())


@pytest.mark.parametrize(
    "stepped", [0.0, DAY, -DAY, 400 * DAY], ids=["not at all", "forward", "back", "far"]
)
def test_within_one_boot_nothing_changes_however_the_wall_clock_is_stepped(
    clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, stepped: float
) -> None:
    monkeypatch.setattr(remembered, "BOOT", "this boot")
    stored = remembered.encode(FULL, NOW)
    clock.wall += stepped
    back = remembered.decode(stored, NOW + 60)
    assert back.next_attempt_at == pytest.approx(FULL.next_attempt_at)
    assert back.breaker.opened_at == pytest.approx(FULL.breaker.opened_at)
    assert back.policy.penalty_until == pytest.approx(FULL.policy.penalty_until)
    assert back.policy.crashes == pytest.approx(FULL.policy.crashes)
    assert back.judged == FULL.judged


def test_after_another_boot_the_wall_clock_is_asked_even_if_the_monotonic_one_is_further_on(
    clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "BOOT", "an earlier boot")
    stored = remembered.encode(FULL, NOW)
    monkeypatch.setattr(remembered, "BOOT", "this boot")
    clock.wall += 3600
    back = remembered.decode(stored, 9 * NOW)
    assert back.next_attempt_at == pytest.approx(9 * NOW + 44 - 3600)
    assert back.breaker.opened_at == pytest.approx(9 * NOW - 100 - 3600)
    assert back.policy.crashes == (pytest.approx(9 * NOW - 300 - 3600),)


@pytest.mark.parametrize("stepped", [-DAY, -1.0])
def test_after_another_boot_with_a_clock_that_was_set_back_no_time_at_all_has_passed(
    clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, stepped: float
) -> None:
    monkeypatch.setattr(remembered, "BOOT", "an earlier boot")
    stored = remembered.encode(FULL, NOW)
    monkeypatch.setattr(remembered, "BOOT", "this boot")
    clock.wall += stepped
    back = remembered.decode(stored, 3.0)
    assert back.next_attempt_at == pytest.approx(3 + 44), (
        "the wait is as long as it was, and not a day longer"
    )
    assert back.breaker.opened_at == pytest.approx(3 - 100)


def test_a_machine_whose_boots_have_no_name_trusts_the_wall_clock(
    clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "BOOT", "")
    stored = remembered.encode(FULL, NOW)
    clock.wall += 10
    assert remembered.decode(stored, 2 * NOW).next_attempt_at == pytest.approx(2 * NOW + 34)


def test_a_memory_of_the_version_before_without_boot_and_monotonic_time_is_read_by_the_wall_clock(
    clock: SimpleNamespace,
) -> None:
    stored = msgspec.json.decode(remembered.encode(FULL, NOW))
    for name in ("boot", "saved_at_monotonic", "judged", "drops", "logins", "calm"):
        del stored[name]
    clock.wall += 10
    back = remembered.decode(msgspec.json.encode(stored), 3.0)
    assert back.next_attempt_at == pytest.approx(3 + 34)
    assert back.judged is None
    assert (back.policy.drops, back.policy.logins, back.baseline) == ((), (), None)


def test_after_a_reboot_the_monotonic_clock_begins_anew_and_all_is_told_on_it(
    clock: SimpleNamespace,
) -> None:
    stored = remembered.encode(FULL, NOW)
    clock.wall += 60  # the machine was down for a minute, and its monotonic clock stands at 3 s now
    back = remembered.decode(stored, 3.0)
    assert back.next_attempt_at == pytest.approx(3 + 44 - 60)
    assert back.breaker.opened_at == pytest.approx(3 - 160)
    assert back.policy.penalty_until == pytest.approx(3 + 540)
    assert back.policy.restarts == (pytest.approx(3 - 90), pytest.approx(3 - 70))
    assert back.policy.logins == ((pytest.approx(3 - 4060), 7), (pytest.approx(3 - 360), 2))
    assert back.baseline is not None
    assert back.baseline.policy.drops == (pytest.approx(3 - 110),)
    assert back.baseline.breaker.opened_at == pytest.approx(3 - 960)
    assert back.last_close == FULL.last_close


def test_a_wall_clock_that_was_set_back_lets_nothing_lie_in_the_future(
    clock: SimpleNamespace,
) -> None:
    stored = remembered.encode(FULL, NOW)
    clock.wall -= DAY
    back = remembered.decode(stored, NOW)
    times = [*back.policy.restarts, *back.policy.crashes, *back.policy.deafs, *back.policy.drops]
    times += [begin for begin, _ in back.policy.logins]
    assert back.breaker.opened_at is not None
    assert max(*times, back.breaker.opened_at) <= NOW
    assert back.policy.penalty_until <= NOW + RATE_LIMIT_MEMORY_SECONDS, (
        "it can only shorten what is remembered"
    )


@given(
    st.floats(0, 1e7),
    st.floats(0, 1e7),
    st.lists(st.floats(0, 1e6), max_size=5).map(tuple),
    st.none() | st.floats(0, 1e6),
)
def test_any_times_survive_a_restart_of_the_program(
    now: float, at: float, times: tuple[float, ...], due: float | None
) -> None:
    given_times = tuple(min(now, t) for t in times)
    record = BreakerRecord(state="open", failures=1, opened_at=min(now, at))
    past = Remembered(Memory(crashes=given_times), record, None, False, due)
    back = remembered.decode(remembered.encode(past, now), now)
    assert back.policy.crashes == pytest.approx(given_times, abs=0.1)
    assert back.breaker.opened_at == pytest.approx(min(now, at), abs=0.1)
    if due is None:
        assert back.next_attempt_at is None
    else:
        assert back.next_attempt_at == pytest.approx(due, abs=0.1)
        assert math.isfinite(back.next_attempt_at or 0)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"failures":"many"}',
        b'{"tries":{"no such reason":1}}',
        b'{"breaker_state":"ajar"}',
        b'{"last_close":{"reason":"replaced","code":1,"message":"\xff","rule":"","human":"","at_wall_seconds":1}}',
        b'{"failures":' + b"[" * 100_000,
    ],
    ids=lambda stored: repr(stored[:25]),
)
def test_what_cannot_be_read_is_refused_with_the_promised_error(stored: bytes) -> None:
    with pytest.raises(WireError):
        remembered.decode(stored, NOW)


def test_what_an_older_version_stored_without_newer_fields_is_read() -> None:
    assert remembered.decode(b'{"failures":3}', NOW).policy.failures == 3


def test_the_stored_names_are_those_that_earlier_versions_wrote() -> None:
    stored = msgspec.json.decode(remembered.encode(FULL, NOW))
    assert stored["calm"]["policy"]["failures"] == FULL.baseline.policy.failures  # type: ignore[union-attr]
    assert stored["last_close"].keys() == {
        "reason",
        "code",
        "message",
        "rule",
        "human",
        "at_wall_seconds",
    }
