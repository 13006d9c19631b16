"""What a session refuses, and what would help instead: the texts that an operator reads with a 409.

Pure.
"""

from sessions.model import Refused, SessionId, SessionNotFound, SessionState, Unanswered, WasupError
from sessions.policy import LastClose

S = SessionState


def has_no_actor(session: SessionId, restarts: bool) -> WasupError:
    """Anything asked of a session that has ended; or of one that comes back after an error of this
    program.
    """
    if not restarts:
        return SessionNotFound(f"Session {session} is gone.")
    return Unanswered(
        f"Session {session} starts anew after an error.",
        "Try again in ten seconds; the supervisor's log has the error.",
    )


def cannot_send(session: SessionId, state: SessionState) -> Refused:
    """A text for a session that is not open."""
    if state is S.OPEN:  # and has no worker
        return Refused(
            f"Session {session} is changing its worker.", "Try again in a second.", "not_open"
        )
    hint = f"GET /sessions/{session} says when it will be open again."
    return Refused(f"Session {session} is {state}, not open.", hint, "not_open")


def cannot_log_out(session: SessionId, state: SessionState) -> Refused:
    """A logout of a session that is not open."""
    hint = (
        "Only an open session can tell WhatsApp. Unlink it on the phone, or DELETE the session: its"
        " credentials are archived."
    )
    return Refused(f"Session {session} is {state}, not open.", hint, "not_open")


def waits_for_no_phone(session: SessionId, state: SessionState) -> Refused:
    """A pairing code for a session that is not being paired."""
    hint = (
        f"Only a session that waits for a phone can be paired: POST /sessions/{session}/start, then"
        " wait for state qr."
    )
    return Refused(f"Session {session} is {state} and waits for no phone.", hint, "not_pairing")


def shows_no_qr(session: SessionId, state: SessionState) -> Refused:
    """A QR of a session that shows none."""
    if state is S.QR:
        why = f"Session {session} is renewing its QR: WhatsApp has retired the one before."
        return Refused(
            why, f"Try again in a second, or GET /sessions/{session}/qr?wait=30.", "no_qr"
        )
    if state in {S.STARTING, S.HELD, S.CONNECTING, S.WAITING}:
        hint = (
            f"GET /sessions/{session}/qr?wait=30 waits for one. A session that is linked to a phone"
            " already shows none."
        )
        return Refused(f"Session {session} is {state} and shows no QR yet.", hint, "no_qr")
    hint = (
        "A QR exists while the state is qr; an open session needs none. A parked or stopped one:"
        f" POST /sessions/{session}/start."
    )
    return Refused(f"Session {session} is {state} and shows no QR.", hint, "no_qr")


def runs_elsewhere(session: SessionId, who: str) -> Refused:
    """A start of a session that came back with a backup, while the installation that the backup is
    of still runs.
    """
    hint = (
        "Two logins of one device throw each other out: stop that installation first, and start"
        " this one then."
    )
    return Refused(
        f"Session {session} was restored from an installation that still runs: {who}.",
        hint,
        "origin_runs",
    )


def cannot_restore(session: SessionId, state: SessionState) -> Refused:
    """Archived credentials for a session that is in use."""
    hint = (
        f"POST /sessions/{session}/stop first: what it uses now would be replaced (and archived)."
    )
    return Refused(f"Session {session} is {state}.", hint, "in_use")


def cannot_change_proxy(session: SessionId, state: SessionState) -> Refused:
    """Another proxy for a session that is in use."""
    hint = (
        f"POST /sessions/{session}/stop first, and start it afterwards: its socket keeps the way"
        " that it has."
    )
    return Refused(f"Session {session} is {state}.", hint, "in_use")


def cannot_replace(session: SessionId, state: SessionState) -> Refused:
    """A new worker for a session that is about to get one, or has none."""
    hint = (
        "Only the worker of an open or waiting session can be replaced; the others get a new one"
        " with their next start."
    )
    return Refused(f"Session {session} is {state}.", hint, "not_replaceable")


def vain_force(
    session: SessionId, state: SessionState, incurable: LastClose | None
) -> Refused | None:
    """Why force-reconnection cannot help now, or None if it may.

    `incurable`: the last close, if a reconnect cannot mend it.
    """
    match state:
        case S.STOPPED:
            return Refused(
                f"Session {session} is stopped.",
                f"POST /sessions/{session}/start starts it.",
                "stopped",
            )
        case S.QUARANTINED:
            hint = (
                f"Its stored credentials cannot be read: `wasup sessions restore {session}` puts"
                " the last good ones back."
            )
            return Refused(f"Session {session} is quarantined.", hint, "quarantined")
        case S.QR:
            hint = f"Scan the QR (GET /sessions/{session}/qr); a reconnect cannot help."
            return Refused(f"Session {session} waits for a phone.", hint, "qr")
        case S.PARKED if incurable is not None:
            return Refused(
                f"Session {session} is parked: {incurable.reason}.",
                incurable.human,
                incurable.reason.value,
            )
        case _:
            return None
