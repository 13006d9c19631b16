"""What the worker reports of an attempt: QR, pairing, open, closed; and the open session, checked
until it fails.
"""

import asyncio
import time
from functools import partial
from typing import assert_never

import msgspec
import structlog

from sessions.lifecycle.actor.attempting import Attempting
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


class Opening(Attempting):
    """How a session comes to be open, and is watched."""

    async def _on_report(
        self, attempt: Attempt, report: wire.Closed | wire.Qr | wire.State | wire.Opened
    ) -> None:
        match report:
            case wire.Closed():
                asked = report.reason is CloseReason.REQUESTED
                reason = attempt.verdict or report.reason if asked else report.reason
                message = attempt.words if asked and attempt.words is not None else report.message
                await self._closed(self._ended(reason, report.code, message, report.data))
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
        self._expect_report(attempt, self._dependencies.config.qr_timeout_seconds)
        attempt.admitted()
        self._count_login(attempt)
        before, renewed = attempt.qr, bool(report.renewed)
        attempt.qr = ShownQr(report.qr, report.qr_number or 0, report.pairing_code)
        self._signal(Signal.SHOW_QR)
        if before is None or before.qr != report.qr:
            self._publish(QrShown(report.qr, attempt.qr.number, renewed))
        code = report.pairing_code
        if code is not None and (before is None or before.pairing_code != code):
            self._publish(PairingCodeShown(code, renewed))

    def _on_stage(self, attempt: Attempt, stage: str) -> None:
        if stage == "login":
            attempt.login_sent()
            self._count_login(attempt)
        elif stage == "qr_retired":
            attempt.qr = None
            self._expect_report(attempt, self._dependencies.config.qr_timeout_seconds)
        elif stage == "paired":
            attempt.qr = None
            self._phone = phone.paired(time.time())
            self._signal(Signal.PAIR)
            self._publish(SessionPaired())
            self._expect_report(attempt, self._dependencies.config.connect_timeout_seconds)

    def _on_opened(self, attempt: Attempt, frame: wire.Opened) -> None:
        attempt.admitted()
        self._count_login(attempt)
        self._note_pairing(frame.jid)
        self._signal(Signal.OPEN)
        self._tell_reconnected()
        self._on_open(attempt, frame.jid, frame.name)

    def _note_pairing(self, jid: str | None) -> None:
        if self.row.jid != jid:  # just paired, or another phone than before
            self._snapshot = asyncio.create_task(
                self._take_snapshot(), name=f"snapshot of {self.id}"
            )

    async def _take_snapshot(self) -> None:
        try:
            await self._dependencies.store.snapshot(self.id, "paired")
        except StoreError as error:  # the daily one makes up for it
            log.warning(
                "no snapshot was taken", action="snapshot_failed", session=self.id, error=str(error)
            )

    # --- open -------------------------------------------------------------------------------------

    def _on_open(
        self, attempt: Attempt, jid: str, name: str | None, open_for_seconds: float = 0.0
    ) -> None:
        """It is open, since just now or, if it was adopted, for some time."""
        config = self._dependencies.config
        self._agenda.clear_deadlines()
        attempt.qr, attempt.opened_at = None, self._now() - open_for_seconds
        self._errors = 0
        self._policy.opened()
        self._dependencies.gate.opened(self.id)
        self.counters.opened(self._now())
        self.row = msgspec.structs.replace(self.row, jid=jid, name=name)
        identity = self._dependencies.store.save_identity(self.id, jid, name)
        identity.add_done_callback(partial(self._on_identity, attempt.number))
        self._save()
        if self._logout_wanted:
            self._log_out(attempt)
            return
        until_stable = max(0.0, config.stable_after_seconds - open_for_seconds)
        self._agenda.later(until_stable, StableReached(attempt.number))
        self._phone = phone.watched(self._phone, time.time())
        self._agenda.later(phone.FIRST_LOOK_SECONDS, PhoneDue(attempt.number))
        self._begin_checks(attempt)

    def _on_identity(self, number: int, saved: "asyncio.Future[None]") -> None:
        """Another session may be this device, in a store from before that was looked at: the one
        that came later gives way.
        """
        error = None if saved.cancelled() else saved.exception()
        if isinstance(error, SameDevice):
            self.inbox.put_nowait(CheckFailed(number, CloseReason.SAME_DEVICE, str(error)))

    def _look_for_phone(self, attempt: Attempt) -> None:
        """Once in a while: warn when the phone has been away for so long that WhatsApp will unlink
        us.
        """
        warning, self._phone = phone.look(self._phone, time.time())
        if warning is not None:
            urgent = phone.is_offline(self._phone, time.time(), phone.URGENT_AFTER_SECONDS)
            self._begin_alert("phone_offline", warning, worse=urgent)
            self._save()
        self._agenda.later(phone.LOOK_SECONDS, PhoneDue(attempt.number))

    def _on_stable(self, attempt: Attempt) -> None:
        attempt.stable = True
        self._episode_attempts = 0
        self._policy.stable()
        self._save()

    def _begin_checks(self, attempt: Attempt, after_seconds: float = FIRST_CHECK_SECONDS) -> None:
        assert self.worker is not None, "an open session has a worker"
        attempt.watch(
            self._check(self.worker, attempt.number, after_seconds), f"checks of {self.id}"
        )

    async def _check(self, worker: WorkerHandle, number: int, after_seconds: float) -> None:
        health, verdict = self._dependencies.config.health, None
        await asyncio.sleep(min(after_seconds, health.interval_seconds))
        while verdict is None:
            try:
                verdict = await check_until_failed(
                    self.id, worker, self.counters, health, self._on_lag, self.doubt
                )
            except Exception:  # an error of our own must not leave an open session unwatched
                log.exception(
                    "a health check failed by itself", action="check_error", session=self.id
                )
                await asyncio.sleep(health.interval_seconds)
        self.inbox.put_nowait(CheckFailed(number, verdict))

    def _on_lag(self, lags: bool, words: str) -> None:
        if lags:
            self._begin_alert("worker_lag", words)
        else:
            self._end_alert("worker_lag", words)

    def _on_check_failed(self, attempt: Attempt, verdict: CloseReason) -> None:
        match verdict:
            case CloseReason.DEAF:
                self._on_deaf(attempt)
            case CloseReason.WORKER_HUNG:
                self._end_worker(attempt, verdict)
            case _:
                self._close_socket(attempt, verdict)

    def _on_deaf(self, attempt: Attempt) -> None:
        action = self._policy.deaf(self._now())
        if not attempt.left_deaf:
            tell = self._begin_alert if action is DeafAction.LEAVE else self._alert
            tell("deaf", action.value)
        match action:
            case DeafAction.RECONNECT:
                self._close_socket(attempt, CloseReason.DEAF)
            case DeafAction.REPLACE_WORKER:
                self._end_worker(attempt, CloseReason.DEAF)
            case DeafAction.LEAVE:
                attempt.left_deaf = True
                self._begin_checks(attempt, self._dependencies.config.health.interval_seconds)
            case never:
                assert_never(never)

    def _log_out(self, attempt: Attempt) -> None:
        attempt.unwatch()
        self._expect_report(attempt, 0.0)
        self._slot.tell(wire.Logout(self.id, 0))
