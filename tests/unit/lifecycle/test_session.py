"""The real session actor among fakes, on a fast-forwarded clock: what it does after every close,
and that it is never forgotten.
"""

import asyncio
import gc
import random
from typing import Any

import msgspec
import pytest

from sessions.lifecycle.attempt import ShownQr
from sessions.lifecycle.dependencies import SessionConfig
from sessions.lifecycle.inbox import Command
from sessions.model import CloseReason as R
from sessions.model import Refused, SessionNotFound, StoreUnavailable, WorkerGone
from sessions.model import SessionState as S
from sessions.workers import wire
from sessions.workers.limits import Excess, Severity
from sessions.workers.worker_process import Exit
from tests.fakes import CREDS, Outcome, World, closes, dies, opens, says_nothing, shows_qr

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]

MINUTE = 60.0
HOUR = 3600.0
DAY = 24 * HOUR
STABLE = 61.0
DEVICE = "5511999990000:7@s.whatsapp.net"
DEVICE_CREDS = (
    CREDS[:-1] + b', "account": {"details": ""}, "me": {"id": "' + DEVICE.encode() + b'"}}'
)


def _now() -> float:
    return asyncio.get_running_loop().time()


# --- opening, dropping, coming back ---------------------------------------------------------------


async def test_a_wanted_session_opens() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        assert [data["state"] for _, kind, data in world.events if kind == "session.state"] == [
            "starting",
            "connecting",
            "open",
        ]
        assert world.session.view().jid == "15550000001:1@s.whatsapp.net"
        (permit,) = world.gate.permits
        assert (permit.has_landed, permit.succeeded) == (True, True)
        assert world.workers.last.sent[0] == wire.Assign("shop", epoch=1, creds=wire.NULL)


async def test_a_session_that_is_not_wanted_stays_stopped() -> None:
    async with World() as world:
        await world.start(wanted=False)
        await asyncio.sleep(HOUR)
        assert world.session.state is S.STOPPED
        assert world.workers.startups == 0


async def test_a_stable_session_that_drops_is_back_almost_at_once_on_the_same_worker() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        await asyncio.sleep(STABLE)
        world.workers.last.drop(R.CONNECTION_LOST)
        dropped = _now()
        await world.until(S.WAITING)
        assert await world.until(S.OPEN, within=1) - dropped < 0.7
        assert len(world.workers.made) == 1
        assert world.session.performance().reconnect_count == 1


async def test_failures_back_off_and_are_forgotten_after_a_stable_minute() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 4)
        await world.start()
        await world.until(S.OPEN, within=60)
        assert world.session.reconnection().failures == 4
        assert world.session.reconnection().attempts == 5
        waits = [
            b - a
            for (a, _), (b, _) in zip(
                world.workers.attempts, world.workers.attempts[1:], strict=False
            )
        ]
        for wait, ceiling in zip(waits, (2, 4, 8, 16), strict=True):
            assert 0.1 <= wait <= ceiling + 0.2
        await asyncio.sleep(STABLE)
        assert world.session.reconnection().failures == 0
        assert world.session.reconnection().attempts == 0


async def test_a_restart_after_pairing_goes_at_once_and_charges_nobody() -> None:
    async with World() as world:
        world.workers.plan.append(closes(R.RESTART_REQUIRED))
        await world.start()
        await world.until(S.OPEN, within=1)
        assert world.session.reconnection().breaker.failures == 0


async def test_a_worker_that_dies_is_replaced_and_the_breaker_not_charged() -> None:
    async with World() as world:
        world.workers.plan.extend([dies(), dies()])
        await world.start()
        await world.until(S.OPEN, within=30)
        assert len(world.workers.made) == 3
        assert world.session.reconnection().breaker.failures == 0
        assert world.session.reconnection().close_reason is R.WORKER_EXITED


async def test_a_worker_that_never_comes_up_is_tried_at_the_crash_budgets_pace() -> None:
    async with World() as world:
        world.workers.startup_error = WorkerGone("it ended before it said hello")
        await world.start()
        await asyncio.sleep(HOUR)
        assert 20 <= world.workers.startups <= 45, (
            "five in ten minutes, and one more when the window lets it"
        )
        world.workers.startup_error = None
        await world.until(S.OPEN, within=11 * MINUTE)


async def test_a_force_does_not_turn_a_worker_that_cannot_start_into_a_spinning_crash_loop() -> (
    None
):
    async with World() as world:
        world.workers.startup_error = WorkerGone("it ended before it said hello")
        await world.start()
        await world.until(S.WAITING)
        assert await world.ask(Command.FORCE) is None
        before = world.workers.startups
        await asyncio.sleep(MINUTE)
        assert world.workers.startups - before <= 6, (
            "the force lets one attempt through, not one in every instant"
        )


async def test_a_worker_that_is_gone_as_it_is_told_to_connect_counts_as_a_crash() -> None:
    async with World() as world:
        world.gate.shut = True
        await world.start()
        await world.until(S.HELD)
        worker = world.workers.last
        worker.line_down = True
        worker.later(0.5, lambda: worker.end(Exit(status=1)))
        world.gate.open()
        await world.until(S.OPEN, within=30)
        assert world.session.reconnection().close_reason is R.WORKER_EXITED
        assert world.alerts("session_error") == []


@pytest.mark.parametrize(
    "report",
    [
        wire.State("shop", attempt=1, stage="paired"),
        wire.State("shop", attempt=1, stage="qr_retired"),
        wire.Qr("shop", attempt=1, qr="AGAIN"),
        wire.Opened("shop", attempt=1, jid="15550000009:1@s.whatsapp.net"),
    ],
    ids=lambda report: getattr(report, "stage", type(report).__name__),
)
async def test_a_worker_that_pairs_or_opens_what_is_open_is_ended(report: wire.Up) -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        mad = world.workers.last
        mad.report(report)
        await asyncio.sleep(30)
        await world.until(S.OPEN)
        assert mad.killed
        assert world.session.reconnection().close_reason is R.WORKER_EXITED
        assert world.session.view().jid == "15550000001:1@s.whatsapp.net", (
            "whom it belongs to is not changed"
        )
        assert world.alerts("session_error") == [], "it is no error of this program"


async def test_a_worker_that_ends_in_any_state_is_replaced() -> None:
    for state in (S.HELD, S.CONNECTING, S.QR, S.OPEN, S.WAITING):
        async with World() as world:
            world.gate.shut = state is S.HELD
            if state is S.WAITING:
                world.workers.plan.append(closes(R.SERVER_ERROR))
            if state in {S.CONNECTING, S.QR}:
                world.workers.plan.append(shows_qr(None) if state is S.QR else says_nothing())
            await world.start()
            await world.until(state)
            world.workers.last.end(Exit(signal=9))
            await asyncio.sleep(0.01)
            world.gate.open()
            await world.until(S.OPEN, within=30)
            assert len(world.workers.made) == 2, state


# --- hung workers ---------------------------------------------------------------------------------


async def test_a_worker_that_never_reports_its_attempt_is_killed_and_replaced() -> None:
    async with World() as world:
        world.workers.plan.append(says_nothing())
        await world.start()
        began = await world.until(S.CONNECTING)
        await world.until(S.OPEN, within=60)
        assert world.workers.made[0].killed
        assert world.times(S.WAITING)[0] - began == pytest.approx(40.0, abs=0.1), (
            "30 s of its own deadline, 10 s of grace"
        )
        assert world.session.reconnection().close_reason is R.WORKER_HUNG


async def test_a_worker_that_hangs_while_it_shows_a_qr_is_noticed_too() -> None:
    async with World() as world:
        world.workers.plan.append(shows_qr(expires_after=None))
        await world.start()
        await world.until(S.QR)
        await asyncio.sleep(15 * MINUTE)  # Baileys' own refs are used up after less than three
        assert world.session.state is not S.QR, (
            "no deadline, no probe, no heartbeat: it would show a dead QR for ever"
        )


async def test_an_open_session_whose_worker_answers_no_probe_gets_a_new_worker() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.probe = "hangs"
        await world.until(S.WAITING, within=60)
        world.workers.probe = "ok"
        await world.until(S.OPEN)
        assert world.workers.made[0].killed
        assert world.session.reconnection().close_reason is R.WORKER_HUNG


async def test_an_open_session_whose_worker_has_no_heartbeat_gets_a_new_worker() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.last_beat_at = _now()
        await world.until(S.WAITING, within=60)
        world.workers.last_beat_at = None
        await world.until(S.OPEN)
        assert world.workers.made[0].killed


async def test_a_worker_that_does_not_close_its_socket_when_told_to_is_killed() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.obeys_close = False
        assert await world.ask(Command.FORCE) is None
        await world.until(S.STARTING, within=15)
        await world.until(S.OPEN)
        assert world.workers.made[0].killed


async def test_a_probe_without_an_answer_and_without_a_byte_is_a_lost_connection() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        await asyncio.sleep(STABLE)
        world.workers.probe = "silent"
        await world.until(S.WAITING, within=60)
        world.workers.probe = "ok"
        await world.until(S.OPEN)
        assert len(world.workers.made) == 1
        assert world.session.reconnection().close_reason is R.CONNECTION_LOST


async def test_a_deaf_session_gets_a_new_socket_then_a_new_worker_then_is_left_alone() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.probe = "deaf"
        await asyncio.sleep(5 * MINUTE)
        assert world.session.state is S.OPEN
        assert len(world.workers.attempts) == 3
        assert [worker.killed for worker in world.workers.made] == [True, False]
        deaf_messages = [
            data["message"]
            for _, kind, data in world.events
            if kind == "alert" and data["name"] == "deaf"
        ]
        assert deaf_messages[:3] == [
            "reconnect the socket",
            "kill the worker",
            "leave it and alert",
        ]
        await asyncio.sleep(6 * HOUR)
        assert len(world.workers.attempts) == 5, "six hours later there is a new budget"
        assert world.session.reconnection().breaker.failures == 0


async def test_a_deaf_session_that_is_left_alone_does_not_flood_the_event_log() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.probe = "deaf"
        await asyncio.sleep(5 * MINUTE)
        before = len(world.alerts("deaf"))
        await asyncio.sleep(HOUR)
        assert len(world.alerts("deaf")) - before <= HOUR / 30, "no more often than it is probed"


# --- the breaker ----------------------------------------------------------------------------------


async def test_the_breaker_opens_at_its_threshold_and_lets_one_trial_through_after_its_timeout() -> (
    None
):
    async with World() as world:
        world.workers.otherwise = closes(R.CONNECTION_LOST)
        await world.start()
        await world.until_true(lambda: world.session.reconnection().breaker.state == "open")
        assert len(world.workers.attempts) == 5
        opened = _now()
        await asyncio.sleep(30 * MINUTE)
        trials = [at - opened for at, _ in world.workers.attempts[5:]]
        assert trials == pytest.approx([600, 1200, 1800][: len(trials)], abs=2)
        assert 2 <= len(trials) <= 3
        world.workers.otherwise = opens()
        await world.until(S.OPEN, within=11 * MINUTE)
        assert world.session.reconnection().breaker.state == "closed"


async def test_one_failure_after_a_trial_before_a_stable_minute_opens_the_breaker_again() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        await world.start()
        await world.until(S.OPEN, within=15 * MINUTE)
        world.workers.last.drop(R.CONNECTION_LOST)
        await world.until(S.WAITING)
        assert world.session.reconnection().breaker.state == "open"
        await world.until(S.OPEN, within=11 * MINUTE)
        await asyncio.sleep(STABLE)
        world.workers.last.drop(R.CONNECTION_LOST)
        await world.until(S.WAITING)
        assert world.session.reconnection().breaker.state == "closed"


async def test_a_reset_of_the_breaker_lets_it_try_at_once() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        await world.start()
        await asyncio.sleep(2 * MINUTE)
        assert world.session.reconnection().breaker.state == "open"
        assert world.session.reconnection().next_attempt is not None
        assert await world.ask(Command.RESET_BREAKER) is None
        await world.until(S.OPEN, within=1)
        assert world.session.reconnection().breaker.failures == 0


async def test_a_force_lets_one_attempt_through_an_open_breaker() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 6)
        await world.start()
        await asyncio.sleep(2 * MINUTE)
        assert len(world.workers.attempts) == 5
        assert await world.ask(Command.FORCE) is None
        await asyncio.sleep(1)
        assert len(world.workers.attempts) == 6
        assert world.gate.permits[-1].urgent
        assert world.session.reconnection().breaker.state == "open", "that one failed too"
        await asyncio.sleep(2 * MINUTE)
        assert len(world.workers.attempts) == 6, (
            "one attempt, and then the breaker's time-out again"
        )


# --- the single rows of the policy ----------------------------------------------------------------


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
        assert world.session.reconnection().next_attempt is not None
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
        assert world.session.view().reconnection.next_attempt is not None
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


# --- quarantine -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "creds",
    [
        b'{"noiseKey":',  # torn
        b"{}",  # what every device has is missing
        b"",  # a file of zero bytes
        b"null",  # JSON, but no credentials
        b"[]",
        b'{"noiseKey":"\xff"}',  # not UTF-8
        b"[" * 100_000,  # nested beyond all reason
        CREDS.replace(b'"registrationId":42', b'"registrationId":"42"'),  # of a wrong shape
    ],
)
async def test_unreadable_credentials_quarantine_the_session_and_nothing_is_written(
    creds: bytes,
) -> None:
    async with World() as world:
        world.paired(creds)
        await world.start()
        await world.until(S.QUARANTINED)
        await asyncio.sleep(HOUR)
        assert world.session.state is S.QUARANTINED
        assert world.workers.attempts == []
        assert world.workers.alive == []
        assert world.store.auth["shop", "creds", "creds"] == creds
        assert {"keys", "archive"}.isdisjoint(world.store.writes)
        refusal = await world.ask(Command.FORCE)
        assert isinstance(refusal, Refused)
        assert refusal.code == "quarantined"
        world.paired()  # the operator restores a backup
        assert await world.ask(Command.START) is None
        await world.until(S.OPEN)


# --- what an operator asks ------------------------------------------------------------------------


async def test_a_force_on_an_open_session_reconnects_it_without_blame() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        assert await world.ask(Command.FORCE) is None
        await world.until(S.CONNECTING, within=1)
        await world.until(S.OPEN, within=1)
        assert len(world.workers.made) == 1
        assert world.session.reconnection().failures == 0


async def test_a_force_cuts_a_wait_short_and_goes_to_the_head_of_the_gate() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.SERVER_ERROR)] * 4)
        await world.start()
        await world.until_true(lambda: len(world.workers.attempts) == 4)
        await world.until(S.WAITING)
        assert await world.ask(Command.FORCE) is None
        await world.until(S.OPEN, within=1)
        assert [permit.urgent for permit in world.gate.permits] == [False] * 4 + [True]


async def test_a_force_moves_a_held_session_to_the_head_of_the_gate() -> None:
    async with World() as world:
        world.gate.shut = True
        await world.start()
        await world.until(S.HELD)
        assert await world.ask(Command.FORCE) is None
        await asyncio.sleep(0.01)
        assert [permit.urgent for permit, _ in world.gate.waiting] == [True]
        world.gate.open()
        await world.until(S.OPEN)


async def test_two_forces_in_one_instant_leave_no_step_behind_that_was_never_run() -> None:
    async with World() as world:
        world.gate.shut = True
        await world.start()
        await world.until(S.HELD)
        await asyncio.sleep(0.01)
        await asyncio.gather(world.ask(Command.FORCE), world.ask(Command.FORCE))
        gc.collect()  # "coroutine ... was never awaited" is an error here
        assert len(world.gate.waiting) <= 1
        world.gate.open()
        await world.until(S.OPEN)


async def test_a_ticket_that_is_on_its_way_when_a_force_comes_is_used_and_no_second_one_is_asked_for() -> (
    None
):
    async with World() as world:
        world.gate.shut = True
        await world.start()
        await world.until(S.HELD)
        await asyncio.sleep(0.01)
        forcing = asyncio.create_task(world.ask(Command.FORCE))
        world.gate.grant_first()
        await forcing
        await world.until(S.OPEN)
        assert len(world.gate.permits) == 1
        assert world.gate.waiting == []


async def test_a_force_while_the_worker_comes_up_goes_to_the_head_of_the_gate() -> None:
    async with World() as world:
        world.gate.shut = True
        await world.start()
        await world.until(S.STARTING)
        assert await world.ask(Command.FORCE) is None
        await world.until(S.HELD)
        await asyncio.sleep(0.01)
        assert [permit.urgent for permit, _ in world.gate.waiting] == [True]
        world.gate.open()
        await world.until(S.OPEN)


async def test_a_force_is_used_up_by_its_attempt_or_by_a_stop() -> None:
    async with World() as world:
        world.gate.shut = True
        await world.start()
        await world.until(S.HELD)
        await world.ask(Command.FORCE)
        await world.ask(Command.STOP)
        world.gate.open()
        await world.ask(Command.START)
        await world.until(S.OPEN)
        assert not world.gate.permits[-1].urgent, "yesterday's force does not jump today's queue"


async def test_a_force_that_cannot_help_is_refused_with_a_reason_and_a_way_out() -> None:
    async with World() as world:
        await world.start(wanted=False)
        stopped = await world.ask(Command.FORCE)
        world.workers.otherwise = shows_qr()
        await world.ask(Command.START)
        await world.until(S.QR)
        qr = await world.ask(Command.FORCE)
        assert isinstance(stopped, Refused)
        assert isinstance(qr, Refused)
        assert (stopped.code, qr.code) == ("stopped", "qr")
        assert "start" in stopped.hint
        assert "QR" in qr.hint
        for refusal in (stopped, qr):
            assert "{id}" not in refusal.hint
        assert world.session.state is S.QR


@pytest.mark.parametrize(
    "state", [S.STARTING, S.HELD, S.CONNECTING, S.QR, S.OPEN, S.WAITING, S.PARKED, S.QUARANTINED]
)
async def test_a_stop_in_any_state_ends_stopped_without_worker_or_ticket_and_a_start_brings_it_back(
    state: S,
) -> None:
    async with World() as world:
        await _bring_to(world, state)
        assert await world.ask(Command.STOP) is None
        assert world.session.state is S.STOPPED
        assert world.workers.alive == []
        assert world.gate.unfinished == []
        assert world.gate.waiting == []
        attempts = len(world.workers.attempts)
        await asyncio.sleep(DAY)
        assert world.session.state is S.STOPPED
        assert len(world.workers.attempts) == attempts
        assert world.session.reconnection().next_attempt is None
        world.gate.open()
        world.workers.plan.clear()
        world.workers.otherwise = opens()
        world.paired()
        assert await world.ask(Command.START) is None
        await world.until(S.OPEN)


@pytest.mark.parametrize(
    "state", [S.STARTING, S.HELD, S.CONNECTING, S.QR, S.OPEN, S.WAITING, S.PARKED, S.QUARANTINED]
)
async def test_a_retired_session_lets_go_of_all_and_stays_wanted(state: S) -> None:
    async with World() as world:
        await _bring_to(world, state)
        assert await world.ask(Command.RETIRE) is None
        assert world.workers.alive == []
        assert world.gate.unfinished == []
        assert world.store.rows["shop"].wanted is True
        assert isinstance(await world.ask(Command.START), SessionNotFound)


async def test_a_worker_that_comes_up_in_the_moment_of_retirement_is_not_left_behind() -> None:
    async with World() as world:
        await world.start()
        world.workers.held = asyncio.get_running_loop().create_future()
        await world.until(S.STARTING)
        await asyncio.sleep(0.01)
        retiring = asyncio.create_task(world.ask(Command.RETIRE))
        world.workers.held.set_result(None)
        await retiring
        await asyncio.sleep(1)
        assert world.workers.alive == []


async def test_a_ticket_that_is_granted_in_the_moment_of_retirement_is_given_back() -> None:
    async with World() as world:
        world.gate.shut = True
        await world.start()
        await world.until(S.HELD)
        await asyncio.sleep(0.01)
        retiring = asyncio.create_task(world.ask(Command.RETIRE))
        world.gate.open()
        await retiring
        await asyncio.sleep(1)
        assert world.gate.unfinished == []


async def test_sending_and_pairing_are_refused_when_they_cannot_work() -> None:
    async with World() as world:
        await world.start(wanted=False)
        with pytest.raises(Refused, match="stopped"):
            await world.session.send_text("15550000009", "hello")
        with pytest.raises(Refused, match="stopped"):
            await world.session.pairing_code("15550000002")
        with pytest.raises(Refused, match="stopped"):
            world.session.qr()
        world.workers.plan.append(shows_qr())
        await world.ask(Command.START)
        await world.until(S.QR)
        assert world.session.qr().qr == "QR-TEXT"
        assert await world.session.pairing_code("15550000002") == "ABCD1234"


async def test_a_qr_that_whatsapp_retires_is_served_no_more_and_the_next_one_is_told() -> None:
    async with World() as world:
        world.workers.plan.append(shows_qr(expires_after=None))
        await world.start()
        await world.until(S.QR)
        worker = world.workers.last
        worker.report(
            wire.Qr(
                "shop", attempt=1, qr="OLD", qr_number=1, renewed=False, pairing_code="OLDCODE1"
            )
        )
        await asyncio.sleep(0.1)
        worker.report(wire.State("shop", attempt=1, stage="qr_retired"))
        await asyncio.sleep(0.1)
        with pytest.raises(Refused, match="renewing its QR") as refused:
            world.session.qr()
        assert (world.session.state, refused.value.code) == (S.QR, "no_qr")
        for _ in range(2):  # told again, it is no further event
            worker.report(
                wire.Qr(
                    "shop", attempt=1, qr="NEW", qr_number=2, renewed=True, pairing_code="NEWCODE1"
                )
            )
        await asyncio.sleep(0.1)
        assert world.session.qr() == ShownQr("NEW", 2, "NEWCODE1")
        told = [
            (kind, data)
            for _, kind, data in world.events
            if kind in {"session.qr", "session.pairing_code"}
        ]
        assert told == [
            ("session.qr", {"qr": "QR-TEXT", "number": 0, "renewed": False}),
            ("session.qr", {"qr": "OLD", "number": 1, "renewed": False}),
            ("session.pairing_code", {"code": "OLDCODE1", "renewed": False}),
            ("session.qr", {"qr": "NEW", "number": 2, "renewed": True}),
            ("session.pairing_code", {"code": "NEWCODE1", "renewed": True}),
        ]


async def test_a_worker_that_waits_for_the_store_to_take_the_new_secret_is_not_hung() -> None:
    async with World() as world:
        world.workers.plan.append(shows_qr(expires_after=None))
        await world.start()
        await world.until(S.QR)
        for _ in range(10):
            world.workers.last.report(wire.State("shop", attempt=1, stage="qr_retired"))
            await asyncio.sleep(20)
        assert (world.session.state, len(world.workers.made)) == (S.QR, 1)


async def test_a_passkey_that_is_asked_for_parks_and_shows_no_further_qr_until_a_human_starts_it() -> (
    None
):
    async with World() as world:
        world.workers.plan.append(closes(R.PASSKEY_REQUIRED))
        await world.start()
        await world.until(S.PARKED)
        await asyncio.sleep(DAY)
        assert (world.session.state, len(world.workers.attempts)) == (S.PARKED, 1)
        assert "passkey" in world.session.reconnection().human_action
        refusal = await world.ask(Command.FORCE)
        assert isinstance(refusal, Refused)
        assert refusal.code == "passkey_required"
        world.workers.plan.append(shows_qr())
        await world.ask(Command.START)
        await world.until(S.QR)


async def test_a_sent_text_is_counted_and_its_id_given() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        assert await world.session.send_text("15550000009", "hello") == "3EB0"
        assert world.session.performance().messages_processed == 1


async def test_a_pairing_asks_for_a_restart_and_opens() -> None:
    async with World() as world:
        world.workers.plan.append(shows_qr())
        await world.start()
        await world.until(S.QR)
        assert world.gate.unfinished == [], "who waits for a phone holds up nobody"
        worker = world.workers.last
        worker.report(wire.State("shop", attempt=1, stage="paired"))
        await world.until(S.CONNECTING)
        worker.drop(R.RESTART_REQUIRED)
        await world.until(S.OPEN, within=5)
        assert len(world.workers.made) == 1


# --- the past and the foreign ---------------------------------------------------------------------


async def test_late_frames_of_an_old_attempt_are_ignored() -> None:
    async with World() as world:
        world.workers.plan.append(closes(R.CONNECTION_LOST))
        await world.start()
        await world.until(S.OPEN, within=10)
        worker, before = world.workers.last, len(world.events)
        worker.report(wire.Qr("shop", attempt=1, qr="OLD"))
        worker.report(wire.Opened("shop", attempt=1, jid="1@s.whatsapp.net"))
        worker.report(
            wire.Closed(
                "shop",
                attempt=1,
                code=401,
                message="old",
                data=None,
                registered=True,
                reason=R.LOGGED_OUT,
            )
        )
        await asyncio.sleep(1)
        assert world.session.state is S.OPEN
        assert len(world.events) == before


async def test_late_frames_of_an_old_worker_are_ignored() -> None:
    async with World() as world:
        world.workers.plan.append(dies())
        await world.start()
        await world.until(S.OPEN, within=10)
        old, attempt = world.workers.made[0], world.workers.attempts[-1][1]
        assert old.owner is not None
        old.owner.on_frame(
            old,
            wire.Closed(
                "shop",
                attempt=attempt,
                code=401,
                message="old",
                data=None,
                registered=True,
                reason=R.LOGGED_OUT,
            ),
        )
        old.owner.on_worker_end(old, Exit(signal=9))
        await asyncio.sleep(1)
        assert world.session.state is S.OPEN


async def test_a_worker_that_speaks_of_another_session_is_killed() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.last.report(wire.State("another", attempt=1, stage="login"))
        await asyncio.sleep(0.01)
        assert world.workers.made[0].killed
        await world.until(S.OPEN)


async def test_key_writes_of_an_old_worker_are_refused() -> None:
    async with World() as world:
        world.workers.plan.append(dies())
        await world.start()
        await world.until(S.OPEN, within=10)
        old, new = world.workers.made
        entry = wire.KeyEntry("creds", "creds", CREDS)  # type: ignore[arg-type]
        old.lives = True  # a process that was thought to be dead
        assert old.owner is not None
        old.owner.on_frame(old, wire.KeysSet("shop", epoch=1, seq=1, entries=[entry]))
        new.report(wire.KeysSet("shop", epoch=2, seq=7, entries=[]))
        await asyncio.sleep(0.01)
        old.lives = False
        assert old.sent[-1] == wire.KeysAck("shop", seq=1, ok=False, error="stale_epoch")
        assert new.sent[-1] == wire.KeysAck("shop", seq=7, ok=True)
        assert world.store.auth == {}


# --- when the store fails -------------------------------------------------------------------------


async def test_a_session_that_the_store_failed_tries_again_and_comes_up_when_the_disk_is_back() -> (
    None
):
    async with World() as world:
        await world.start()
        world.store.failing = True
        await asyncio.sleep(MINUTE)
        assert world.session.state is not S.OPEN
        assert world.workers.attempts == []
        world.store.failing = False
        await world.until(S.OPEN, within=30)


async def test_an_open_session_stays_open_while_the_store_fails() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.store.failing = True
        assert isinstance(await world.ask(Command.STOP), StoreUnavailable)
        await asyncio.sleep(HOUR)
        world.store.failing = False
        assert world.session.state is S.OPEN
        assert len(world.workers.attempts) == 1, "the store's hint promises: sessions stay open"


async def test_a_stop_that_the_store_cannot_write_leaves_a_parked_session_parked() -> None:
    async with World() as world:
        world.workers.plan.append(closes(R.BANNED))
        await world.start()
        await world.until(S.PARKED)
        world.store.failing = True
        assert isinstance(await world.ask(Command.STOP), StoreUnavailable)
        world.store.failing = False
        await asyncio.sleep(HOUR)
        assert world.session.state is S.PARKED
        assert len(world.workers.attempts) == 1, (
            "a banned number must not log in because a disk was full"
        )


# --- restarts of the supervisor -------------------------------------------------------------------


@pytest.mark.parametrize("how", ["retires", "crashes"])
async def test_a_wait_goes_on_after_a_restart(how: str) -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        await world.start()
        await asyncio.sleep(2 * MINUTE)
        due = world.session.reconnection().next_attempt
        assert world.session.reconnection().breaker.state == "open"
        await (world.close() if how == "retires" else world.crash())
        await asyncio.sleep(MINUTE)
        await world.start()
        await world.until(S.WAITING)
        shown = world.session.reconnection()
        assert shown.next_attempt == due
        assert (shown.failures, shown.breaker.state, shown.close_reason) == (
            5,
            "open",
            R.CONNECTION_LOST,
        )
        await asyncio.sleep(6 * MINUTE)
        assert len(world.workers.attempts) == 5
        await world.until(S.OPEN, within=5 * MINUTE)


@pytest.mark.parametrize("how", ["retires", "crashes"])
@pytest.mark.parametrize("reason", [R.LOGGED_OUT, R.BANNED, R.QR_EXPIRED, R.TEMPORARILY_BANNED])
async def test_parked_stays_parked_after_a_restart(how: str, reason: R) -> None:
    async with World() as world:
        world.workers.plan.append(closes(reason))
        await world.start()
        await world.until(S.PARKED)
        shown = world.session.reconnection()
        await (world.close() if how == "retires" else world.crash())
        await world.start()
        await world.until(S.PARKED)
        again = world.session.reconnection()
        assert (again.close_reason, again.human_action) == (shown.close_reason, shown.human_action)
        assert again.next_attempt == shown.next_attempt
        await asyncio.sleep(23 * HOUR)
        assert world.session.state is S.PARKED
        assert len(world.workers.attempts) == 1
        await asyncio.sleep(2 * HOUR)
        assert len(world.workers.attempts) == (2 if reason is R.TEMPORARILY_BANNED else 1)


async def test_an_open_session_comes_back_after_a_crash_of_the_supervisor_with_a_higher_epoch() -> (
    None
):
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        await world.crash()
        await world.start()
        await world.until(S.OPEN, within=5)
        assert world.store.rows["shop"].epoch == 2


async def test_a_stopped_session_stays_stopped_after_a_restart() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        await world.ask(Command.STOP)
        await world.close()
        await world.start()
        await asyncio.sleep(HOUR)
        assert world.session.state is S.STOPPED


# --- never forgotten ------------------------------------------------------------------------------


class Chaos:
    """Throws anything at a session and looks after each step whether it still knows what it waits
    for.
    """

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.rng = rng
        self.asked: set[asyncio.Task[object]] = set()

    async def step(self) -> None:
        world, rng = self.world, self.rng
        acts = [
            self._drop,
            self._end_worker,
            self._ask,
            self._toggle_gate,
            self._toggle_store,
            self._probe,
            self._startup,
            self._exceed,
            self._say,
        ]
        for _ in range(rng.choice([1, 1, 1, 2, 3])):  # several in one instant, too
            rng.choice([*acts, self._drop, self._ask])()
        world.workers.otherwise = self._outcome()
        if rng.random() < 0.1:
            await self.next_supervisor()
        await asyncio.sleep(rng.choice([0.0, 0.0, 0.01, 0.1, 0.4, 3.0, 45.0, 700.0]))
        self.look()

    async def next_supervisor(self) -> None:
        """The supervisor dies or stops, alone or with its workers; the next one comes, and those
        that live call it, sooner or later.
        """
        world, rng = self.world, self.rng
        match rng.choice(["dies with its workers", "dies", "dies", "stops", "leaves", "leaves"]):
            case "dies with its workers":
                await world.crash()
            case "dies":
                await world.crash(workers_live=True)
            case "stops":
                await world.close()
            case "leaves":
                await world.leave()
        for task in self.asked:  # who has asked a supervisor that is gone gets no answer
            task.cancel()
        await asyncio.gather(*self.asked, return_exceptions=True)
        self.asked.clear()
        await asyncio.sleep(rng.choice([0.0, 0.3, 20.0]))
        world.come_back(after=rng.choice([0.0, 0.0, 0.2, 5.0]))
        if rng.random() < 0.25:
            self._end_worker()  # after its call, perhaps, and before anybody owns it
        await world.start()

    def look(self) -> None:
        world, state = self.world, self.world.session.state
        shown = world.session.view().reconnection
        assert world.breaches == []
        if state is S.WAITING:
            assert shown.next_attempt is not None
        owned = [worker for worker in world.workers.alive if worker.assigned and not worker.killed]
        assert len(owned) <= 1

    async def heal(self) -> None:
        """Everything is well again; nothing may stay behind."""
        world = self.world
        world.store.failing = False
        world.workers.startup_error = None
        world.workers.probe = "ok"
        world.workers.obeys_close = True
        world.workers.otherwise = opens()
        world.workers.plan.clear()
        world.gate.open()
        await asyncio.gather(*self.asked)
        self.asked.clear()
        # the longest wait is the tail's 990 s; then the hung ones have to be noticed
        await asyncio.sleep(30 * MINUTE)
        assert world.session.state in {S.OPEN, S.PARKED, S.STOPPED}, "forgotten"
        if world.session.state is S.OPEN:
            assert [worker.socket is not None for worker in world.workers.alive] == [True]
            assert [worker.unacknowledged for worker in world.workers.alive] == [{}]
        else:
            assert world.workers.alive == []
        assert world.gate.unfinished == []
        assert world.gate.waiting == []
        if world.session.state is not S.OPEN:
            await world.ask(Command.START)
            await world.until(S.OPEN, within=20 * MINUTE)

    def _outcome(self) -> Outcome:
        rng = self.rng
        reason = rng.choice([reason for reason in R if reason not in {R.REQUESTED, R.OWN_LOGOUT}])
        return rng.choice(
            [
                opens(),
                opens(5.0),
                closes(reason),
                closes(reason),
                dies(),
                says_nothing(),
                shows_qr(),
                shows_qr(0.2),
            ]
        )

    def _drop(self) -> None:
        for worker in self.world.workers.alive:
            worker.drop(self.rng.choice([reason for reason in R if reason is not R.OWN_LOGOUT]))

    def _end_worker(self) -> None:
        for worker in self.world.workers.alive:
            worker.end(Exit(signal=9))

    def _ask(self) -> None:
        commands = [
            command for command in Command if command not in {Command.RETIRE, Command.LEAVE}
        ]
        task = asyncio.create_task(self.world.ask(self.rng.choice([*commands, Command.START])))
        self.asked.add(task)

    def _exceed(self) -> None:
        for worker in self.world.workers.alive:
            if worker.owner is not None:
                severity = self.rng.choice([Severity.REPLACE, Severity.REPLACE, Severity.KILL])
                worker.owner.on_excess(worker, Excess(severity, "It is above a limit."))

    def _say(self) -> None:
        for worker in self.world.workers.alive:
            if worker.socket is not None:
                worker.says("hello")

    def _toggle_gate(self) -> None:
        if self.world.gate.shut:
            self.world.gate.open()
        else:
            self.world.gate.shut = self.rng.random() < 0.5

    def _toggle_store(self) -> None:
        self.world.store.failing = self.rng.random() < 0.3

    def _probe(self) -> None:
        self.world.workers.probe = self.rng.choice(["ok", "ok", "silent", "deaf", "hangs"])
        self.world.workers.obeys_close = self.rng.random() < 0.8

    def _startup(self) -> None:
        self.world.workers.startup_error = WorkerGone("no") if self.rng.random() < 0.2 else None


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_befalls_it_a_session_is_never_forgotten_and_never_owned_twice(
    seed: int,
) -> None:
    rng = random.Random(seed)
    async with World(SessionConfig(), seed) as world:
        await world.start()
        chaos = Chaos(world, rng)
        for number in range(250):
            await chaos.step()
            if number % 25 == 24:
                await chaos.heal()
                await chaos.next_supervisor()
        await chaos.heal()
        delivered = [data["id"] for _, kind, data in world.events if kind == "message.received"]
        assert len(delivered) == len(world.delivered)
        assert {"stopped", "waiting", "open"} <= {
            data["state"] for _, kind, data in world.events if kind == "session.state"
        }
        assert len([kind for _, kind, _ in world.events if kind == "session.adopted"]) >= 2


async def _bring_to(world: World, state: S) -> None:
    """A session in that state, and nothing under way that would lead it out."""
    match state:
        case S.STARTING:
            world.workers.startup_seconds = 5.0
        case S.HELD:
            world.gate.shut = True
        case S.CONNECTING:
            world.workers.plan.append(says_nothing())
        case S.QR:
            world.workers.plan.append(shows_qr())
        case S.WAITING:
            world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        case S.PARKED:
            world.workers.plan.append(closes(R.BANNED))
        case S.QUARANTINED:
            world.paired(b"torn")
        case _:
            pass
    await world.start()
    await world.until(state)
    if state is S.WAITING:
        await asyncio.sleep(2 * MINUTE)
        assert world.session.reconnection().breaker.state == "open"


async def test_a_memory_that_cannot_be_read_is_not_overwritten_and_nobody_logs_in_across_restarts() -> (
    None
):
    """It may have said that the number is banned."""
    async with World() as world:
        world.paired()
        row = await world.store.create_session(world.id, True)
        world.store.rows[world.id] = msgspec.structs.replace(row, memory=b"{torn")
        for _ in range(2):
            await world.start()
            await world.until(S.QUARANTINED)
            await asyncio.sleep(HOUR)
            await world.ask(Command.RETIRE)
            assert world.store.rows[world.id].memory == b"{torn"
        assert world.workers.attempts == []


async def test_a_reset_of_the_breaker_does_not_overwrite_a_memory_that_cannot_be_read() -> None:
    async with World() as world:
        row = await world.store.create_session(world.id, True)
        world.store.rows[world.id] = msgspec.structs.replace(row, memory=b"{torn")
        await world.start()
        await world.until(S.QUARANTINED)
        await world.ask(Command.RESET_BREAKER)
        assert world.session.row().memory == b"{torn", (
            "with which a session goes on that could not be deleted"
        )
        await world.crash()
        await world.start()
        await world.until(S.QUARANTINED, within=1)
        assert world.store.rows[world.id].memory == b"{torn"


# --- an error of our own --------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("a bug"), StoreUnavailable("The disk is full.")])
async def test_an_error_of_our_own_never_starts_a_parked_session(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World() as world:
        await _bring_to(world, S.PARKED)

        def fails(*_: object) -> None:
            raise error

        monkeypatch.setattr(world.dependencies.store, "save_memory", fails)
        async with asyncio.timeout(DAY):
            await world.ask(Command.RESET_BREAKER)
        await asyncio.sleep(DAY)
        assert world.session.state is S.PARKED
        assert len(world.workers.attempts) == 1, (
            "a banned number does not log in because we have a bug"
        )
        monkeypatch.undo()


async def test_an_error_of_our_own_is_told_and_the_session_tries_again_in_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)

        def fails(*_: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(world.dependencies.store, "save_memory", fails)
        await world.ask(Command.RESET_BREAKER)
        monkeypatch.undo()
        await world.until(S.WAITING)
        assert len(world.alerts("session_error")) == 1
        assert not world.workers.made[0].alive
        await world.until(S.OPEN, within=15)


# --- one device, two sessions ---------------------------------------------------------------------


async def test_a_session_whose_device_another_one_is_parks_without_a_login_and_names_it() -> None:
    async with World() as world:
        world.paired(DEVICE_CREDS)
        world.store.devices[DEVICE] = "loja-1"
        await world.start()
        await world.until(S.PARKED)
        shown = world.session.reconnection()
        assert shown.close_reason is R.SAME_DEVICE
        assert "'loja-1'" in (shown.close_message or "")
        assert any("'loja-1'" in str(data) for _, kind, data in world.events if kind == "alert")
        assert world.workers.attempts == []
        await asyncio.sleep(DAY)
        assert world.workers.attempts == [], "nothing tries again by itself"
        world.store.devices.clear()
        await world.ask(Command.START)
        await world.until(S.OPEN)


async def test_an_open_session_that_turns_out_to_be_anothers_device_is_closed_and_parked() -> None:
    async with World() as world:
        world.store.devices["15550000001:1@s.whatsapp.net"] = "loja-1"
        await world.start()
        await world.until(S.PARKED)
        shown = world.session.reconnection()
        assert shown.close_reason is R.SAME_DEVICE
        assert "'loja-1'" in (shown.close_message or "")
        assert len(world.workers.attempts) == 1
