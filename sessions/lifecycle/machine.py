"""The session's state machine: the whole of it, as a table. Pure.

Everything that may change a session's state is a row here; `step` looks it up and nothing else sets
a state. A missing cell raises IllegalTransition and changes nothing. scripts/generate_docs.py draws
ARCHITECTURE.md's picture from this table.
"""

import enum
from collections.abc import Mapping
from typing import Final

from sessions.model import SessionState as S
from sessions.model import WasupError


class Signal(enum.Enum):
    """What can happen to a session."""

    START = "start"
    """It is wanted: by an operator, at the supervisor's start, or because its wait is over and it
    has no worker.
    """
    READY = "ready to try"
    """It has a worker and asks the gate; of an open session: a warm successor takes its worker's
    place.
    """
    ADMIT = "admitted"
    """The gate lets the attempt go."""
    SHOW_QR = "QR or code shown"
    """A pairing waits for a phone."""
    PAIR = "paired"
    """A phone has accepted; the server will ask for a restart (515)."""
    OPEN = "opened"
    """Logged in."""
    RETRY = "retry scheduled"
    """The policy gave the next try a time."""
    PARK = "parked"
    """The policy gave it to a human."""
    QUARANTINE = "unreadable credentials"
    """What is stored cannot be read."""
    STOP = "stopped"
    """Not wanted any more."""


class IllegalTransition(WasupError):
    """A signal that the state does not know: an error of this program, and nothing was changed."""

    code = "illegal_transition"


_STOPPABLE: Final = {Signal.STOP: S.STOPPED}
_QUARANTINABLE: Final = {Signal.QUARANTINE: S.QUARANTINED}
_CLOSABLE: Final = {Signal.RETRY: S.WAITING, Signal.PARK: S.PARKED, **_STOPPABLE}

TRANSITIONS: Final[Mapping[S, Mapping[Signal, S]]] = {
    S.STOPPED: {
        Signal.START: S.STARTING,
        Signal.PARK: S.PARKED,
        Signal.RETRY: S.WAITING,
        **_STOPPABLE,
    },
    S.STARTING: {Signal.START: S.STARTING, Signal.READY: S.HELD, **_QUARANTINABLE, **_CLOSABLE},
    S.HELD: {Signal.ADMIT: S.CONNECTING, **_QUARANTINABLE, **_CLOSABLE},
    S.CONNECTING: {
        Signal.SHOW_QR: S.QR,
        Signal.PAIR: S.CONNECTING,
        Signal.OPEN: S.OPEN,
        **_QUARANTINABLE,
        **_CLOSABLE,
    },
    S.QR: {
        Signal.SHOW_QR: S.QR,
        Signal.PAIR: S.CONNECTING,
        Signal.OPEN: S.OPEN,
        **_QUARANTINABLE,
        **_CLOSABLE,
    },
    S.OPEN: {Signal.READY: S.HELD, **_QUARANTINABLE, **_CLOSABLE},
    S.WAITING: {Signal.START: S.STARTING, Signal.READY: S.HELD, **_QUARANTINABLE, **_CLOSABLE},
    S.PARKED: {Signal.START: S.STARTING, **_STOPPABLE},
    S.QUARANTINED: {Signal.START: S.STARTING, **_STOPPABLE},
}


def step(state: S, signal: Signal) -> S:
    """The state after the signal. Raises IllegalTransition."""
    try:
        return TRANSITIONS[state][signal]
    except KeyError:
        raise IllegalTransition(f"{signal.name} in state {state}") from None
