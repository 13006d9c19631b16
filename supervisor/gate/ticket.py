"""An admission of the gate, to make one attempt."""

from typing import Protocol

from sessions.model import SessionId
from supervisor.gate.outage import Scope


class Issuer(Protocol):
    """The gate, as a ticket sees it."""

    def on_landed(self, ticket: "GateTicket") -> None:
        """A reserved token is taken."""

    def on_finished(self, ticket: "GateTicket", succeeded: bool) -> None:
        """An attempt is over."""


class GateTicket:
    """An admission to make one attempt.

    `deadline_seconds`: a canary's login is to be on the wire by then.
    """

    def __init__(
        self, gate: Issuer, session: SessionId, egress: str, scopes: tuple[Scope, ...], landed: bool
    ) -> None:
        self.session = session
        self.egress = egress
        self.scopes = scopes
        """Where the session belonged when it was admitted: its success speaks for those."""
        self.deadline_seconds: float | None = None
        self._gate = gate
        self._landed = landed
        self._finished = False

    def landed(self) -> None:
        """The login is on the wire: the attempt has cost its token."""
        if not self._landed:
            self._landed = True
            self._gate.on_landed(self)

    def finish(self, succeeded: bool) -> None:
        """The attempt is over. Further calls do nothing."""
        if not self._finished:
            self._finished = True
            self.landed()
            self._gate.on_finished(self, succeeded)
