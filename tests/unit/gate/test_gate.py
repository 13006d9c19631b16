"""The fleet's gate on a fast-forwarded clock: rate, burst, cap, queue, hold."""

import asyncio
import itertools
import random

import pytest

from sessions.model import SessionId
from supervisor.gate.gate import FAILED_SECONDS, Gate, GateConfig
from supervisor.gate.permit import GatePermit

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left")]


def _new_gate(*, rate: float = 5.0, burst: int = 10, concurrency: int = 50) -> Gate:
    return Gate(
        GateConfig(rate_per_second=rate, burst=burst, concurrency=concurrency), random.Random(1)
    )


async def _gate(*, rate: float = 5.0, burst: int = 10, concurrency: int = 50) -> Gate:
    """A gate that has had a quiet time: its bucket, which is empty at first, is full."""
    gate = _new_gate(rate=rate, burst=burst, concurrency=concurrency)
    await asyncio.sleep(burst / rate)
    return gate


def _id(number: int) -> SessionId:
    return SessionId(f"s{number}")


def _some(rng: random.Random) -> float:
    """Up to a second, in steps that the fast-forwarded clock can tell exactly: a rounding error
    would stand still there for ever.
    """
    return rng.randrange(64) / 64


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _now() -> float:
    return asyncio.get_running_loop().time()


# --- the rate -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
async def test_the_server_never_sees_more_than_the_burst_and_the_rate_however_late_logins_land(
    seed: int,
) -> None:
    rng = random.Random(seed)
    rate, burst = rng.choice([(4.0, 10), (2.0, 1), (64.0, 3)])
    gate = await _gate(rate=rate, burst=burst, concurrency=rng.choice([1, 5, 50]))
    landings: list[float] = []

    async def attempt(number: int) -> None:
        await asyncio.sleep(_some(rng) * rng.choice([0, 5]))
        permit = await gate.admit(_id(number), urgent=rng.random() < 0.1)
        await asyncio.sleep(_some(rng) * rng.choice([0, 1, 4]))
        if rng.random() < 0.9:
            permit.login_sent()
            landings.append(_now())
            await asyncio.sleep(_some(rng) * 2)
        permit.finish(succeeded=rng.random() < 0.5)

    await asyncio.gather(*(attempt(number) for number in range(80)))
    landings.sort()
    for first, last in itertools.combinations(range(len(landings)), 2):
        seconds = landings[last] - landings[first]
        assert last - first + 1 <= burst + rate * seconds + 1e-3
    assert gate.view().under_way == 0
    assert gate.view().queued == 0


async def test_a_storm_goes_through_at_the_rate_and_no_slower() -> None:
    gate = await _gate(rate=4.0, burst=10)
    began = _now()
    login_sent = await asyncio.gather(*(_land_and_finish(gate, number) for number in range(60)))
    assert sum(at - began < 0.001 for at in login_sent) == 10
    assert max(login_sent) - began == pytest.approx(12.5, abs=0.1), "(60 - 10) / 4 per second"


async def test_an_attempt_that_never_got_to_its_login_costs_a_token_all_the_same() -> None:
    gate = await _gate(rate=1.0, burst=1)
    permit = gate.try_admit(_id(1))
    assert permit is not None
    permit.finish(succeeded=False)
    assert gate.view().tokens == 0
    assert gate.try_admit(_id(2)) is None


async def test_a_ticket_costs_one_token_however_often_it_lands_and_ends() -> None:
    gate = await _gate(rate=0.001, burst=3)
    permit = gate.try_admit(_id(1))
    assert permit is not None
    for _ in range(3):
        permit.login_sent()
    for _ in range(3):
        permit.finish(succeeded=True)
    assert gate.view().tokens == pytest.approx(2)
    assert gate.view().under_way == 0


async def test_the_queue_moves_when_a_login_has_landed_and_not_only_when_its_attempt_is_over() -> (
    None
):
    gate = await _gate(rate=1.0, burst=2, concurrency=50)
    permits = [gate.try_admit(_id(number)) for number in range(2)]
    waiter = asyncio.create_task(gate.admit(_id(3)))
    await _settle()
    for permit in permits:
        assert permit is not None
        permit.login_sent()  # and then the server takes half a minute to let them in
    async with asyncio.timeout(1.5):  # one token a second
        await waiter
    waiter.result().finish(succeeded=True)


# --- after a restart ------------------------------------------------------------------------------


async def test_a_new_gate_begins_without_tokens_as_nobody_knows_what_the_last_one_let_through() -> (
    None
):
    gate = _new_gate(rate=2.0, burst=4)
    assert gate.view().tokens == 0
    assert gate.try_admit(_id(1)) is None
    began = _now()
    login_sent = await asyncio.gather(*(_land_and_finish(gate, number) for number in range(8)))
    assert [at - began for at in sorted(login_sent)] == pytest.approx(
        [0.5 * n for n in range(1, 9)], abs=0.01
    )


@pytest.mark.parametrize("seed", range(4))
async def test_not_even_restarts_let_the_server_see_more_than_the_burst_and_the_rate(
    seed: int,
) -> None:
    rng = random.Random(seed)
    rate, burst = rng.choice([(4.0, 8), (2.0, 1), (16.0, 3)])
    landings: list[float] = []
    waiting: list[GatePermit | None] = []
    for _ in range(20):
        gate = _new_gate(rate=rate, burst=burst)
        # Those that were under way as the last supervisor died are adopted; some have landed
        # before, some land now.
        adopted = [
            gate.adopt(_id(n), login_sent=permit is None) for n, permit in enumerate(waiting)
        ]
        for permit, before in zip(adopted, waiting, strict=True):
            if before is not None:
                landings.append(_now())
            permit.finish(succeeded=True)
        waiting = []
        await asyncio.sleep(rng.choice([0.0, 0.25, 1.0, 8.0]))
        for number in range(rng.randrange(2 * burst + 2)):
            admitted = gate.try_admit(_id(number))
            if admitted is not None and rng.random() < 0.5:
                admitted.login_sent()
                landings.append(_now())
                admitted = None
                waiting.append(None)
            elif admitted is not None:
                waiting.append(admitted)
    for first, last in itertools.combinations(range(len(landings)), 2):
        assert last - first + 1 <= burst + rate * (landings[last] - landings[first]) + 1e-3
    assert len(landings) > burst


async def test_an_adopted_attempt_costs_a_token_only_if_its_login_is_still_to_come() -> None:
    gate = await _gate(rate=1 / 1024, burst=3)
    login_sent, to_come = gate.adopt(_id(1), login_sent=True), gate.adopt(_id(2), login_sent=False)
    assert gate.view().under_way == 2
    login_sent.login_sent()
    login_sent.finish(succeeded=True)
    assert gate.view().tokens == pytest.approx(3)
    assert [gate.try_admit(_id(n)) is not None for n in (3, 4, 5)] == [
        True,
        True,
        False,
    ], "one token is reserved"
    to_come.login_sent()
    to_come.finish(succeeded=True)
    assert gate.view().tokens == pytest.approx(2, abs=0.01)


async def test_adopted_attempts_that_the_empty_bucket_cannot_pay_are_owed_and_the_next_waits_for_them() -> (
    None
):
    gate = _new_gate(rate=1.0, burst=2)
    for number in range(3):
        gate.adopt(_id(number), login_sent=False).finish(succeeded=False)
    began = _now()
    permit = await gate.admit(_id(9))
    assert _now() - began == pytest.approx(4.0, abs=0.01), "three are owed, the fourth is its own"
    permit.finish(succeeded=True)


async def test_adopted_attempts_count_as_under_way() -> None:
    gate = await _gate(rate=100.0, burst=100, concurrency=2)
    adopted = [gate.adopt(_id(number), login_sent=True) for number in range(3)]
    assert gate.try_admit(_id(9)) is None
    waiting = asyncio.create_task(gate.admit(_id(9)))
    await asyncio.sleep(1)
    adopted[0].finish(succeeded=True)
    await asyncio.sleep(1)
    assert not waiting.done(), "two are still under way, as many as the cap"
    adopted[1].finish(succeeded=True)
    (await waiting).finish(succeeded=True)
    assert gate.view().under_way == 1
    adopted[2].finish(succeeded=True)


# --- the cap and the queue ------------------------------------------------------------------------


async def test_no_more_attempts_are_under_way_than_the_cap() -> None:
    gate = await _gate(rate=1000.0, burst=1000, concurrency=3)
    under_way = most = 0

    async def attempt(number: int) -> None:
        nonlocal under_way, most
        permit = await gate.admit(_id(number))
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(1)
        under_way -= 1
        permit.finish(succeeded=True)

    began = _now()
    await asyncio.gather(*(attempt(number) for number in range(10)))
    assert most == 3
    assert _now() - began == pytest.approx(4.0, abs=0.1)


async def test_who_comes_first_goes_first_and_who_is_urgent_goes_before() -> None:
    gate = await _gate(rate=1.0, burst=1)
    order: list[str] = []

    async def attempt(name: str, urgent: bool) -> None:
        permit = await gate.admit(SessionId(name), urgent)
        order.append(name)
        permit.finish(succeeded=True)

    first = gate.try_admit(_id(0))
    assert first is not None
    async with asyncio.TaskGroup() as group:
        for name, urgent in [("a", False), ("b", False), ("urgent", True), ("c", False)]:
            group.create_task(attempt(name, urgent))
        await _settle()
        assert gate.try_admit(_id(1)) is None, "nobody passes those who wait"
        first.finish(succeeded=True)
    assert order == ["urgent", "a", "b", "c"]


async def test_a_waiter_who_gives_up_leaves_the_queue_and_costs_nothing() -> None:
    gate = await _gate(rate=1.0, burst=1)
    first = gate.try_admit(_id(0))
    assert first is not None
    gone, stays = asyncio.create_task(gate.admit(_id(1))), asyncio.create_task(gate.admit(_id(2)))
    await _settle()
    gone.cancel()
    await asyncio.wait([gone])
    assert gate.view().queued == 1
    first.finish(succeeded=True)
    assert await stays is not None
    stays.result().finish(succeeded=True)


async def test_a_waiter_who_is_cancelled_as_he_gets_his_ticket_gives_it_back() -> None:
    gate = await _gate(rate=1000.0, burst=1000, concurrency=1)
    first = gate.try_admit(_id(0))
    assert first is not None
    gone, next_in_line = (
        asyncio.create_task(gate.admit(_id(1))),
        asyncio.create_task(gate.admit(_id(2))),
    )
    await _settle()
    first.finish(succeeded=True)  # the permit is granted, its task has not run yet
    gone.cancel()
    await asyncio.wait([gone])
    async with asyncio.timeout(1):
        permit = await next_in_line
    assert gate.view().under_way == 1
    permit.finish(succeeded=True)
    assert gate.view().under_way == 0


async def test_a_ticket_that_comes_free_as_a_waiter_is_cancelled_goes_to_the_next() -> None:
    gate = await _gate(rate=1000.0, burst=1000, concurrency=1)
    first = gate.try_admit(_id(0))
    assert first is not None
    gone, next_in_line = (
        asyncio.create_task(gate.admit(_id(1))),
        asyncio.create_task(gate.admit(_id(2))),
    )
    await _settle()
    gone.cancel()  # its task has not run yet: it still stands in the queue
    first.finish(succeeded=True)
    await asyncio.wait([gone])
    async with asyncio.timeout(1):
        permit = await next_in_line
    permit.finish(succeeded=True)
    assert gate.view().under_way == 0


@pytest.mark.parametrize("seed", range(4))
async def test_no_ticket_and_no_waiter_is_ever_lost_when_attempts_are_called_off_at_random(
    seed: int,
) -> None:
    rng = random.Random(seed)
    gate = await _gate(rate=16.0, burst=3, concurrency=4)
    tasks = [
        asyncio.create_task(_land_and_finish(gate, number, _some(rng))) for number in range(60)
    ]
    for task in rng.sample(tasks, 30):
        await asyncio.sleep(rng.choice([0.0, 0.0, 1 / 16]))
        task.cancel()
    async with asyncio.timeout(120):
        await asyncio.gather(*tasks, return_exceptions=True)
    view = gate.view()
    assert (view.under_way, view.queued) == (0, 0)
    assert [task.exception() for task in tasks if not task.cancelled() and task.exception()] == []
    await asyncio.sleep(1)
    assert gate.view().tokens == 3, "and every token came back"
    assert all(gate.try_admit(_id(number)) for number in range(3))


# --- the hold -------------------------------------------------------------------------------------


async def test_a_hold_lets_one_canary_at_a_time_through_and_its_success_releases_all() -> None:
    gate = await _gate(rate=1000.0, burst=1000)
    _hold(gate)
    assert gate.try_admit(_id(99)) is None
    began, admitted = _now(), []

    async def attempt(number: int) -> GatePermit:
        permit = await gate.admit(_id(number))
        admitted.append((_now() - began, number))
        return permit

    tasks = [asyncio.create_task(attempt(number)) for number in range(5)]
    await asyncio.sleep(400)
    assert [number for _, number in admitted] == [0]
    assert 270 <= admitted[0][0] <= 330
    tasks[0].result().finish(succeeded=False)
    await asyncio.sleep(2 * 3600)
    assert [number for _, number in admitted] == [
        0,
        1,
    ], "the second canary has had no outcome yet: nobody else tries"
    tasks[1].result().finish(succeeded=True)
    await _settle()
    assert [number for _, number in admitted] == [0, 1, 2, 3, 4]
    assert gate.view().holds == ()
    for task in tasks[2:]:
        task.result().finish(succeeded=True)


async def test_a_failed_attempt_that_began_before_the_hold_does_not_count_as_a_canary() -> None:
    gate = await _gate()
    earlier = gate.try_admit(_id(1))
    assert earlier is not None
    _hold(gate)
    (before,) = gate.view().holds
    earlier.finish(succeeded=False)
    (after,) = gate.view().holds
    assert after.next_canary_in_seconds == before.next_canary_in_seconds


async def test_an_urgent_attempt_is_the_next_canary_but_never_a_second_one() -> None:
    gate = await _gate()
    _hold(gate)
    canary = await asyncio.wait_for(gate.admit(_id(1), urgent=True), 1)
    assert gate.try_admit(_id(2), urgent=True) is None
    second = asyncio.create_task(gate.admit(_id(2), urgent=True))
    await asyncio.sleep(3600)
    assert not second.done()
    canary.finish(succeeded=True)
    await _settle()
    assert second.done()
    second.result().finish(succeeded=True)


async def test_a_second_hold_changes_nothing_of_the_first() -> None:
    gate = await _gate()
    _hold(gate)
    await asyncio.sleep(50)
    assert gate.pause(_id(80), "another reason")
    (hold,) = gate.view().holds
    assert (hold.reason, hold.held_for_seconds) == ("client_outdated", 50.0)


async def test_a_first_405_holds_nobody_a_second_sessions_holds_the_fleet() -> None:
    gate = await _gate()
    assert [gate.pause(_id(1), "client_outdated") for _ in range(3)] == [False] * 3
    assert gate.view().holds == ()
    await asyncio.sleep(1801)
    assert not gate.pause(_id(2), "client_outdated"), "that was long ago"
    assert gate.pause(_id(1), "client_outdated")
    assert [(hold.scope, hold.reason) for hold in gate.view().holds] == [
        ("fleet", "client_outdated")
    ]


async def test_a_405_hold_with_nobody_to_try_ends_and_a_new_405_resumes_its_pace() -> None:
    gate = await _gate()
    gate.registered(_id(7), "direct", lambda: None)
    gate.opened(_id(7))
    _hold(gate)
    canary = await gate.admit(_id(1), urgent=True)
    await asyncio.sleep(900)
    replacement = asyncio.create_task(gate.admit(_id(7)))
    await _settle()
    gate.left(_id(1))
    canary.finish(succeeded=False)
    (held,) = gate.view().holds
    assert held.sessions_held == 0, "who is open is not held"
    assert "nobody waits to try" in held.words
    await asyncio.sleep(59)
    assert not replacement.done()
    await asyncio.sleep(2)
    (await replacement).finish(succeeded=True)
    assert gate.view().holds == ()
    await asyncio.sleep(600)
    assert gate.pause(_id(3), "client_outdated")
    waiting = asyncio.create_task(gate.admit(_id(3)))
    await _settle()
    (held,) = gate.view().holds
    assert held.next_canary_in_seconds is not None
    assert held.next_canary_in_seconds >= 800, (
        "it goes on at the pace that the last one had reached"
    )
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_forced_canaries_of_a_405_hold_keep_five_seconds_between_them() -> None:
    gate = await _gate()
    _hold(gate)
    times: list[float] = []

    async def forced(number: int) -> None:
        permit = await gate.admit(_id(number), urgent=True)
        times.append(_now())
        permit.finish(succeeded=False)
        assert gate.pause(_id(number), "client_outdated")

    began = _now()
    await asyncio.gather(*(forced(number) for number in range(6)))
    assert [at - began for at in times] == pytest.approx([5.0 * n for n in range(6)], abs=0.01)


async def test_the_queue_of_an_egress_that_nobody_uses_any_more_is_dropped() -> None:
    gate = await _gate()
    for number in range(50):
        gate.registered(_id(1), f"http://proxy-{number}", lambda: None)
        permit = await gate.admit(_id(1))
        permit.login_sent()
        permit.finish(succeeded=True)
        await asyncio.sleep(60)
    assert len(gate._queues._queues) <= 3
    gate.registered(_id(2), "http://busy", lambda: None)
    permit = await gate.admit(_id(2))
    gate.registered(_id(2), "http://other", lambda: None)
    gate.registered(_id(2), "http://another", lambda: None)
    permit.login_sent()
    gate.registered(_id(2), "http://busy", lambda: None)
    assert gate._queues.allowance("http://busy").available(_now()) < gate.view().egress_burst, (
        "its spent token is not forgotten"
    )
    permit.finish(succeeded=True)


# --- what is shown --------------------------------------------------------------------------------


async def test_the_view_says_how_full_how_long_and_until_when() -> None:
    gate = await _gate(rate=2.0, burst=4, concurrency=7)
    view = gate.view()
    assert (view.rate_per_second, view.burst, view.concurrency) == (2.0, 4, 7)
    assert (view.tokens, view.under_way, view.queued, view.seconds_until_queue_is_through) == (
        4,
        0,
        0,
        0,
    )
    permits = [gate.try_admit(_id(number)) for number in range(4)]
    waiting = [asyncio.create_task(gate.admit(_id(number))) for number in range(10, 16)]
    await _settle()
    for permit in permits:
        assert permit is not None
        permit.login_sent()
    view = gate.view()
    assert (view.tokens, view.under_way, view.queued) == (0, 4, 6)
    assert view.seconds_until_queue_is_through == 3.0, "six at two a second"
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert gate.view().queued == 0


async def test_the_view_of_a_hold_names_reason_canary_and_time_in_words() -> None:
    gate = await _gate()
    _hold(gate)
    waiting = asyncio.create_task(gate.admit(_id(1)))
    await asyncio.sleep(60)
    view = gate.view()
    assert view.seconds_until_queue_is_through is None, "nobody knows"
    (hold,) = view.holds
    assert hold.held_for_seconds == pytest.approx(60, abs=0.1)
    assert hold.next_canary_in_seconds is not None
    assert 200 <= hold.next_canary_in_seconds <= 280
    assert hold.words.startswith(
        "1 session is held for 60 s because of client_outdated (client version rejected); the next"
        " canary tries in"
    )
    await asyncio.sleep(300)
    assert waiting.done()
    view = gate.view()
    (hold,) = view.holds
    assert (hold.canary, hold.next_canary_in_seconds) == ("s1", None)
    assert "the canary tries now" in hold.words
    assert hold.canary == "s1"
    waiting.result().finish(succeeded=False)


def _hold(gate: Gate) -> None:
    """Two are told 405."""
    assert not gate.pause(_id(1001), "client_outdated")
    assert gate.pause(_id(1002), "client_outdated")


async def _land_and_finish(gate: Gate, number: int, seconds: float = 0.0) -> float:
    permit = await gate.admit(_id(number))
    try:
        await asyncio.sleep(seconds)
        permit.login_sent()
        return _now()
    finally:
        permit.finish(succeeded=True)


async def test_an_error_of_our_own_ends_nobodys_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is held has nothing but the gate's own timer to wait for."""
    gate = Gate(GateConfig(rate_per_second=1, burst=1), random.Random(1))
    broken = True
    pump_queues = gate._pump_queues

    def fails(now: float) -> float:
        if broken:
            raise RuntimeError("a bug")
        return pump_queues(now)

    monkeypatch.setattr(gate, "_pump_queues", fails)
    waiting = asyncio.create_task(gate.admit(SessionId("shop")))
    await asyncio.sleep(60)
    assert not waiting.done()
    broken = False
    async with asyncio.timeout(2 * FAILED_SECONDS):
        (await waiting).finish(succeeded=True)
