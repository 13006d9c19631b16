"""The single rows of the policy, as a session acts on them."""

import asyncio
from typing import Any

import pytest

from sessions.lifecycle.inbox import Command
from sessions.model import CloseReason as R
from sessions.model import Refused, StoreUnavailable
from sessions.model import SessionState as S
from tests.fakes import CREDS, World, closes, opens, shows_qr
from tests.unit.lifecycle.session.stories import DAY, HOUR, MINUTE

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


async def test_a_replaced_session_makes_sure_of_itself_tries_twice_and_is_parked() -> None:
    async with World() as world:
        world.workers.otherwise = closes(R.REPLACED)
        await world.start()
        await world.until(S.PARKED, within=3 * MINUTE)
        assert len(world.workers.attempts) == 3
        assert world.workers.others_ended == 3
        assert world.session.reconnection().breaker.state == "open"
        await asyncio.sleep(1)  # the worker leaves when the parking is stored
        assert world.workers.alive == []
        await asyncio.sleep(DAY)
        assert len(world.workers.attempts) == 3, "parked stays parked"
        world.workers.otherwise = opens()
        assert await world.ask(Command.FORCE) is None
        await world.until(S.OPEN, within=5)


async def test_a_logged_out_session_is_archived_never_deleted_and_parked() -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        epoch = world.store.rows["shop"].epoch
        world.workers.last.drop(R.LOGGED_OUT)
        await world.until(S.PARKED)
        creds = {("creds", "creds"): CREDS}
        assert world.store.archives == [
            (1, "shop", "paired", creds),
            (2, "shop", "logged_out", creds),
        ]
        assert world.store.rows["shop"].epoch > epoch, (
            "a late write of the old worker is fenced off"
        )
        assert world.workers.alive == []
        assert "shop" in world.session.reconnection().human_action
        refusal = await world.ask(Command.FORCE)
        assert isinstance(refusal, Refused)
        assert refusal.code == "logged_out"
        world.workers.otherwise = shows_qr()
        assert await world.ask(Command.START) is None
        await world.until(S.QR)


async def test_a_temporary_ban_is_probed_once_when_it_ends() -> None:
    async with World() as world:
        world.workers.plan.append(closes(R.TEMPORARILY_BANNED, data={"expire": "7200"}))
        world.workers.otherwise = closes(R.TEMPORARILY_BANNED)
        await world.start()
        parked = await world.until(S.PARKED)
        assert world.session.reconnection().next_attempt_at is not None
        await asyncio.sleep(2 * HOUR - 2)
        assert len(world.workers.attempts) == 1
        await asyncio.sleep(10)
        assert len(world.workers.attempts) == 2
        assert world.workers.attempts[1][0] - parked == pytest.approx(7200, abs=2)
        assert world.session.state is S.PARKED
        await asyncio.sleep(DAY - MINUTE)
        assert len(world.workers.attempts) == 2, "without an expiry it rests for a day"


@pytest.mark.parametrize("expire", ["1e300", "inf", "99999999999999", "nan", "-1", "soon"])
async def test_an_absurd_expiry_of_a_ban_does_not_break_what_is_shown(expire: str) -> None:
    async with World() as world:
        world.workers.plan.append(closes(R.TEMPORARILY_BANNED, data={"expire": expire}))
        world.workers.otherwise = closes(R.TEMPORARILY_BANNED)
        await world.start()
        await world.until(S.PARKED)
        await asyncio.sleep(MINUTE)
        assert world.session.state is S.PARKED
        assert world.session.view().reconnection.next_attempt_at is not None
        assert world.alerts("session_error") == []


@pytest.mark.parametrize("reason", [R.LOCKED, R.BANNED, R.QR_EXPIRED, R.LOGGED_OUT])
async def test_what_only_a_human_can_mend_is_parked_alerted_and_left_alone(reason: R) -> None:
    async with World() as world:
        world.paired()
        world.workers.plan.append(closes(reason))
        await world.start()
        await world.until(S.PARKED)
        assert len(world.alerts("parked")) == 1
        assert world.session.reconnection().human_action != ""
        refusal = await world.ask(Command.FORCE)
        assert isinstance(refusal, Refused)
        assert refusal.code == reason.value
        assert refusal.hint
        await asyncio.sleep(DAY)
        assert world.session.state is S.PARKED
        assert len(world.workers.attempts) == 1
        assert ("shop", "creds", "creds") in world.store.auth or reason is R.LOGGED_OUT


async def test_an_outdated_client_holds_the_fleet_and_charges_no_breaker() -> None:
    async with World() as world:
        world.workers.plan.append(closes(R.CLIENT_OUTDATED))
        await world.start()
        await world.until(S.CONNECTING)
        world.gate.shut = True
        await world.until(S.HELD)
        assert world.gate.holds == ["client_outdated"]
        assert world.session.reconnection().breaker.failures == 0
        assert "canary" in world.session.reconnection().human_action
        world.gate.open()
        await world.until(S.OPEN)


@pytest.mark.parametrize(("reason", "attempts"), [(R.REPAIR_NEEDED, 3), (R.UNKNOWN_FAILURE, 4)])
async def test_a_refused_registration_is_tried_a_few_times_and_then_parked(
    reason: R, attempts: int
) -> None:
    async with World() as world:
        world.paired()
        world.workers.otherwise = closes(reason)
        await world.start()
        await world.until(S.PARKED, within=20 * MINUTE)
        assert len(world.workers.attempts) == attempts
        assert ("shop", "creds", "creds") in world.store.auth


async def test_our_own_logout_archives_and_stops() -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        assert await world.ask(Command.LOGOUT) is None
        await world.until(S.STOPPED)
        assert await world.store.archived("shop") == [(1, "paired"), (2, "own_logout")]
        assert world.store.rows["shop"].wanted is False


@pytest.mark.parametrize(("reason", "state"), [(R.LOGGED_OUT, S.PARKED), (R.OWN_LOGOUT, S.STOPPED)])
async def test_a_supervisor_killed_right_after_the_archiving_never_pairs_a_logged_out_session_anew(
    reason: R, state: S
) -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        archive = world.store.archive_credentials

        def archive_and_die(*arguments: Any, **remembered: Any) -> "asyncio.Future[None]":
            done = archive(*arguments, **remembered)
            world.store.failing = True  # nothing is written any more
            return done

        world.store.archive_credentials = archive_and_die  # type: ignore[method-assign]
        world.workers.last.drop(reason)
        await world.until(state)
        await world.crash()
        world.store.failing, world.store.archive_credentials = False, archive  # type: ignore[method-assign]
        assert ("shop", "creds", "creds") not in world.store.auth
        await world.start()
        await asyncio.sleep(HOUR)
        assert world.session.state is state
        assert len(world.workers.attempts) == 1, "a restart is no way to a fresh QR"
        last = world.session.reconnection()
        assert (last.close_reason, world.store.rows["shop"].wanted) == (reason, state is S.PARKED)
        assert world.store.rows["shop"].jid is None


@pytest.mark.parametrize(("reason", "state"), [(R.LOGGED_OUT, S.PARKED), (R.OWN_LOGOUT, S.STOPPED)])
async def test_a_supervisor_killed_before_a_logout_is_durable_leaves_nothing_half_done(
    reason: R, state: S
) -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        archive, before = world.store.archive_credentials, world.store.rows["shop"]
        asked: list[bool] = []
        waits: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wait(*_arguments: Any, **remembered: Any) -> "asyncio.Future[None]":
            """As the real one while the database fails: it is patient, and what comes behind it
            waits, too.
            """
            asked.append(remembered["wanted"])
            world.store.failing = True
            return waits

        world.store.archive_credentials = wait  # type: ignore[method-assign]
        world.workers.last.drop(reason)
        await asyncio.sleep(1)
        assert world.session.state is S.OPEN, "it is shown when it is stored"
        await world.until(state, within=10)  # but operators are answered all the same
        assert isinstance(await world.ask(Command.START), StoreUnavailable) is (state is S.STOPPED)
        await asyncio.sleep(HOUR)
        assert len(world.workers.attempts) == 1, "nobody logs in before it is durable"
        await world.crash()
        world.store.failing, world.store.archive_credentials = False, archive  # type: ignore[method-assign]
        assert asked == [state is S.PARKED]
        assert (world.store.rows["shop"], world.store.auth["shop", "creds", "creds"]) == (
            before,
            CREDS,
        )
        world.workers.otherwise = closes(reason)
        await world.start()
        await asyncio.sleep(MINUTE)
        assert world.session.state is state
        assert len(world.workers.attempts) == 2, "it logs in as before, and is told again"
        assert (await world.store.archived("shop"))[-1][1] == reason
