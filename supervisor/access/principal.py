"""Who calls: what it may do, with which sessions, and until when. Pure."""

from dataclasses import dataclass
from typing import Final

from supervisor.access.scopes import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Whoever has been let in.

    `id`: the same for all credentials of one key, so what belongs to a caller (Idempotency-Keys,
    rates) goes by it. `sessions`: None = all of them, and what is the fleet's. `expires_at`:
    seconds of wall clock; None: it does not end by itself. `key`: the id of its key; None: the
    operator's own token or user, or a token that was made elsewhere.
    """

    id: str
    name: str
    scope: Scope
    sessions: frozenset[str] | None = None
    expires_at: float | None = None
    key: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether it may do what needs that scope."""
        return self.scope.includes(scope)

    def sees(self, session: str | None) -> bool:
        """Whether that session exists for it; None: what belongs to no session, the fleet's."""
        return self.sessions is None or session in self.sessions

    @property
    def is_operator(self) -> bool:
        """Whether it is the operator himself: by WHATSAPP_API_TOKEN, or as a user of the machine.

        Nobody else's calls may keep his waiting.
        """
        return self.id == OPERATOR


OPERATOR: Final = "operator"
BY_TOKEN: Final = Principal(id=OPERATOR, name="WHATSAPP_API_TOKEN", scope=Scope.ADMIN)
BY_USER: Final = Principal(id=OPERATOR, name="local user", scope=Scope.ADMIN)
