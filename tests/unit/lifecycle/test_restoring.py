"""Credentials are put back; and keys that cannot be read quarantine the session that needs them."""

import asyncio

import pytest

from sessions.lifecycle.inbox import Command, Restore
from sessions.model import CloseReason as R
from sessions.model import NoArchive, Refused, SessionNotFound, StoreUnavailable, UnreadableValue
from sessions.model import SessionState as S
from sessions.workers import wire
from tests.fakes import CREDS, World, closes, opens, says_nothing, shows_qr

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]

HOUR = 3600.0
OLD = CREDS.replace(b"42", b"7")


async def _logged_out(world: World) -> None:
    """Its credentials are archived, and it is parked."""
    world.paired(OLD)
    world.workers.plan.append(closes(R.LOGGED_OUT))
    await world.start()
    await world.until(S.PARKED)
    assert ("shop", "creds", "creds") not in world.store.auth


async def test_a_parked_session_gets_its_credentials_back_and_is_stopped_unless_it_is_started() -> (
    None
):
    async with World() as world:
        await _logged_out(world)
        restored = await world.session.ask(Restore(None, start=False))
        assert (restored.session, restored.reason) == ("shop", "logged_out")
        assert world.store.auth["shop", "creds", "creds"] == OLD
        assert [data for _, kind, data in world.events if kind == "session.restored"] == [
            {"archive": restored.id, "reason": "logged_out"}
        ]
        await asyncio.sleep(HOUR)
        assert world.session.state is S.STOPPED
        assert len(world.workers.attempts) == 1
        shown = world.session.reconnection()
        assert (shown.close_reason, shown.failures, shown.breaker.state) == (None, 0, "closed")
        await world.session.ask(Restore(None, start=True))
        await world.until(S.OPEN)
        assign = world.workers.last.sent[0]
        assert isinstance(assign, wire.Assign)
        assert bytes(assign.creds) == OLD


@pytest.mark.parametrize("reason", [R.BANNED, R.LOGGED_OUT])
@pytest.mark.parametrize("crashes", [False, True])
async def test_a_restore_without_a_start_is_no_way_past_a_ban_not_even_with_the_next_supervisor(
    reason: R, crashes: bool
) -> None:
    async with World() as world:
        world.paired()
        world.workers.plan.append(opens())
        await world.start()
        await world.until(S.OPEN)
        await asyncio.sleep(1)
        world.workers.last.drop(reason)
        await world.until(S.PARKED)
        await world.session.ask(Restore(None, start=False))
        row = world.store.rows["shop"]
        assert (row.wanted, world.session.view().wanted, world.session.state) == (
            False,
            False,
            S.STOPPED,
        )
        await (world.crash() if crashes else world.close())
        await world.start()
        await asyncio.sleep(HOUR)
        assert world.session.state is S.STOPPED
        assert len(world.workers.attempts) == 1
        await world.ask(Command.START)
        await world.until(S.OPEN)


async def test_a_restore_without_a_start_ends_the_wait_of_a_ban_that_names_its_end() -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        await asyncio.sleep(1)
        world.workers.last.drop(R.TEMPORARILY_BANNED, {"expire": "600"})
        await world.until(S.PARKED)
        await world.session.ask(Restore(None, start=False))
        await asyncio.sleep(HOUR)
        assert world.session.state is S.STOPPED
        assert len(world.workers.attempts) == 1


async def test_a_restore_with_a_start_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(StoreUnavailable("The disk is full."))
        return future

    async with World() as world:
        await _logged_out(world)
        await world.ask(Command.STOP)
        with monkeypatch.context() as patch:
            patch.setattr(world.store, "set_wanted", fails)
            await world.session.ask(Restore(None, start=True))
            await world.until(S.OPEN)
        assert world.store.rows["shop"].wanted is True


async def test_a_stopped_session_is_restored_and_started_if_asked_to() -> None:
    async with World() as world:
        await _logged_out(world)
        await world.ask(Command.STOP)
        await world.session.ask(Restore(None, start=False))
        await asyncio.sleep(HOUR)
        assert world.session.state is S.STOPPED
        assert world.store.rows["shop"].wanted is False
        await world.session.ask(Restore(None, start=True))
        await world.until(S.OPEN)
        assert world.store.rows["shop"].wanted is True


async def test_a_quarantined_session_gets_the_last_good_credentials_and_opens() -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)  # and a snapshot is taken
        world.store.auth["shop", "creds", "creds"] = b"{torn"
        await world.close()
        await world.start()
        await world.until(S.QUARANTINED)
        restored = await world.session.ask(Restore(None, start=True))
        assert restored.reason == "paired"
        await world.until(S.OPEN)
        assert world.store.auth["shop", "creds", "creds"] == CREDS
        assert (2, "before_restore") in await world.store.archived("shop"), (
            "what could not be read is kept, too"
        )


@pytest.mark.parametrize("state", [S.STARTING, S.HELD, S.CONNECTING, S.QR, S.OPEN, S.WAITING])
async def test_credentials_that_are_in_use_are_not_replaced(state: S) -> None:
    async with World() as world:
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
            case _:
                pass
        world.paired()
        await world.start()
        await world.until(state)
        await world.store.snapshot(world.id, "daily")
        archives = len(world.store.archives)
        with pytest.raises(Refused, match=f"is {state}") as caught:
            await world.session.ask(Restore(None, start=True))
        assert caught.value.code == "in_use"
        assert "stop" in caught.value.hint
        assert len(world.store.archives) == archives
        assert world.store.auth["shop", "creds", "creds"] == CREDS


async def test_an_archive_that_is_not_there_changes_nothing() -> None:
    async with World() as world:
        await _logged_out(world)
        for archive in (99, 0):
            with pytest.raises(NoArchive):
                await world.session.ask(Restore(archive, start=True))
        world.store.failing = True
        with pytest.raises(StoreUnavailable):
            await world.session.ask(Restore(None, start=True))
        world.store.failing = False
        await asyncio.sleep(HOUR)
        assert world.session.state is S.PARKED
        assert len(world.workers.attempts) == 1
        assert [kind for _, kind, _ in world.events if kind == "session.restored"] == []


async def test_a_session_that_is_gone_restores_nothing() -> None:
    world = World()
    await _logged_out(world)
    await world.close()
    with pytest.raises(SessionNotFound):
        await world.session.ask(Restore(None, start=True))


async def test_a_snapshot_is_taken_after_a_pairing_and_not_at_every_opening() -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        await asyncio.sleep(0.1)
        assert await world.store.archived("shop") == [(1, "paired")]
        for _ in range(3):
            world.workers.last.drop(R.CONNECTION_LOST)
            await world.until(S.WAITING)
            await world.until(S.OPEN)
        await world.close()
        await world.start()
        await world.until(S.OPEN)
        await asyncio.sleep(0.1)
        assert await world.store.archived("shop") == [(1, "paired")]


async def test_a_snapshot_that_fails_does_not_disturb_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(*_: object) -> bool:
        raise StoreUnavailable("The disk is full.")

    async with World() as world:
        world.paired()
        monkeypatch.setattr(world.store, "snapshot", fails)
        await world.start()
        await world.until(S.OPEN)
        await asyncio.sleep(HOUR)
        assert world.session.state is S.OPEN
        assert len(world.workers.attempts) == 1
        assert world.alerts("session_error") == []


# --- keys that cannot be read ---------------------------------------------------------------------


async def _unreadable(*_: object) -> dict[str, bytes]:
    raise UnreadableValue("session 'alice' of session 'shop' does not decrypt")


@pytest.mark.parametrize("state", [S.CONNECTING, S.OPEN])
async def test_keys_that_cannot_be_read_quarantine_the_session(
    state: S, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World() as world:
        world.paired()
        if state is S.CONNECTING:
            world.workers.plan.append(says_nothing())
        await world.start()
        await world.until(state)
        worker = world.workers.last
        with monkeypatch.context() as patch:
            patch.setattr(world.store, "read_keys", _unreadable)
            worker.report(wire.KeysGet("shop", epoch=1, id=1, kind="session", names=["alice"]))
            await world.until(S.QUARANTINED)
        assert not worker.alive
        assert not any(isinstance(frame, wire.KeysValues) for frame in worker.sent), (
            "never an empty answer"
        )
        (alert,) = [
            data
            for _, kind, data in world.events
            if kind == "alert" and data["name"] == "quarantined"
        ]
        assert "alice" in alert["message"]
        assert world.gate.unfinished == []
        await asyncio.sleep(HOUR)
        assert world.session.state is S.QUARANTINED
        assert len(world.workers.attempts) == 1
        assert world.store.auth["shop", "creds", "creds"] == CREDS
        refusal = await world.ask(Command.FORCE)
        assert isinstance(refusal, Refused)
        assert "restore" in refusal.hint
        assert await world.ask(Command.START) is None
        await world.until(S.OPEN)


async def test_unreadable_keys_of_a_worker_that_is_gone_concern_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        old = world.workers.last
        with monkeypatch.context() as patch:
            patch.setattr(world.store, "read_keys", _unreadable)
            await world.ask(Command.STOP)
            assert old.owner is not None
            old.owner.on_frame(
                old, wire.KeysGet("shop", epoch=1, id=1, kind="session", names=["alice"])
            )
            await asyncio.sleep(1)
        await world.ask(Command.START)
        await world.until(S.OPEN)
        assert world.times(S.QUARANTINED) == []


async def test_credentials_that_do_not_decrypt_quarantine_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World() as world:
        with monkeypatch.context() as patch:
            patch.setattr(world.store, "read_keys", _unreadable)
            await world.start()
            await world.until(S.QUARANTINED)
        assert world.workers.alive == []
        assert world.workers.attempts == []
