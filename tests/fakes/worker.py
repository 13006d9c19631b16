"""A fake worker process: it obeys its supervisor and remembers what it was told."""

import asyncio
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from sessions.model import CloseReason, WorkerGone, WorkerRefused
from sessions.ports import WorkerOwner
from sessions.workers import wire
from sessions.workers.worker_process import Exit, StopLadder
from tests.fakes.clock import EPOCH

if TYPE_CHECKING:
    from tests.fakes.workers import FakeWorkers

LADDER = StopLadder()


class FakeWorker:
    """A worker that obeys orders and does with each attempt what its source's plan says."""

    def __init__(self, source: "FakeWorkers", session: str, number: int) -> None:
        self.id = f"fake-{number}"
        self.pid = 1000 + number
        self.code = "fake"
        self.session = session
        self.beat: wire.Beat | None = None
        self.lives = True
        """The process is there."""
        self.unkillable = False
        """Not even SIGKILL ends it."""
        self.abandoned = False
        self.sent: list[wire.Down] = []
        self.socket: int | None = None
        self.assigned = False
        self.killed = False
        self.line_down = False
        self.stop_seconds = 0.0
        self.released: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.alone = False
        """Its supervisor is gone, and it lives on."""
        self.unacknowledged: dict[int, wire.Message] = {}
        self._held = wire.Held(session=session, epoch=0, attempt=0, stage=wire.Stage.IDLE)
        self._opened_at = 0.0
        self._owner: WorkerOwner | None = None
        self._early: list[wire.Up] = []
        self._source = source
        self._numbers = itertools.count(1)
        self._loop = asyncio.get_running_loop()

    @property
    def alive(self) -> bool:
        """As the real one: whether it lives, and is of use."""
        return self.lives and not self.abandoned

    @property
    def owner(self) -> WorkerOwner | None:
        return self._owner

    def detach(self) -> None:
        """Its supervisor is gone."""
        self._owner = None

    def attach(self, owner: WorkerOwner) -> None:
        """As the real one: what came before there was an owner is told at once, an end, too."""
        self._owner = owner
        early, self._early = self._early, []
        for frame in early:
            owner.on_frame(self, frame)
        if self.released.done():
            owner.on_worker_end(self, self.released.result())

    @property
    def beat_at(self) -> float:
        return (
            self._source.last_beat_at
            if self._source.last_beat_at is not None
            else self._loop.time()
        )

    @beat_at.setter
    def beat_at(self, at: float) -> None:
        self._source.last_beat_at = at

    def send(self, frame: wire.Down) -> None:
        if not self.alive or self.line_down:
            raise WorkerGone("The worker's connection is down.")
        self.sent.append(frame)
        match frame:
            case wire.Assign():
                self.assigned = True
                self._hold(epoch=frame.epoch)
                self._source.check(self)
            case wire.EventsAck(_, epoch=epoch, seq=seq) if epoch == self._held.epoch:
                self.unacknowledged = {
                    n: event for n, event in self.unacknowledged.items() if n > seq
                }
            case wire.Refuse():
                self._loop.call_soon(self.end, Exit(status=5))
            case wire.Connect():
                if self.socket is not None:
                    self._source.breaches.append(f"{self.id}: connect while a socket is open")
                self.socket = frame.attempt
                self._hold(attempt=frame.attempt, stage=wire.Stage.CONNECTING, closed=None)
                self._source.check(self)
                self._source.attempts.append((self._loop.time(), frame.attempt))
                self._source.next_outcome()(self, frame.attempt)
            case wire.Close() if self._source.obeys_close and self.socket is not None:
                attempt = self.socket
                self.later(0.01, lambda: self.close_socket(attempt, CloseReason.REQUESTED, None))
            case wire.Logout() if self._source.obeys_close and self.socket is not None:
                attempt = self.socket
                self.later(0.01, lambda: self.close_socket(attempt, CloseReason.OWN_LOGOUT, None))
            case _:
                pass

    async def request(
        self, make: Callable[[int], wire.Request], timeout_seconds: float
    ) -> wire.Replied | wire.Probed:
        order = make(next(self._numbers))
        self.send(order)
        match order, self._source.probe:
            case wire.Probe(), "hangs":
                await asyncio.sleep(timeout_seconds)
                raise TimeoutError
            case wire.Probe(), answer:
                await asyncio.sleep(0.02)
                stalled = wire.Stall.SENDS if answer == "stalled" else None
                well = answer == "ok" or stalled is not None
                return wire.Probed(
                    self.session,
                    id=order.id,
                    ok=well,
                    round_trip_ms=20.0 if well else None,
                    silent=answer == "silent",
                    stalled=stalled,
                )
            case wire.Send(), _ if self._source.unacknowledged_sends:
                raise WorkerRefused("timed_out", "not acknowledged by the server")
            case wire.PairingCode(), _:
                return wire.Replied(self.session, id=order.id, ok=True, result={"code": "ABCD1234"})
            case _:
                return wire.Replied(self.session, id=order.id, ok=True, result={"id": "3EB0"})

    def kill(self) -> None:
        self.killed = True
        if self.unkillable:
            self._loop.call_later(LADDER.kill_seconds, self._abandon)
        else:
            self._loop.call_soon(self.end, Exit(signal=9))

    async def stop(self) -> Exit:
        """As the real one: never raises, and in bounded time."""
        if self.unkillable and self.alive:
            await asyncio.sleep(LADDER.ask_seconds + LADDER.terminate_seconds)
            self.kill()
            return await asyncio.shield(self.released)
        if self.alive:
            await asyncio.sleep(self.stop_seconds)
            self.end(Exit(status=0))
        return Exit(status=0) if not self.released.done() else self.released.result()

    def _abandon(self) -> None:
        if self.alive:
            self.abandoned = True
            self._release(Exit(abandoned=True))

    # --- what a test makes it do ------------------------------------------------------------------

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self._loop.call_later(seconds, act)

    def report(self, frame: wire.Up) -> None:
        """Send a frame up, unless the process has ended.

        Without a supervisor it is only remembered where the socket stands.
        """
        if not self.alive:
            return
        self._note(frame)
        if self.owner is not None:
            self.owner.on_frame(self, frame)
        elif not self.alone:
            self._early.append(frame)

    def says(self, text: str) -> None:
        """A message has come in: it is kept until it is acknowledged."""
        seq = max(self.unacknowledged, default=self._source.numbers.get(self.id, 0)) + 1
        self._source.numbers[self.id] = seq
        self.unacknowledged[seq] = wire.Message(
            self.session,
            epoch=self._held.epoch,
            seq=seq,
            id=f"3A{seq}",
            sender="15550000009@s.whatsapp.net",
            participant=None,
            text=text,
            timestamp_seconds=int(EPOCH),
            kind="conversation",
            from_me=False,
        )
        self.report(self.unacknowledged[seq])

    def held(self) -> wire.Held:
        """What it would tell of itself now."""
        if self._held.stage is wire.Stage.OPEN:
            return msgspec.structs.replace(
                self._held, open_for_ms=(self._loop.time() - self._opened_at) * 1000
            )
        return self._held

    def adoptable(self, held: wire.Held) -> None:
        """It has come to stand like this."""
        self.assigned, self._held = True, held
        self._opened_at = self._loop.time() - (held.open_for_ms or 0.0) / 1000
        if held.stage is not wire.Stage.IDLE:
            self.socket = held.attempt

    def _hold(self, **changes: Any) -> None:
        self._held = msgspec.structs.replace(self._held, **changes)

    def _note(self, frame: wire.Up) -> None:
        match frame:
            case wire.State(stage="upgraded"):
                pass
            case wire.State(stage="qr_retired"):
                self._hold(qr=None)
            case wire.State(stage=stage):
                self._hold(stage=wire.Stage(stage), qr=None)
            case wire.Qr():
                self._hold(
                    stage=wire.Stage.QR,
                    qr=frame.qr,
                    qr_number=frame.qr_number,
                    pairing_code=frame.pairing_code,
                )
            case wire.Opened(jid=jid, name=name):
                self._opened_at = self._loop.time()
                self._hold(stage=wire.Stage.OPEN, qr=None, jid=jid, name=name)
            case wire.Closed():
                how = wire.HowClosed(
                    code=frame.code,
                    message=frame.message,
                    data=frame.data,
                    registered=frame.registered,
                    reason=frame.reason,
                )
                self._hold(stage=wire.Stage.IDLE, qr=None, jid=None, name=None, closed=how)
            case _:
                pass

    def close_socket(
        self, attempt: int, reason: CloseReason, data: dict[str, str] | None = None
    ) -> None:
        """The socket of that attempt ends and is reported, once."""
        if self.socket == attempt:
            self.socket = None
            code = None if reason is CloseReason.REQUESTED else 500
            self.report(
                wire.Closed(
                    self.session,
                    attempt=attempt,
                    code=code,
                    message="closed",
                    data=data,
                    registered=True,
                    reason=reason,
                )
            )

    def drop(
        self, reason: CloseReason = CloseReason.CONNECTION_LOST, data: dict[str, str] | None = None
    ) -> None:
        """The socket ends now, whatever its attempt."""
        if self.socket is not None:
            self.close_socket(self.socket, reason, data)

    def end(self, end: Exit) -> None:
        """The process ends."""
        if self.lives:
            self.lives = False
            self.socket = None
            self._release(end)
            self._source.ended.set()

    def _release(self, end: Exit) -> None:
        if not self.released.done():
            self.released.set_result(end)
            if self.owner is not None:
                self.owner.on_worker_end(self, end)
