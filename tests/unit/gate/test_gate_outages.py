"""A gate and a fleet of simple sessions on a fast-forwarded clock: outages of everybody, of an
egress, of a reason; what they cost.
"""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from sessions.model import AlertChange, EventData, SessionId
from sessions.model import CloseReason as R
from sessions.policy import Close, Verdict
from supervisor.gate.gate import Gate, GateConfig
from supervisor.gate.permit import GatePermit

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left")]

LOGIN_SECONDS = 1.0


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for is told by no event
        await asyncio.sleep(0.1)


@dataclass(eq=False)
class Number:
    """A session that is open, or tries: it does what the actor does, in a few lines."""

    town: "Town"
    id: SessionId
    egress: str = "direct"
    weight: float = 0.0
    failures: int = 0
    charged: int = 0
    open: bool = False
    down_seconds: float = 0.0
    down_since: float | None = None
    uncharged: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: asyncio.Event = field(default_factory=asyncio.Event)
    wants: bool = True

    async def live(self) -> None:
        self.down_since = _now()
        gate = self.town.gate
        gate.registered(self.id, self.egress, self.uncharge)
        try:
            while self.wants:
                permit = gate.try_admit(self.id) or await gate.admit(self.id)
                reason = await self._attempt(permit)
                if reason is None:
                    reason = await self._be_open(permit)
                    close = Close(reason=reason, was_open=True)
                    verdict = gate.closed(self.id, close, self.weight)
                else:
                    verdict = gate.closed(self.id, Close(reason=reason), 0.0)
                    permit.finish(succeeded=False)
                if verdict is Verdict.REVEALING:
                    self.uncharge()
                if not verdict.covered:
                    await self._wait_alone()
        finally:
            gate.left(self.id)

    async def _attempt(self, permit: GatePermit) -> R | None:
        self.town.attempts.append((_now(), self.id))
        try:
            began = _now()
            within = min(30.0, permit.deadline_seconds or 30.0)
            async with asyncio.timeout(within) as deadline:
                permit.on_the_wire = lambda: deadline.reschedule(began + 30.0)  # type: ignore[attr-defined]
                reason = await self.town.server(self, permit)
        except TimeoutError:
            return R.ATTEMPT_TIMED_OUT
        except asyncio.CancelledError:
            permit.finish(succeeded=False)
            raise
        return reason

    async def _be_open(self, permit: GatePermit) -> R:
        permit.finish(succeeded=True)
        self.town.gate.opened(self.id)
        self.dropped.clear()
        self.open, self.failures = True, 0
        assert self.down_since is not None
        self.down_seconds += _now() - self.down_since
        self.down_since = None
        self.town.opened.append((_now(), self.id))
        await self.dropped.wait()
        self.open = False
        return self.town.reason

    def drop(self, noticed_after: float = 0.0) -> None:
        """Its line is dead from now on; it notices then."""
        if self.open and self.down_since is None:
            self.down_since = _now()
            asyncio.get_running_loop().call_later(noticed_after, self.dropped.set)

    async def _wait_alone(self) -> None:
        self.failures, self.charged = self.failures + 1, self.charged + 1
        rng = self.town.rng.random()
        self.uncharged.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(
                self.uncharged.wait(),
                rng * min(300, 2**self.failures) if self.failures > 1 else rng / 2,
            )

    def uncharge(self) -> None:
        self.failures = self.charged = 0
        self.uncharged.set()


class Town:
    """The sessions, their gate, and a server that is up or down."""

    def __init__(self, gate: Gate, sessions: int, seed: int, egresses: int = 1) -> None:
        self.rng = random.Random(seed)
        self.gate = gate
        self.up = True
        self.hangs = False
        self.reason = R.CONNECTION_CLOSED
        self.login_seconds = LOGIN_SECONDS
        self.reach_seconds = 0.0
        self.attempts: list[tuple[float, str]] = []
        self.landings: list[float] = []
        self.opened: list[tuple[float, str]] = []
        self.dead: set[str] = set()
        ways = ["direct", *(f"http://proxy-{n}" for n in range(1, egresses))]
        self.numbers = [
            Number(self, SessionId(f"n{n}"), ways[n % egresses]) for n in range(sessions)
        ]
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def server(self, number: Number, permit: GatePermit) -> R | None:
        if not self.up or number.egress in self.dead or number.id in self.dead:
            if self.hangs:
                await asyncio.sleep(600)
            await asyncio.sleep(0.1)
            return self.reason
        await asyncio.sleep(self.reach_seconds)
        permit.login_sent()
        permit.on_the_wire()  # type: ignore[attr-defined]
        self.landings.append(_now())
        await asyncio.sleep(self.login_seconds)
        return None if self.up else self.reason

    def begin(self) -> None:
        for number in self.numbers:
            self.tasks[number.id] = asyncio.create_task(number.live())

    async def all_open(self) -> float:
        await _until(lambda: all(number.open for number in self.numbers if number.wants))
        return _now()

    async def stop(self, number: Number) -> None:
        number.wants = False
        self.gate.left(number.id)
        self.tasks[number.id].cancel()
        await asyncio.gather(self.tasks[number.id], return_exceptions=True)

    def goes_down(self, noticed_within: float = 0.0) -> None:
        self.up = False
        for number in self.numbers:
            number.drop(self.rng.uniform(0, noticed_within) if noticed_within else 0.0)

    def forget(self) -> None:
        self.attempts.clear()
        self.opened.clear()
        for number in self.numbers:
            number.down_seconds = 0.0
            number.charged = 0

    @property
    def down_seconds(self) -> float:
        now = _now()
        return sum(
            number.down_seconds + (0.0 if number.down_since is None else now - number.down_since)
            for number in self.numbers
        )


@dataclass
class Told:
    """What the gate has published."""

    events: list[tuple[float, str, Mapping[str, Any]]] = field(default_factory=list)

    def publish(self, session: SessionId | None, told: EventData | AlertChange) -> None:
        assert session is None
        assert isinstance(told, EventData)
        self.events.append((_now(), told.type, msgspec.to_builtins(told)))

    def kinds(self, scope: str | None = None) -> list[str]:
        return [kind for _, kind, data in self.events if scope in {None, data["scope"]}]


@contextlib.asynccontextmanager
async def _town(
    sessions: int,
    *,
    seed: int = 1,
    egresses: int = 1,
    egress_rate: float | None = None,
    opened: bool = True,
) -> AsyncIterator[tuple[Town, Told]]:
    told = Told()
    gate = Gate(GateConfig(egress_rate_per_second=egress_rate), random.Random(seed), told.publish)
    town = Town(gate, sessions, seed, egresses)
    if opened:
        town.begin()
        await town.all_open()
        await asyncio.sleep(120)
        town.forget()
    try:
        yield town, told
    finally:
        for task in town.tasks.values():
            task.cancel()
        await asyncio.gather(*town.tasks.values(), return_exceptions=True)
        town.landings.sort()
        for first, last in itertools.combinations(range(min(300, len(town.landings))), 2):
            assert last - first + 1 <= 10 + 5 * (town.landings[last] - town.landings[first]) + 1e-3
        view = gate.view()
        assert (view.under_way, view.queued) == (0, 0)


def _oracle_seconds(sessions: int, outage_seconds: float) -> float:
    """Session-seconds down of who knows when the server is back, and has a full bucket then."""
    return sum(
        outage_seconds + LOGIN_SECONDS + max(0, place - 10 + 1) / 5 for place in range(sessions)
    )


# --- of everybody ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [10.0, 120.0, 1200.0])
@pytest.mark.parametrize(("sessions", "seed"), [(20, 1), (20, 2), (20, 3), (200, 1)])
async def test_an_outage_of_everybody_costs_little_more_than_who_knows_when_it_ends(
    sessions: int, seed: int, seconds: float
) -> None:
    async with _town(sessions, seed=seed) as (town, told):
        town.goes_down()
        await asyncio.sleep(seconds)
        town.up = True
        await town.all_open()
        ratio = town.down_seconds / _oracle_seconds(sessions, seconds)
        assert ratio <= 1.25
        assert told.kinds() == ["outage.began", "outage.ended"]
        assert [number.charged for number in town.numbers] == [0] * sessions
        canaries = len(town.attempts) - sessions
        assert canaries <= {10.0: 20, 120.0: 45, 1200.0: 120}[seconds]


@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("seed", range(3))
async def test_who_notices_only_by_his_keep_alive_is_held_with_the_others_and_never_charged(
    seed: int, hangs: bool
) -> None:
    async with _town(100, seed=seed) as (town, told):
        town.hangs = hangs
        town.goes_down(noticed_within=35.0)
        await asyncio.sleep(90)
        assert sum(number.charged for number in town.numbers) == 0
        town.up, back = True, _now()
        assert await town.all_open() - back <= 100 / 5 + 35
        assert told.kinds() == ["outage.began", "outage.ended"]


async def test_who_notices_a_short_outage_after_its_end_begins_no_second_one() -> None:
    async with _town(100) as (town, told):
        town.up = False
        for place, number in enumerate(town.numbers):
            number.drop(0.0 if place < 40 else town.rng.uniform(20, 35))
        await asyncio.sleep(10)
        town.up = True
        await asyncio.sleep(1)
        await town.all_open()
        await asyncio.sleep(60)
        assert told.kinds() == ["outage.began", "outage.ended"]
        assert sum(number.charged for number in town.numbers) == 0


async def test_canaries_are_at_most_fifteen_seconds_apart_for_ten_minutes_and_then_a_minute() -> (
    None
):
    async with _town(30) as (town, _):
        town.goes_down()
        began = _now()
        await asyncio.sleep(3600)
        times = [at - began for at, _ in town.attempts]
        pauses = [(after, later - after) for after, later in itertools.pairwise(times)]
        assert all(pause <= (15.01 if after < 600 else 60.01) for after, pause in pauses)
        assert max(pause for after, pause in pauses if after > 1200) > 35
        assert len({session for _, session in town.attempts[:30]}) >= 28, (
            "each canary is another session"
        )


async def test_canaries_that_hang_are_ended_and_do_not_stop_the_next() -> None:
    async with _town(30) as (town, _):
        town.hangs = True
        town.goes_down()
        began = _now()
        await asyncio.sleep(600)
        after_cap = [at - began for at, _ in town.attempts if at - began > 60]
        pauses = [later - earlier for earlier, later in itertools.pairwise(after_cap)]
        assert max(pauses) <= 30.1
        assert sum(pause > 15.1 for pause in pauses) <= len(pauses) / 3 + 1, (
            "every third has the time of any attempt"
        )


async def test_the_busiest_are_released_first() -> None:
    async with _town(60) as (town, _):
        for place, number in enumerate(town.numbers):
            number.weight = place * 7 % 60
        town.goes_down()
        await asyncio.sleep(60)
        town.up = True
        await town.all_open()
        released = [session for at, session in town.attempts if at >= town.opened[0][0]]
        by_weight = {number.id: number.weight for number in town.numbers}
        weights = [by_weight[SessionId(session)] for session in released]
        assert sorted(weights, reverse=True) == weights
        assert len(released) == 59


async def test_an_outage_that_comes_back_is_held_again_and_few_are_spent_on_it() -> None:
    async with _town(200) as (town, told):
        town.goes_down()
        for _ in range(5):
            await asyncio.sleep(30)
            town.up = True
            await asyncio.sleep(4)
            town.goes_down()
        await asyncio.sleep(30)
        assert told.kinds().count("outage.began") >= 2
        town.up = True
        await town.all_open()
        assert len(town.attempts) <= 200 + 5 * 45 + 6 * 30
        assert town.gate.view().holds == ()


async def test_a_supervisor_that_starts_into_an_outage_holds_after_five_failures() -> None:
    async with _town(50, opened=False) as (town, told):
        town.up = False
        town.begin()
        await asyncio.sleep(5)
        (held,) = town.gate.view().holds
        assert held.scope == "fleet"
        assert "5 sessions closed within 60 s: connection_closed 5" in held.words
        assert len(town.attempts) <= 12
        await asyncio.sleep(115)
        assert len(town.attempts) <= 60, "and not fifty times a backoff"
        town.up = True
        await town.all_open()
        assert sum(number.charged for number in town.numbers) == 0
        assert told.kinds() == ["outage.began", "outage.ended"]


async def test_a_small_fleet_is_governed_by_each_sessions_own_policy() -> None:
    async with _town(4) as (town, told):
        town.goes_down()
        await asyncio.sleep(60)
        assert told.events == []
        assert all(number.charged for number in town.numbers)
        town.up = True
        await town.all_open()


@pytest.mark.parametrize(("reach", "login"), [(1.0, 20.0), (1.0, 27.0), (20.0, 2.0)])
async def test_an_outage_after_which_logins_take_long_ends(reach: float, login: float) -> None:
    async with _town(12) as (town, told):
        town.goes_down()
        await asyncio.sleep(30)
        town.up, town.reach_seconds, town.login_seconds = True, reach, login
        async with asyncio.timeout(150):
            await town.all_open()
        assert told.kinds() == ["outage.began", "outage.ended"]


async def test_outages_that_come_and_go_are_slowed() -> None:
    async with _town(20) as (town, _):
        canaries = []
        for _ in range(8):
            town.attempts.clear()
            town.goes_down()
            await asyncio.sleep(30)
            canaries.append(len(town.attempts))
            town.up = True
            await town.all_open()
            await asyncio.sleep(30)
        assert canaries[-1] <= 5 < canaries[0]
        await asyncio.sleep(601)
        town.attempts.clear()
        town.goes_down()
        await asyncio.sleep(30)
        assert len(town.attempts) == canaries[0], "after ten good minutes it is forgotten"


# --- of some --------------------------------------------------------------------------------------


async def test_a_dead_proxy_holds_its_own_sessions_and_nobody_else() -> None:
    async with _town(60, egresses=4) as (town, told):
        sick = town.numbers[1].egress
        town.dead.add(sick)
        for number in town.numbers:
            if number.egress == sick:
                number.drop()
        await asyncio.sleep(1)
        (held,) = town.gate.view().holds
        assert (held.scope, held.value) == ("egress", sick)
        assert "(only egress http://proxy-1)" in held.words
        healthy = town.numbers[0]
        healthy.drop()
        before = _now()
        await _until(lambda: healthy.open and healthy.down_since is None)
        assert _now() - before < 3, "another egress is not held"
        town.dead.clear()
        await town.all_open()
        assert told.kinds() == ["outage.began", "outage.ended"]


async def test_an_outage_that_spreads_from_one_egress_widens_to_everybody() -> None:
    async with _town(60, egresses=3) as (town, told):
        town.dead.add("http://proxy-1")
        for number in town.numbers:
            if number.egress == "http://proxy-1":
                number.drop()
        await asyncio.sleep(2)
        town.dead.clear()
        town.goes_down()
        await asyncio.sleep(2)
        assert [held.scope for held in town.gate.view().holds] == ["fleet"]
        town.up = True
        await town.all_open()
        assert sum(number.charged for number in town.numbers) == 0
        assert town.gate.view().holds == ()
        assert told.kinds().count("outage.began") == told.kinds().count("outage.ended")


async def test_a_canary_of_each_egress_gets_its_turn() -> None:
    async with _town(60, egresses=3) as (town, _):
        town.goes_down()
        await asyncio.sleep(30)
        tried = [
            next(n.egress for n in town.numbers if n.id == session) for _, session in town.attempts
        ]
        assert all(len(set(tried[place : place + 3])) == 3 for place in range(3, len(tried) - 3))


async def test_a_reason_of_the_servers_holds_those_who_got_it_while_most_are_open() -> None:
    async with _town(60) as (town, _):
        town.reason = R.UNAVAILABLE
        for number in town.numbers[:15]:
            town.dead.add(number.id)
            number.drop()
        await asyncio.sleep(1)
        (held,) = town.gate.view().holds
        assert (held.scope, held.value) == ("reason", "unavailable")
        town.reason = R.CONNECTION_CLOSED
        town.numbers[40].drop()
        await asyncio.sleep(3)
        assert town.numbers[40].open, "who closed of something else is not held"
        town.dead.clear()
        await town.all_open()
        assert town.gate.view().holds == ()


async def test_an_egress_has_its_own_rate_and_does_not_stop_the_others() -> None:
    gate = Gate(
        GateConfig(rate_per_second=64, burst=64, egress_rate_per_second=2, egress_burst=1),
        random.Random(1),
    )
    await asyncio.sleep(10)
    login_sent: dict[str, list[float]] = {"slow": [], "other": []}

    async def attempt(number: int, egress: str) -> None:
        gate.registered(SessionId(f"{egress}{number}"), egress, lambda: None)
        permit = await gate.admit(SessionId(f"{egress}{number}"))
        permit.login_sent()
        login_sent[egress].append(_now())
        permit.finish(succeeded=True)

    began = _now()
    await asyncio.gather(
        *(attempt(n, "slow") for n in range(20)), *(attempt(n, "other") for n in range(3))
    )
    assert [at - began for at in login_sent["slow"]] == pytest.approx(
        [n / 2 for n in range(20)], abs=0.01
    )
    assert [at - began for at in login_sent["other"]] == pytest.approx([0, 0.5, 1.0], abs=0.01)


@pytest.mark.parametrize("sick", [4, 5, 6, 9])
async def test_sick_sessions_get_no_more_logins_however_many_they_are(sick: int) -> None:
    async with _town(20) as (town, told):
        for number in town.numbers[:sick]:
            town.dead.add(number.id)
            number.drop()
        await asyncio.sleep(300)
        town.attempts.clear()
        for place in range(24):
            # each healthy login used to release the sick, who then began the next hold
            town.numbers[10 + place % 10].drop()
            await asyncio.sleep(300)
        assert all(town.numbers[10 + place].open for place in range(10))
        assert told.kinds().count("outage.began") <= 1
        assert all(number.charged > 10 for number in town.numbers[:sick]), (
            "their own breakers slow them"
        )
        tries = sum(session in town.dead for _, session in town.attempts)
        assert tries <= sick * 80, "a mean of 150 s apart, as the numbers of this town wait"


async def test_a_hold_ends_when_most_have_stayed_open_for_two_minutes() -> None:
    async with _town(20) as (town, told):
        for number in town.numbers[:6]:
            town.dead.add(number.id)
            number.drop()
        await asyncio.sleep(119)
        assert len(town.gate.view().holds) == 1
        await asyncio.sleep(3)
        assert town.gate.view().holds == ()
        assert "the others are well" in told.events[-1][2]["words"]


async def test_a_hold_by_reason_ends_when_most_have_stayed_open_for_ten_minutes() -> None:
    async with _town(60) as (town, told):
        town.reason = R.UNAVAILABLE
        for number in town.numbers[:15]:
            town.dead.add(number.id)
            number.drop()
        await asyncio.sleep(598)
        assert len(town.gate.view().holds) == 1
        await asyncio.sleep(4)
        assert town.gate.view().holds == ()
        await asyncio.sleep(1200)
        assert told.kinds() == ["outage.began", "outage.ended"]


# --- who comes and goes during a hold -------------------------------------------------------------


async def test_a_forced_session_is_the_next_canary_at_once() -> None:
    async with _town(20) as (town, _):
        town.goes_down()
        await asyncio.sleep(300)
        town.attempts.clear()
        waiting = asyncio.create_task(town.gate.admit(SessionId("forced"), urgent=True))
        await asyncio.sleep(0.5)
        assert waiting.done()
        town.gate.closed(SessionId("forced"), Close(reason=R.CONNECTION_CLOSED), 0.0)
        waiting.result().finish(succeeded=False)


async def test_a_canary_that_is_stopped_gives_its_turn_to_the_next_at_once() -> None:
    async with _town(20) as (town, _):
        town.hangs = True
        town.goes_down()
        await asyncio.sleep(100)
        await _until(lambda: town.gate.view().holds[0].canary is not None)
        canary = town.gate.view().holds[0].canary
        await town.stop(next(number for number in town.numbers if number.id == canary))
        await asyncio.sleep(0.1)
        assert town.gate.view().holds[0].canary not in {None, canary}
        town.hangs, town.up = False, True
        await town.all_open()


async def test_a_hold_whose_sessions_are_all_stopped_ends_and_hangs_nobody() -> None:
    async with _town(20) as (town, told):
        town.goes_down()
        await asyncio.sleep(30)
        for number in town.numbers:
            await town.stop(number)
        assert "nobody waits to try" in town.gate.view().holds[0].words
        await asyncio.sleep(61)
        assert town.gate.view().holds == ()
        assert "nobody is left to try" in told.events[-1][2]["words"]
        permit = town.gate.try_admit(SessionId("new"))
        assert permit is not None
        permit.finish(succeeded=True)


async def test_who_asks_an_empty_hold_is_the_canary_at_its_pace() -> None:
    async with _town(20) as (town, _):
        town.goes_down()
        await asyncio.sleep(30)
        for number in town.numbers:
            await town.stop(number)
        permit = await asyncio.wait_for(town.gate.admit(SessionId("new")), 15)
        assert town.gate.view().holds[0].canary == "new"
        permit.finish(succeeded=True)
        assert town.gate.view().holds == ()


async def test_the_successor_of_an_open_sessions_worker_is_never_a_canary() -> None:
    async with _town(30) as (town, _):
        town.up = False
        for number in town.numbers[:20]:
            number.drop()
        await asyncio.sleep(5)
        replacement = asyncio.create_task(town.gate.admit(town.numbers[25].id))
        await asyncio.sleep(120)
        assert not replacement.done()
        assert town.numbers[25].open
        town.up = True
        await town.all_open()
        (await replacement).finish(succeeded=True)


@pytest.mark.parametrize("reason", [R.LOGGED_OUT, R.BANNED, R.REPLACED, R.REPAIR_NEEDED])
async def test_an_attempt_that_the_server_has_answered_ends_the_outage(reason: R) -> None:
    async with _town(20) as (town, told):
        town.goes_down()
        await asyncio.sleep(60)
        permit = await town.gate.admit(SessionId("answered"), urgent=True)
        town.up = True
        assert town.gate.closed(SessionId("answered"), Close(reason=reason), 0.0) is Verdict.OWN
        permit.finish(succeeded=False)
        assert town.gate.view().holds == ()
        assert f"the server has answered answered ({reason})" in told.events[-1][2]["words"]
        await town.all_open()


async def test_a_canary_that_is_told_405_makes_it_a_hold_for_the_version() -> None:
    async with _town(20) as (town, told):
        town.goes_down()
        await asyncio.sleep(60)
        permit = await town.gate.admit(SessionId("old"), urgent=True)
        assert (
            town.gate.closed(SessionId("old"), Close(reason=R.CLIENT_OUTDATED), 0.0) is Verdict.OWN
        )
        permit.finish(succeeded=False)
        assert town.gate.pause(SessionId("old"), R.CLIENT_OUTDATED), "it tried for all"
        (held,) = town.gate.view().holds
        assert (held.reason, held.sessions_held) == ("client_outdated", 20)
        assert "client version rejected" in held.words
        assert held.next_canary_in_seconds is not None
        assert held.next_canary_in_seconds >= 270
        assert told.kinds() == ["outage.began", "outage.ended", "outage.began"]


async def test_adopting_a_session_that_is_open_says_nothing_of_now() -> None:
    async with _town(20) as (town, _):
        town.goes_down()
        await asyncio.sleep(10)
        permit = town.gate.adopt(SessionId("adopted"), login_sent=True, through=True)
        permit.finish(succeeded=True)
        town.gate.opened(SessionId("adopted"))
        assert len(town.gate.view().holds) == 1


async def test_a_session_that_drops_late_in_a_long_hold_need_not_wait_a_minute() -> None:
    """Some are ill and hold the fleet; one that was well until now shows that the server is,
    too.
    """
    async with _town(30) as (town, _):
        for number in town.numbers[:16]:
            town.dead.add(number.id)
            number.drop()
        await asyncio.sleep(1800)
        assert len(town.gate.view().holds) == 1
        well = town.numbers[20]
        well.drop()
        before = _now()
        await _until(lambda: well.open and well.down_since is None)
        assert _now() - before <= 8


# --- what is told ---------------------------------------------------------------------------------


async def test_the_view_and_the_events_say_it_in_words() -> None:
    async with _town(40) as (town, told):
        town.goes_down()
        await asyncio.sleep(60.05)
        view = town.gate.view()
        assert len(view.holds) == 1
        held = view.holds[0]
        assert (held.scope, held.value, held.reason, held.sessions_held) == (
            "fleet",
            "all",
            "outage",
            40,
        )
        assert held.held_for_seconds == pytest.approx(60, abs=0.2)
        assert held.words.startswith(
            "40 sessions are held for 60 s because of an outage (8 sessions closed within 60 s: "
        )
        assert "its success releases all" in held.words
        assert 10 <= held.estimated_seconds_until_all_back <= 40
        town.up = True
        await town.all_open()
        (_, _, began), (_, _, ended) = told.events
        assert began["words"].startswith("Held: everybody, because of an outage (8 sessions closed")
        assert ended["words"].startswith("Released after ")
        assert "came through" in ended["words"]
        assert ended["heldForSeconds"] >= 60


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_nobody_is_forgotten(seed: int) -> None:
    """Outages of all kinds, stops and starts at random; in the end the server is well, and so is
    everybody.
    """
    async with _town(80, seed=seed, egresses=3) as (town, told):
        rng = town.rng
        acts: list[Callable[[], None]] = [
            lambda: town.goes_down(rng.choice([0.0, 35.0])),
            lambda: setattr(town, "up", True),
            lambda: setattr(town, "up", True),
            lambda: town.dead.add(rng.choice(["direct", "http://proxy-1"])),
            lambda: town.dead.clear(),
            lambda: setattr(town, "hangs", rng.random() < 0.3),
            lambda: setattr(
                town, "reason", rng.choice([R.CONNECTION_CLOSED, R.UNAVAILABLE, R.SERVER_ERROR])
            ),
            lambda: [n.drop() for n in rng.sample(town.numbers, 20)] and None,
        ]
        for _ in range(60):
            rng.choice(acts)()
            await asyncio.sleep(rng.choice([0.0, 1.0, 5.0, 40.0]))
        town.up, town.hangs = True, False
        town.dead.clear()
        async with asyncio.timeout(900):
            await town.all_open()
        assert told.kinds().count("outage.began") == told.kinds().count("outage.ended")
