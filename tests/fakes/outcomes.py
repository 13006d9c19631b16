"""What a fake worker does with an attempt: it opens, is turned away, shows a QR, dies or hangs."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from sessions.model import CloseReason
from sessions.workers import wire
from sessions.workers.worker_process import Exit
from tests.fakes.credentials import JID

if TYPE_CHECKING:
    from tests.fakes.worker import FakeWorker

Outcome = Callable[["FakeWorker", int], None]
"""What a worker does with an attempt."""


def opens(after: float = 0.1) -> Outcome:
    """Log in."""

    def act(worker: "FakeWorker", attempt: int) -> None:
        for when, stage in ((after / 4, "upgraded"), (after / 2, "login")):
            report = wire.State(worker.session, attempt=attempt, stage=stage)
            worker.later(when, partial(worker.report, report))
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
