"""Alerts by WhatsApp itself: only by a session that is open, and what is said when it is not."""

import pytest

from sessions.messages.numbers import InvalidRecipient
from sessions.model import (
    SessionId,
    SessionNotFound,
    SessionState,
    StoreUnavailable,
    WorkerGone,
    WorkerRefused,
)
from supervisor.alerts.alerts import Alert
from supervisor.alerts.channels.whatsapp import CHARACTERS_MOST, WhatsAppChannel
from supervisor.alerts.notices import NotDelivered, Notice

SHOP = SessionId("shop")
STORE = Alert(
    None,
    "store",
    "critical",
    "began",
    "The disk is full.",
    None,
    None,
    "2026-11-30T12:00:00Z",
    None,
)


class Session:
    """A session that sends, or raises."""

    def __init__(self) -> None:
        self.state = SessionState.OPEN
        self.fails: Exception | None = None
        self.sent: list[tuple[str, str]] = []

    async def send_text(self, to: str, text: str) -> str:
        if self.fails is not None:
            raise self.fails
        self.sent.append((to, text))
        return "id"


def channel(session: Session | None, store: Exception | None = None) -> WhatsAppChannel:
    def find(wanted: SessionId) -> Session:
        if session is None:
            raise SessionNotFound(f"There is no session {wanted}.")
        return session

    def must_work() -> None:
        if store is not None:
            raise store

    return WhatsAppChannel("phone", SHOP, "5511987654321", find, must_work)


async def test_it_is_one_text_whose_first_line_is_bold() -> None:
    session = Session()
    await channel(session).send(Notice(group="store", new=(STORE,)))
    ((to, text),) = session.sent
    assert to == "5511987654321"
    assert text.splitlines()[0] == "*[critical] The store has trouble*"
    assert "The disk is full." in text
    long = Alert(*(getattr(STORE, name) for name in STORE.__struct_fields__))
    await channel(session).send(Notice(group="store", new=(long,) * 500))
    assert len(session.sent[1][1]) <= CHARACTERS_MOST


@pytest.mark.parametrize(
    "state", [state for state in SessionState if state is not SessionState.OPEN]
)
async def test_a_session_that_is_not_open_is_asked_for_nothing(state: SessionState) -> None:
    session = Session()
    session.state = state
    with pytest.raises(NotDelivered, match=f"session shop is {state}, and not open") as raised:
        await channel(session).send(Notice(group="store", new=(STORE,)))
    assert not raised.value.permanent, "it is told how things are when it is open again"
    session.state = SessionState.OPEN
    await channel(session).send(Notice(group="store", new=(STORE,)))
    assert len(session.sent) == 1


@pytest.mark.parametrize(
    ("error", "words", "permanent"),
    [
        (InvalidRecipient("No number.", "hint"), "`to` cannot be used: No number.", True),
        (WorkerRefused("no_whatsapp", "No WhatsApp."), "session shop: No WhatsApp.", True),
        (WorkerRefused("timed_out", "No ack."), "session shop: No ack.", False),
        (WorkerGone("It has ended."), "session shop: It has ended.", False),
        (TimeoutError(), "session shop has not got WhatsApp's acknowledgement", False),
    ],
)
async def test_the_cause_is_told(error: Exception, words: str, permanent: bool) -> None:
    session = Session()
    session.fails = error
    with pytest.raises(NotDelivered) as raised:
        await channel(session).send(Notice(group="store", new=(STORE,)))
    assert (raised.value.words, raised.value.permanent) == (words, permanent)


async def test_a_session_that_is_no_more_and_a_store_that_fails_are_told() -> None:
    with pytest.raises(NotDelivered, match="there is no session shop") as raised:
        await channel(None).send(Notice(group="store", new=(STORE,)))
    assert raised.value.permanent
    session = Session()
    with pytest.raises(NotDelivered, match="session shop: The disk is full"):
        await channel(session, StoreUnavailable("The disk is full.")).send(
            Notice(group="store", new=(STORE,))
        )
    assert session.sent == []
