"""An admission of the gate, to make one attempt."""

from typing import Protocol

from sessions.model import SessionId
from supervisor.gate.outage import Scope


class Issuer(Protocol):
    """The gate, as a permit sees it."""

    def on_login_sent(self, permit: "GatePermit") -> None:
        """A reserved token is taken."""

    def on_finished(self, permit: "GatePermit", succeeded: bool) -> None:
        """An attempt is over."""


class GatePermit:
    """An admission to make one attempt.

    `deadline_seconds`: a canary's login is to be on the wire by then.
    """

    def __init__(
        self,
        gate: Issuer,
        session: SessionId,
        egress: str,
        scopes: tuple[Scope, ...],
        login_sent: bool,
    ) -> None:
        self.session = session
        self.egress = egress
        self.scopes = scopes
        """Where the session belonged when it was admitted: its success speaks for those."""
        self.deadline_seconds: float | None = None
        self.is_canary = False
        """Others wait for its outcome."""
        self._gate = gate
        self._login_sent = login_sent
        self._finished = False

    def login_sent(self) -> None:
        """The login is on the wire: the attempt has cost its token."""
        if not self._login_sent:
            self._login_sent = True
            self._gate.on_login_sent(self)

    def finish(self, succeeded: bool) -> None:
        """The attempt is over. Further calls do nothing."""
        if not self._finished:
            self._finished = True
            self.login_sent()
            self._gate.on_finished(self, succeeded)
