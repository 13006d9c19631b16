"""What the worker reports of an attempt: QR, pairing, open, closed; and the open session, checked
until it fails.
"""

import asyncio
import time
from functools import partial
from typing import Final, assert_never

import msgspec
import structlog

from sessions.lifecycle.actor.attempts import Attempts
from sessions.lifecycle.actor.core import Core
from sessions.lifecycle.attempt import Attempt, ShownQr
from sessions.lifecycle.health import FIRST_CHECK_SECONDS, check_until_failed
from sessions.lifecycle.inbox import CheckFailed, PhoneDue, StableReached
from sessions.lifecycle.machine import Signal
from sessions.model import CloseReason, SameDevice, SessionState, StoreError
from sessions.policy import DeafAction
from sessions.ports import WorkerHandle
from sessions.records import phone
from sessions.views.events import PairingCodeShown, QrShown, SessionPaired
from sessions.workers import wire

S = SessionState

log = structlog.get_logger("session")


class OpenSocket:
    """Hears what the worker reports of its socket, and watches it while it is open.

    `doubt`: set when something went wrong that a probe may explain: the next one is due at once.
    """

    def __init__(self, core: Core, attempts: Attempts) -> None:
        self.doubt: Final = asyncio.Event()
        self._core = core
        self._attempts = attempts
        self._config = core.dependencies.config
        self._snapshot: asyncio.Task[None] | None = None

    def on_report(self, attempt: Attempt, report: wire.Qr | wire.State | wire.Opened) -> None:
        """What the worker says of the attempt under way."""
        match report:
            case wire.Qr():
                self._on_qr(attempt, report)
            case wire.State():
                self._on_stage(attempt, report.stage)
            case wire.Opened():
                self._on_opened(attempt, report)
            case never:
                assert_never(never)

    def _on_qr(self, attempt: Attempt, report: wire.Qr) -> None:
        # the next QR, or the end of the attempt
        self._attempts.expect_report(attempt, self._config.qr_timeout_seconds)
        attempt.admitted()
        self._attempts.count_login(attempt)
        self._core.stages.waits_for_somebody()
        before, renewed = attempt.qr, bool(report.renewed)
        attempt.qr = ShownQr(report.qr, report.qr_number or 0, report.pairing_code)
        self._core.signal(Signal.SHOW_QR)
        if before is None or before.qr != report.qr:
            self._core.publish(QrShown(report.qr, attempt.qr.number, renewed))
        code = report.pairing_code
        if code is not None and (before is None or before.pairing_code != code):
            self._core.publish(PairingCodeShown(code, renewed))

    def _on_stage(self, attempt: Attempt, stage: str) -> None:
        if stage == "upgraded":
            self._core.stages.passed("upgrade", self._core.now())
        elif stage == "login":
            self._core.stages.passed("handshake", self._core.now())
            attempt.login_sent()
            self._attempts.count_login(attempt)
        elif stage == "qr_retired":
            attempt.qr = None
            self._attempts.expect_report(attempt, self._config.qr_timeout_seconds)
        elif stage == "paired":
            attempt.qr = None
            self._core.phone = phone.paired(time.time())
            self._core.signal(Signal.PAIR)
            self._core.publish(SessionPaired())
            self._attempts.expect_report(attempt, self._config.connect_timeout_seconds)

    def _on_opened(self, attempt: Attempt, frame: wire.Opened) -> None:
        attempt.admitted()
        self._attempts.count_login(attempt)
        self.note_pairing(frame.jid)
        self._core.stages.opened(self._core.now())
        self._core.signal(Signal.OPEN)
        self._core.reconnects.open_again(self._core.episode_attempts)
        self.on_open(attempt, frame.jid, frame.name)

    def note_pairing(self, jid: str | None) -> None:
        """Take a snapshot of the credentials if it was just paired."""
        if self._core.row.jid != jid:  # just paired, or another phone than before
            self._snapshot = asyncio.create_task(
                self._take_snapshot(), name=f"snapshot of {self._core.id}"
            )

    async def _take_snapshot(self) -> None:
        try:
            await self._core.dependencies.store.snapshot(self._core.id, "paired")
        except StoreError as error:  # the daily one makes up for it
            log.warning(
                "no snapshot was taken",
                action="snapshot_failed",
                session=self._core.id,
                error=str(error),
            )

    # --- open -------------------------------------------------------------------------------------

    def on_open(
        self, attempt: Attempt, jid: str, name: str | None, open_for_seconds: float = 0.0
    ) -> None:
        """It is open, since just now or, if it was adopted, for some time."""
        self._core.pending.clear_deadlines()
        attempt.qr, attempt.opened_at = None, self._core.now() - open_for_seconds
        self._core.errors = 0
        self._core.policy.opened()
        self._core.dependencies.gate.opened(self._core.id)
        self._core.counters.opened(self._core.now())
        self._core.row = msgspec.structs.replace(self._core.row, jid=jid, name=name)
        identity = self._core.dependencies.store.save_identity(self._core.id, jid, name)
        identity.add_done_callback(partial(self._on_identity, attempt.number))
        self._core.save()
        if self._core.intent.logout:
            self.log_out(attempt)
            return
        until_stable = max(0.0, self._config.stable_after_seconds - open_for_seconds)
        self._core.pending.later(until_stable, StableReached(attempt.number))
        self._core.phone = phone.watched(self._core.phone, time.time())
        self._core.pending.later(phone.FIRST_LOOK_SECONDS, PhoneDue(attempt.number))
        self._begin_checks(attempt)

    def _on_identity(self, number: int, saved: "asyncio.Future[None]") -> None:
        """Another session may be this device, in a store from before that was looked at: the one
        that came later gives way.
        """
        error = None if saved.cancelled() else saved.exception()
        if isinstance(error, SameDevice):
            words = self._core.same_device(error)
            self._core.inbox.put_nowait(CheckFailed(number, CloseReason.SAME_DEVICE, words))

    def look_for_phone(self, attempt: Attempt) -> None:
        """Once in a while: warn when the phone has been away for so long that WhatsApp will unlink
        us.
        """
        warning, self._core.phone = phone.look(self._core.phone, time.time())
        if warning is not None:
            urgent = phone.is_offline(self._core.phone, time.time(), phone.URGENT_AFTER_SECONDS)
            self._core.alerts.begin("phone_offline", warning, worse=urgent)
            self._core.save()
        self._core.pending.later(phone.LOOK_SECONDS, PhoneDue(attempt.number))

    def on_stable(self, attempt: Attempt) -> None:
        """It has been open for the stable period."""
        attempt.stable = True
        self._core.episode_attempts = 0
        self._core.policy.stable()
        self._core.save()

    def _begin_checks(self, attempt: Attempt, after_seconds: float = FIRST_CHECK_SECONDS) -> None:
        assert self._core.slot.worker is not None, "an open session has a worker"
        attempt.watch(
            self._check(self._core.slot.worker, attempt.number, after_seconds),
            f"checks of {self._core.id}",
        )

    async def _check(self, worker: WorkerHandle, number: int, after_seconds: float) -> None:
        health, verdict = self._config.health, None
        await asyncio.sleep(min(after_seconds, health.interval_seconds))
        while verdict is None:
            try:
                verdict = await check_until_failed(
                    self._core.id, worker, self._core.counters, health, self._on_lag, self.doubt
                )
            except Exception:  # an error of our own must not leave an open session unwatched
                log.exception(
                    "a health check failed by itself", action="check_error", session=self._core.id
                )
                await asyncio.sleep(health.interval_seconds)
        self._core.inbox.put_nowait(CheckFailed(number, verdict))

    def _on_lag(self, lags: bool, words: str) -> None:
        if lags:
            self._core.alerts.begin("worker_lag", words)
        else:
            self._core.alerts.end("worker_lag", words)

    def on_check_failed(self, attempt: Attempt, verdict: CloseReason) -> None:
        """A check found it lost, deaf, or its worker hung."""
        match verdict:
            case CloseReason.DEAF:
                self._on_deaf(attempt)
            case CloseReason.WORKER_HUNG:
                self._attempts.end_worker(attempt, verdict)
            case _:
                self._attempts.close_socket(attempt, verdict)

    def _on_deaf(self, attempt: Attempt) -> None:
        action = self._core.policy.deaf(self._core.now())
        if not attempt.left_deaf:
            tell = (
                self._core.alerts.begin
                if action is DeafAction.LEAVE
                else self._core.alerts.happened
            )
            tell("deaf", action.value)
        match action:
            case DeafAction.RECONNECT:
                self._attempts.close_socket(attempt, CloseReason.DEAF)
            case DeafAction.REPLACE_WORKER:
                self._attempts.end_worker(attempt, CloseReason.DEAF)
            case DeafAction.LEAVE:
                attempt.left_deaf = True
                self._begin_checks(attempt, self._config.health.interval_seconds)
            case never:
                assert_never(never)

    def log_out(self, attempt: Attempt) -> None:
        """Have the worker unlink the device."""
        attempt.unwatch()
        self._attempts.expect_report(attempt, 0.0)
        self._core.slot.tell(wire.Logout(self._core.id, 0))
