"""Stand-ins for what surrounds a session: workers that obey, a gate that can be shut, a store in
memory, a wall clock in step with the loop.

They never raise at a breach (the actor would swallow it): they write it into `breaches`, and the
tests end with `assert breaches == []`.
"""

import asyncio
import base64
import contextlib
import itertools
import random
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Literal

import msgspec

from sessions.credentials.proxy import Proxy
from sessions.lifecycle.dependencies import Dependencies, SessionConfig
from sessions.lifecycle.inbox import Command
from sessions.lifecycle.session import Session
from sessions.model import (
    AlertChange,
    CloseReason,
    EventData,
    NoArchive,
    SameDevice,
    SessionExists,
    SessionId,
    SessionNotFound,
    SessionState,
    StaleEpoch,
    StoreUnavailable,
    WasupError,
    WorkerGone,
    WorkerRefused,
)
from sessions.policy import correlated_reasons
from sessions.ports import ClosedWay, Origin, Returned, WorkerHandle, WorkerOwner
from sessions.records.incidents import Incident, Span
from sessions.store import ArchiveRow, Restored, SessionRow, StoreHealth
from sessions.workers import wire
from sessions.workers.keys import KeyService
from sessions.workers.wire import KeyEntry
from sessions.workers.worker_process import Exit, StopLadder

CORRELATED = correlated_reasons()
EPOCH = 1_700_000_000.0
"""The wall clock's time at the loop's time 0."""
LADDER = StopLadder()
JID = "15550000001:1@s.whatsapp.net"


def buffer(length: int) -> dict[str, str]:
    """So many bytes, as Baileys writes them to JSON."""
    return {"type": "Buffer", "data": base64.b64encode(bytes(length)).decode()}


def key_pair() -> dict[str, Any]:
    """A key pair, as it stands in credentials."""
    return {"public": buffer(32), "private": buffer(32)}


CREDS = msgspec.json.encode(
    {
        "noiseKey": key_pair(),
        "signedIdentityKey": key_pair(),
        "signedPreKey": {"keyPair": key_pair(), "signature": buffer(64), "keyId": 1},
        "registrationId": 42,
        "advSecretKey": "x",
    }
)
"""Of a device that was never paired."""


def fake_time() -> SimpleNamespace:
    """A `time` module whose wall clock runs with the (fast-forwarded) loop."""
    return SimpleNamespace(time=lambda: EPOCH + asyncio.get_running_loop().time())


# --- workers --------------------------------------------------------------------------------------

Outcome = Callable[["FakeWorker", int], None]
"""What a worker does with an attempt."""


def opens(after: float = 0.1) -> Outcome:
    """Log in."""

    def act(worker: "FakeWorker", attempt: int) -> None:
        worker.later(
            after / 2,
            lambda: worker.report(wire.State(worker.session, attempt=attempt, stage="login")),
        )
        worker.later(
            after,
            lambda: worker.report(
                wire.Opened(worker.session, attempt=attempt, jid=JID, name="Shop")
            ),
        )

    return act


def closes(reason: CloseReason, after: float = 0.1, data: dict[str, str] | None = None) -> Outcome:
    """Be turned away."""
    return lambda worker, attempt: worker.later(
        after, lambda: worker.close_socket(attempt, reason, data)
    )


def shows_qr(expires_after: float | None = 160.0) -> Outcome:
    """Show a QR; nobody scans it, and Baileys gives up after its refs are used up (None: it hangs
    instead).
    """

    def act(worker: "FakeWorker", attempt: int) -> None:
        worker.later(
            0.1, lambda: worker.report(wire.Qr(worker.session, attempt=attempt, qr="QR-TEXT"))
        )
        if expires_after is not None:
            worker.later(
                expires_after, lambda: worker.close_socket(attempt, CloseReason.QR_EXPIRED, None)
            )

    return act


def dies(after: float = 0.1) -> Outcome:
    """End with the process."""
    return lambda worker, _: worker.later(after, lambda: worker.end(Exit(status=1)))


def says_nothing() -> Outcome:
    """Hang."""
    return lambda worker, _: None


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

    @owner.setter
    def owner(self, owner: WorkerOwner | None) -> None:
        """As the real one: what came before there was an owner is told at once, an end, too."""
        self._owner = owner
        early, self._early = self._early, []
        if owner is not None:
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
            raise WorkerGone("The worker's line is down.")
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


class FakeWorkers:
    """Where fake workers come from.

    `plan` is used up first, an outcome for each attempt; then `otherwise` for ever.
    """

    def __init__(self) -> None:
        self.made: list[FakeWorker] = []
        self.plan: deque[Outcome] = deque()
        self.otherwise: Outcome = opens()
        self.startup_seconds = 0.3
        self.startup_error: Exception | None = None
        self.startups = 0
        self.held: asyncio.Future[None] | None = None
        self.probe = "ok"
        self.unacknowledged_sends = False
        self.obeys_close = True
        self.last_beat_at: float | None = None
        self.attempts: list[tuple[float, int]] = []
        self.breaches: list[str] = []
        self.others_ended = 0
        self.numbers: dict[str, int] = {}
        """Of each worker's last event."""
        self.returning: dict[str, tuple[FakeWorker, asyncio.Future[Returned | None]]] = {}
        self.reunion_error: Exception | None = None
        self.supervisor_dies = False
        self.refused: list[tuple[str, str]] = []
        self.ended = asyncio.Event()
        """Set at each worker's end."""

    def stuck(self, session: str) -> int | None:
        return next((worker.pid for worker in self._stuck(session)), None)

    def _stuck(self, session: str) -> list[FakeWorker]:
        return [
            worker
            for worker in self.made
            if worker.abandoned and worker.lives and worker.session == session
        ]

    def expects(self, session: str) -> bool:
        return session in self.returning

    async def await_reconnect(self, session: str) -> Returned | None:
        answer = await self.returning[session][1]
        self.returning.pop(session, None)
        if self.reunion_error is not None:
            raise self.reunion_error
        return answer

    async def refuse(self, worker: WorkerHandle, reason: str) -> None:
        self.refused.append((worker.id, reason))
        await worker.stop()

    async def dismiss(self, session: str) -> None:
        if session in self.returning:
            worker, _ = self.returning.pop(session)
            await worker.stop()

    def dismiss_unclaimed(self, claimed: Collection[str]) -> None:
        for session in self.returning.keys() - set(claimed):
            worker, _ = self.returning.pop(session)
            worker.kill()

    def comes_back(self, session: str, **held: Any) -> FakeWorker:
        """A worker of an earlier supervisor calls, and holds this of the session."""
        worker = FakeWorker(self, session, len(self.made) + 1)
        worker.adoptable(wire.Held(session=session, **held))
        self.made.append(worker)
        self.calls(worker)
        return worker

    def live_on(self) -> None:
        """The supervisor is gone, and leaves its workers as they are.

        One that holds no session ends by itself.
        """
        for worker in self.alive:
            worker.alone, worker.owner = True, None
            if not worker.assigned:
                worker.end(Exit(status=0))

    def calls(self, worker: FakeWorker, after: float = 0.0) -> None:
        """A worker that has lived on calls the supervisor's successor by then, and says what it
        holds and what was not acknowledged.
        """
        returned: asyncio.Future[Returned | None] = asyncio.get_running_loop().create_future()
        self.returning[worker.session] = (worker, returned)

        def call() -> None:
            if returned.done():
                return
            worker.alone = False
            returned.set_result(Returned(worker, worker.held()) if worker.alive else None)
            for event in worker.unacknowledged.values():
                worker.report(event)

        if after:
            worker.later(after, call)
        else:
            call()

    async def close(self) -> None:
        """As the real ones, when their supervisor stops: also those that nobody has claimed end."""
        for worker, _ in self.returning.values():
            await worker.stop()
        self.returning.clear()
        await asyncio.sleep(0.01)  # one that was killed in this instant

    async def bring_up(self, session: str) -> FakeWorker:
        while self._stuck(session):  # as the real ones: never two for one session
            self.ended.clear()
            await self.ended.wait()
        self.startups += 1
        if self.held is not None:
            await self.held
        else:
            await asyncio.sleep(self.startup_seconds)
        if self.startup_error is not None:
            raise self.startup_error
        worker = FakeWorker(self, session, len(self.made) + 1)
        self.made.append(worker)
        return worker

    def end_others(self, owner: WorkerOwner, keep: WorkerHandle | None) -> None:
        self.others_ended += 1

    def next_outcome(self) -> Outcome:
        return self.plan.popleft() if self.plan else self.otherwise

    def check(self, worker: FakeWorker) -> None:
        """Promise 2: a session is never owned twice."""
        for other in self.made:
            if (
                other is not worker
                and other.session == worker.session
                and other.lives
                and other.assigned
            ):
                self.breaches.append(
                    f"{worker.id} was given {worker.session} while {other.id} still has it"
                )

    @property
    def alive(self) -> list[FakeWorker]:
        return [worker for worker in self.made if worker.alive]

    @property
    def last(self) -> FakeWorker:
        return self.made[-1]


# --- gate -----------------------------------------------------------------------------------------


class FakeTicket:
    """An admission; remembers what became of it."""

    def __init__(self, gate: "FakeGate", session: str, urgent: bool) -> None:
        self.gate = gate
        self.session = session
        self.urgent = urgent
        self.has_landed = False
        self.succeeded: bool | None = None
        self.deadline_seconds = gate.deadline_seconds

    def login_sent(self) -> None:
        self.has_landed = True

    def finish(self, succeeded: bool) -> None:
        if self.succeeded is None:
            self.succeeded = succeeded


class FakeGate:
    """Admits at once, or not at all while `shut`."""

    def __init__(self) -> None:
        self.shut = False
        self.permits: list[FakeTicket] = []
        self.waiting: list[tuple[FakeTicket, asyncio.Future[None]]] = []
        self.holds: list[str] = []
        self.concerns_all = True
        """What a hold is answered."""
        self.breaches: list[str] = []
        self.outage = False
        """An outage covers every close that can be an outage's."""
        self.way: ClosedWay | None = None
        """What looks say of everybody's way."""
        self.deadline_seconds: float | None = None
        self.told: list[tuple[str, Any]] = []
        """What sessions have said: `registered` and the egress, `opened`, `closed` with the reason
        and whether it was open, `left`.
        """

    def registered(self, session: SessionId, egress: str) -> None:
        self.told.append(("registered", egress))

    def opened(self, session: SessionId) -> None:
        self.told.append(("opened", None))

    def closed(
        self, session: SessionId, reason: CloseReason, was_open: bool, weight: float
    ) -> bool:
        self.told.append(("closed", (reason, was_open)))
        return self.outage and reason in CORRELATED

    def left(self, session: SessionId) -> None:
        self.told.append(("left", None))

    def closed_way(self, session: SessionId) -> ClosedWay | None:
        return self.way

    def adopt(self, session: SessionId, login_sent: bool, through: bool = False) -> FakeTicket:
        permit = self._grant(FakeTicket(self, session, urgent=False))
        permit.has_landed = login_sent
        return permit

    @property
    def unfinished(self) -> list[FakeTicket]:
        return [permit for permit in self.permits if permit.succeeded is None]

    def try_admit(self, session: SessionId, urgent: bool = False) -> FakeTicket | None:
        return None if self.shut else self._grant(FakeTicket(self, session, urgent))

    async def admit(self, session: SessionId, urgent: bool = False) -> FakeTicket:
        entry = (FakeTicket(self, session, urgent), asyncio.get_running_loop().create_future())
        if not self.shut:
            return self._grant(entry[0])
        self.waiting.append(entry)
        try:
            await entry[1]
        except asyncio.CancelledError:
            if entry[1].done() and not entry[1].cancelled():
                entry[0].finish(succeeded=False)
            raise
        finally:
            self.waiting.remove(entry)
        return entry[0]

    def hold(self, session: SessionId, reason: str) -> bool:
        self.holds.append(reason)
        return self.concerns_all

    def open(self) -> None:
        """Let everybody through who waits."""
        self.shut = False
        for permit, future in self.waiting:
            if not future.done():
                self._grant(permit)
                future.set_result(None)

    def grant_first(self) -> None:
        """Let the first one through who waits, and stay shut."""
        permit, future = self.waiting[0]
        self._grant(permit)
        future.set_result(None)

    def _grant(self, permit: FakeTicket) -> FakeTicket:
        if any(other.session == permit.session for other in self.unfinished):
            self.breaches.append(f"{permit.session} holds two permits")
        self.permits.append(permit)
        return permit


# --- store ----------------------------------------------------------------------------------------


class FakeRecords:
    """Incidents by their begin, and the moves between open, down and off."""

    def __init__(self) -> None:
        self.silent_since: float | None = None
        self.lasting: Mapping[str, Span] = {}
        self.saved: dict[tuple[str | None, str, float], Incident] = {}
        self.moves: deque[tuple[str, str, float]] = deque(maxlen=10_000)
        self.alive = 0

    def save_incident(self, incident: Incident) -> None:
        self.saved[incident.session, incident.scope, incident.began_at] = incident
        if len(self.saved) > 10_000:  # as the real ones: pruned
            del self.saved[next(iter(self.saved))]

    def say_alive(self) -> None:
        self.alive += 1

    def move(self, session: str, state: str, at: float) -> None:
        self.moves.append((session, state, at))

    @property
    def incidents(self) -> list[Incident]:
        return list(self.saved.values())


class FakeStore:
    """The store's part that sessions use, in memory. `failing`: every write and read is refused."""

    def __init__(self) -> None:
        self.failing = False
        self.known = True
        """It is known to fail (else only this session's operations do)."""
        self.writes: list[str] = []
        self.rows: dict[str, SessionRow] = {}
        self.devices: dict[str, str] = {}
        """Linked devices that other sessions are."""
        self.first_epoch = 0
        self.proxies: dict[str, Proxy | None] = {}
        self.auth: dict[tuple[str, str, str], bytes] = {}
        self.archives: list[tuple[int, str, str, dict[tuple[str, str], bytes]]] = []
        self.records = FakeRecords()

    @property
    def health(self) -> StoreHealth:
        state: Literal["ok", "failing"] = "failing" if self.failing and self.known else "ok"
        return StoreHealth(state, None, 0.0, 0, 0, "")

    async def sessions(self) -> list[SessionRow]:
        self._check()
        return sorted(self.rows.values(), key=lambda row: (row.created_at, row.id))

    async def create_session(
        self, session: SessionId, wanted: bool, proxy: Proxy | None = None
    ) -> SessionRow:
        self._check()
        if session in self.rows:
            raise SessionExists
        row = SessionRow(
            session,
            wanted,
            self.first_epoch,
            None,
            None,
            None,
            EPOCH + len(self.rows),
            proxy.name if proxy else None,
        )
        self.rows[session] = row
        self.proxies[session] = proxy
        return row

    async def delete_session(self, session: SessionId, purge: bool) -> None:
        self._check()
        if purge:
            self.archives = [archive for archive in self.archives if archive[1] != session]
            self._take_auth(session)
        else:
            self._archive(session, "deleted")
        row = self.rows.pop(session, None)
        if row is not None:
            self.first_epoch = max(self.first_epoch, row.epoch + 1)

    def set_wanted(self, session: SessionId, wanted: bool) -> asyncio.Future[None]:
        return self._update(session, "wanted", wanted=wanted)

    def save_memory(self, session: SessionId, memory: bytes) -> asyncio.Future[None]:
        return self._update(session, "memory", memory=memory)

    def save_identity(self, session: SessionId, jid: str, name: str | None) -> asyncio.Future[None]:
        done = self._update(session, "identity", jid=jid, name=name)
        owner = self.devices.get(jid)
        return done if owner is None else self._done(SameDevice(session, owner, jid))

    async def claim_device(self, session: SessionId, device: str | None) -> None:
        self._check()
        if device is not None and device in self.devices:
            raise SameDevice(session, self.devices[device], device)

    async def set_proxy(self, session: SessionId, proxy: Proxy | None) -> None:
        self._check()
        self.proxies[session] = proxy
        self.rows[session] = msgspec.structs.replace(
            self.rows[session], proxy=proxy.name if proxy else None
        )

    async def proxy(self, session: SessionId) -> Proxy | None:
        self._check()
        return self.proxies.get(session)

    async def raise_epoch(self, session: SessionId) -> int:
        self._check()
        if session not in self.rows:
            raise SessionNotFound
        row = self.rows[session]
        self.rows[session] = msgspec.structs.replace(row, epoch=row.epoch + 1)
        return row.epoch + 1

    async def creds(self, session: SessionId) -> bytes | None:
        return (await self.read_keys(session, "creds", ["creds"])).get("creds")

    async def read_keys(self, session: str, kind: str, names: Sequence[str]) -> dict[str, bytes]:
        self._check()
        return {
            name: self.auth[session, kind, name]
            for name in names
            if (session, kind, name) in self.auth
        }

    async def inbound(self, session: str, most_bytes: int) -> dict[str, bytes]:
        self._check()
        mine = {
            name: value
            for (of, kind, name), value in self.auth.items()
            if (of, kind) == (session, "inbound")
        }
        assert sum(map(len, mine.values())) <= most_bytes
        return mine

    def write_keys(
        self, session: str, epoch: int, entries: Sequence[KeyEntry]
    ) -> asyncio.Future[None]:
        current = self.rows[session].epoch if session in self.rows else None
        if current != epoch:
            return self._done(StaleEpoch(f"{session} is at epoch {current}, not {epoch}"))
        self.writes.append("keys")
        for entry in entries:
            if entry.deleted:
                self.auth.pop((session, entry.kind, entry.name), None)
            else:
                self.auth[session, entry.kind, entry.name] = bytes(entry.value)
        return self._done()

    def archive_credentials(
        self, session: SessionId, reason: str, *, memory: bytes, wanted: bool
    ) -> asyncio.Future[None]:
        if not self.failing:
            self._archive(session, reason)
            self.rows[session] = msgspec.structs.replace(
                self.rows[session], epoch=self.rows[session].epoch + 1
            )
        return self._update(session, "archive", jid=None, name=None, memory=memory, wanted=wanted)

    async def must_write(self) -> None:
        self._check()

    async def snapshot(self, session: SessionId, reason: str) -> bool:
        self._check()
        self.writes.append("snapshot")
        creds = self.auth.get((session, "creds", "creds"))
        if creds is not None:
            self.archives.append(
                (len(self.archives) + 1, session, reason, {("creds", "creds"): creds})
            )
        return creds is not None

    async def restore_session(
        self, session: SessionId, archive: int | None, *, wanted: bool
    ) -> Restored:
        self._check()
        mine = [kept for kept in self.archives if kept[1] == session and archive in {None, kept[0]}]
        if not mine:
            raise NoArchive(f"There is no archive {archive} of {session}.")
        number, _, reason, entries = mine[-1]
        self._archive(session, "before_restore")
        self.auth |= {(session, kind, name): value for (kind, name), value in entries.items()}
        if session not in self.rows:
            await self.create_session(session, wanted=False)
        row = self.rows[session]
        self.rows[session] = msgspec.structs.replace(
            row, epoch=row.epoch + 1, memory=None, jid=None, name=None, wanted=wanted
        )
        return Restored(
            ArchiveRow(number, session, EPOCH, reason, True, len(entries)), self.rows[session]
        )

    async def archived(self, session: str) -> list[tuple[int, str]]:
        return [(number, reason) for number, of, reason, _ in self.archives if of == session]

    def _archive(self, session: str, reason: str) -> None:
        mine = self._take_auth(session)
        if mine:
            self.archives.append((len(self.archives) + 1, session, reason, mine))

    def _take_auth(self, session: str) -> dict[tuple[str, str], bytes]:
        mine = {key[1:]: value for key, value in self.auth.items() if key[0] == session}
        self.auth = {key: value for key, value in self.auth.items() if key[0] != session}
        return {(kind, name): value for (kind, name), value in mine.items()}

    def _update(self, session: SessionId, what: str, **values: object) -> asyncio.Future[None]:
        if not self.failing and session in self.rows:
            self.writes.append(what)
            self.rows[session] = msgspec.structs.replace(self.rows[session], **values)
        return self._done()

    def _done(self, error: Exception | None = None) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        error = StoreUnavailable("The disk is full.") if self.failing else error
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
            future.exception()  # as the real one: nobody has to await a write
        return future

    def _check(self) -> None:
        if self.failing:
            raise StoreUnavailable("The disk is full.")


# --- a session and its world ----------------------------------------------------------------------


class World:
    """One session among fakes, and a record of what it showed."""

    def __init__(self, config: SessionConfig | None = None, seed: int = 0) -> None:
        self.id = SessionId("shop")
        self.store = FakeStore()
        self.gate = FakeGate()
        self.workers = FakeWorkers()
        self.events: list[tuple[float, str, Mapping[str, Any]]] = []
        self.delivered: set[tuple[int, int]] = set()
        self.dependencies = Dependencies(
            config=config or SessionConfig(),
            store=self.store,  # type: ignore[arg-type]
            keys=KeyService(self.store),  # type: ignore[arg-type]
            workers=self.workers,
            gate=self.gate,
            publish=self._publish,
            deliver=self._deliver,
            rng=random.Random(seed),
        )
        self.session: Session = None  # type: ignore[assignment]
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def start(self, wanted: bool = True) -> Session:
        """Create the session (once) and run its actor on what the store has of it."""
        if self.id not in self.store.rows:
            await self.store.create_session(self.id, wanted)
        self.session = Session(self.store.rows[self.id], self.dependencies)
        self._task = asyncio.create_task(self.session.run(), name="the session under test")
        return self.session

    async def crash(self, workers_live: bool = False) -> None:
        """The supervisor dies without a word, and its workers with it, unless they live on."""
        self.workers.supervisor_dies = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if self.id in task.get_name().split():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        for worker in [] if workers_live else self.workers.alive:
            worker.owner = None
            worker.end(Exit(signal=9))
        self._forget_the_supervisor()

    async def leave(self) -> None:
        """The supervisor stops, and leaves its workers to its successor."""
        with contextlib.suppress(SessionNotFound):
            await self.session.ask(Command.LEAVE)
        if self._task is not None:
            await self._task
        self._forget_the_supervisor()

    def come_back(self, after: float = 0.0) -> None:
        """The workers that live on will call the next supervisor by then."""
        for worker in self.workers.alive:
            self.workers.calls(worker, after)

    def _forget_the_supervisor(self) -> None:
        self.workers.supervisor_dies = False
        self.workers.live_on()
        self.workers.returning.clear()
        for permit in self.gate.unfinished:
            permit.finish(succeeded=False)

    async def __aenter__(self) -> "World":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: object, trace: object
    ) -> None:
        await self.close()
        if kind is None:
            assert self.breaches == []
            assert self.workers.alive == [], "a retired session leaves no worker behind"
            assert self.gate.unfinished == [], "a retired session holds no permit"

    async def close(self) -> None:
        """Retire the session."""
        if self.session is None:
            return
        if self._task is not None and self._task.done():
            self._task.result()  # an actor that has died of an error answers nobody
        with contextlib.suppress(SessionNotFound):
            await self.session.ask(Command.RETIRE)
        if self._task is not None:
            await self._task
        await self.workers.close()

    def paired(self, creds: bytes = CREDS) -> None:
        """The session has credentials already."""
        self.store.auth[self.id, "creds", "creds"] = creds

    async def ask(self, command: Command) -> WasupError | None:
        """Ask; the refusal, if it is refused."""
        try:
            await self.session.ask(command)
        except WasupError as refusal:
            return refusal
        return None

    async def until(self, *states: SessionState, within: float = 30.0) -> float:
        """Wait until it is in one of the states; the loop's time."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(within):
                while self.session.state not in states:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            shown = [
                f"{at:.1f}: {data['previousState']} -> {data['state']}"
                for at, kind, data in self.events
                if kind == "session.state"
            ]
            raise AssertionError(
                f"not {states} within {within} s but {self.session.state}; {shown}"
            ) from None
        return loop.time()

    async def until_true(self, condition: Callable[[], bool], within: float = 600.0) -> None:
        """Wait until something is so that an event may have changed."""
        async with asyncio.timeout(within):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def times(self, state: SessionState) -> list[float]:
        """When it came to be in that state."""
        return [
            at
            for at, kind, data in self.events
            if kind == "session.state" and data["state"] == state
        ]

    def alerts(self, name: str) -> list[float]:
        """When that alert was raised; its end is another matter."""
        return [
            at
            for at, kind, data in self.events
            if kind == "alert" and data["name"] == name and data["state"] != "ended"
        ]

    @property
    def breaches(self) -> list[str]:
        return [*self.workers.breaches, *self.gate.breaches]

    def _deliver(
        self, session: SessionId, event: EventData, origin: Origin
    ) -> asyncio.Future[bool]:
        """Once for each epoch and number, as the real one."""
        delivered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if origin.epoch != self.store.rows[session].epoch:
            delivered.set_exception(
                StaleEpoch(f"{session} is at another epoch than {origin.epoch}")
            )
            return delivered
        new = (origin.epoch, origin.seq) not in self.delivered
        self.delivered.add((origin.epoch, origin.seq))
        if new:
            self._publish(session, event)
        delivered.set_result(new)
        return delivered

    def _publish(self, session: SessionId | None, told: EventData | AlertChange) -> None:
        kind = told.type if isinstance(told, EventData) else "alert"
        shown = msgspec.to_builtins(told)
        self.events.append((asyncio.get_running_loop().time(), kind, shown))
        self._changed.set()
