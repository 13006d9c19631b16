"""A channel by WhatsApp itself: a text by one of the operator's own sessions.

It cannot tell that its own session is down; the other channels do, and this one is told how things
are as soon as the session is open again.
"""

from collections.abc import Callable
from datetime import tzinfo
from pathlib import Path
from typing import Final, Protocol

from sessions.lifecycle.session import WRONG_RECIPIENT
from sessions.messages.numbers import InvalidRecipient
from sessions.model import (
    SessionId,
    SessionNotFound,
    SessionState,
    WasupError,
    WorkerRefused,
)
from supervisor.alerts.notices import Language, NotDelivered, Notice
from supervisor.alerts.words.rendering import Text, render

CHARACTERS_MOST: Final = 4_000


class Sender(Protocol):
    """What is needed of a session."""

    @property
    def state(self) -> SessionState:
        """Whether it is open."""
        ...

    async def send_text(self, to: str, text: str) -> str:
        """Send it; the message's id after the server's ack."""
        ...


class WhatsAppChannel:
    """Sends by a session.

    `find`: raises SessionNotFound. `must_work`: raises while the store fails, as a text's keys have
    to be stored before it is sent.
    """

    def __init__(
        self,
        name: str,
        session: SessionId,
        to: str,
        find: Callable[[SessionId], Sender],
        must_work: Callable[[], None],
        language: Language = "en",
        zone: tzinfo | None = None,
    ) -> None:
        self._name = name
        self._session = session
        self._to = to
        self._find = find
        self._must_work = must_work
        self._language: Language = language
        self._zone = zone

    @property
    def name(self) -> str:
        """By which it is known."""
        return self._name

    async def send(self, notice: Notice) -> None:
        """Send it. Raises NotDelivered."""
        await self.send_text(render(notice, self._language, self._zone))

    @property
    def language(self) -> Language:
        """In which it tells."""
        return self._language

    async def send_file(self, text: Text, _file: Path) -> None:
        """Send these words alone. Raises NotDelivered."""
        await self.send_text(text)

    async def send_text(self, text: Text) -> None:
        """Send these words, the first line bold. Raises NotDelivered."""
        rest = text.body.removeprefix(text.subject).strip()
        words = f"*{text.subject}*\n\n{rest}".strip()[:CHARACTERS_MOST]
        try:
            session = self._find(self._session)
            if session.state is not SessionState.OPEN:
                raise NotDelivered(f"session {self._session} is {session.state}, and not open")
            self._must_work()
            await session.send_text(self._to, words)
        except SessionNotFound:
            raise NotDelivered(f"there is no session {self._session}", permanent=True) from None
        except InvalidRecipient as error:
            raise NotDelivered(f"`to` cannot be used: {error}", permanent=True) from None
        except WorkerRefused as error:
            wrong = error.code in WRONG_RECIPIENT
            raise NotDelivered(f"session {self._session}: {error}", permanent=wrong) from None
        except WasupError as error:
            raise NotDelivered(f"session {self._session}: {error}") from None
        except TimeoutError:
            raise NotDelivered(
                f"session {self._session} has not got WhatsApp's acknowledgement"
            ) from None
