"""What a returning worker's account of a session means: whether it may be adopted, and where the
session then stands. Pure.
"""

from collections.abc import Mapping
from typing import Final

from sessions.lifecycle.machine import Signal
from sessions.workers.wire import Held, Stage

SIGNALS: Final[Mapping[Stage, tuple[Signal, ...]]] = {
    Stage.IDLE: (),
    Stage.CONNECTING: (Signal.READY, Signal.ADMIT),
    Stage.LOGIN: (Signal.READY, Signal.ADMIT),
    Stage.PAIRED: (Signal.READY, Signal.ADMIT),
    Stage.QR: (Signal.READY, Signal.ADMIT, Signal.SHOW_QR),
    Stage.OPEN: (Signal.READY, Signal.ADMIT, Signal.OPEN),
}
"""The way to each stage, from a session that has found its worker again."""

LOGIN_SENT: Final = frozenset({Stage.LOGIN, Stage.PAIRED, Stage.QR, Stage.OPEN})
"""Stages at which the attempt's login is on the wire, and has cost its token with the supervisor
that admitted it.
"""


def refusal(held: Held, epoch: int, parked: bool, readable: bool) -> str | None:
    """Why the worker cannot be adopted, or None.

    `epoch`: the store's; `parked`, `readable`: what is remembered of the session.
    """
    if held.epoch != epoch:
        return f"it is of epoch {held.epoch}, and the session is at epoch {epoch}"
    if not readable:
        return "what is remembered of its session cannot be read"
    if parked and held.stage is not Stage.OPEN:
        return "its session is parked"
    return None


def unjudged(held: Held, judged: tuple[int, int] | None) -> bool:
    """Whether its last attempt has ended without our predecessor having judged it.

    `judged`: epoch and attempt of the last one that was.
    """
    return (
        held.stage is Stage.IDLE
        and held.closed is not None
        and judged != (held.epoch, held.attempt)
    )
