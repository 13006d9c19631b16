"""Who answers for where a webhook leads. Pure."""

from typing import Final

import msgspec

from supervisor.access.principal import OPERATOR, Principal
from supervisor.access.scopes import Scope


class Owner(msgspec.Struct, frozen=True, rename="camel"):
    """Whoever has made a webhook, has given it another URL last, or has let it go on after the key
    of who did had ended.

    `id`: the principal's. `key`: the id of its key, with which the webhook ends; None: the
    operator's, or by a token that was made elsewhere. `is_trusted`: it may lead to private
    addresses, where that is allowed at all.
    """

    id: str = OPERATOR
    key: str | None = None
    is_trusted: bool = True

    @classmethod
    def of(cls, principal: Principal) -> "Owner":
        """Who calls. Trusted: the operator, and whom he has given all that he may himself."""
        is_trusted = principal.may(Scope.ADMIN) and principal.sessions is None
        return cls(principal.id, principal.key, is_trusted)

    @property
    def is_operator(self) -> bool:
        """Whether it is the operator himself."""
        return self.id == OPERATOR


OPERATORS: Final = Owner()
"""The operator himself; of a webhook whose owner was not noted yet, it is he."""
