"""A webhook: whom to send which events, and what is accepted as one. Pure.

What is checked here is what an operator has written; where its address leads is decided at each
connection (endpoint/targets.py).
"""

import base64
import binascii
import contextlib
import functools
import re
import secrets
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec

from sessions.model import InvalidSessionId, WasupError, parse_session_id
from supervisor.delivery.owner import OPERATORS, Owner
from supervisor.fleet.event_filter import InvalidEventFilter, check_types, covers, event_names

ID_PREFIX: Final = "wh_"
SECRET_PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
SHORTEST_SECRET: Final = 24
LONGEST_SECRET: Final = 64
"""Bytes that the Standard Webhooks accept in a secret."""
ROTATION_SECONDS: Final = 24 * 3600.0
"""So long the secret before signs, too, after a rotation."""
MOST_HEADERS: Final = 20
MOST_SESSIONS: Final = 1000
"""That a webhook may name: who wants more of them wants all."""
ANSWER_CHARACTERS: Final = 300
"""Of what an endpoint says."""
SHORTEST_MASKED: Final = 4
MASKED_FROM: Final = 12
"""Characters by which a secret is known in a text."""
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_OURS: Final = re.compile(
    r"(?i)(webhook|wasup)-.*|host|connection|content-.*|transfer-encoding|te|trailer|upgrade"
    r"|expect|keep-alive|proxy-.*"
)
"""Headers that say what the request is, and are ours to say."""

Payload = Literal["full", "thin"]
"""thin: an event without its `data`; who wants them asks for the event by its number."""
PauseReason = Literal["operator", "gone", "restored", "key_ended"]
"""gone: the endpoint has answered 410; restored: it came back with a backup of the whole store;
key_ended: the key of its owner was revoked, or has expired.
"""


class InvalidWebhook(WasupError):
    """That is not a webhook."""

    code = "invalid_webhook"
    hint = "docs/webhooks.md says what a webhook is made of."


class WebhookNotFound(WasupError):
    """There is no such webhook."""

    code = "webhook_not_found"
    hint = "GET /webhooks lists them."


class WebhookSecret(msgspec.Struct, frozen=True, rename="camel"):
    """A secret that signs; `until`: for so long (seconds of wall clock), None: for good."""

    value: str
    until: float | None = None


class EarlierFilter(msgspec.Struct, frozen=True, rename="camel"):
    """What a webhook asked for before that was changed the last time: it was asked of the events
    behind `after` and up to `last`. What was asked of those before is not known any more.
    """

    after: int
    last: int
    sessions: tuple[str, ...]
    types: tuple[str, ...]

    def wants(self, session: str | None, kind: str) -> bool:
        """Whether it asked for such an event."""
        return _wants(self.sessions, self.types, session, kind)


class WebhookSettings(msgspec.Struct, frozen=True, rename="camel"):
    """What an operator has chosen.

    `sessions`: whose events; none: all, and the fleet's. `types`: with wildcards. `earlier`: what
    these two were; None: nothing was judged by others.

    `headers`, `secrets`: are shown in no view, log or error.
    """

    url: str
    sessions: tuple[str, ...] = ()
    types: tuple[str, ...] = ("*",)
    headers: dict[str, str] = {}
    secrets: tuple[WebhookSecret, ...] = ()
    payload: Payload = "full"
    description: str = ""
    owner: Owner = OPERATORS
    earlier: EarlierFilter | None = None

    def wants(self, session: str | None, kind: str) -> bool:
        """Whether it asks for such an event."""
        return _wants(self.sessions, self.types, session, kind)

    def wanted(self, n: int, session: str | None, kind: str) -> bool | None:
        """Whether it asked for an event when that was read, if it does now; None: not known."""
        earlier = self.earlier
        if earlier is None or n > earlier.last:
            return True
        return None if n <= earlier.after else earlier.wants(session, kind)

    def succeeding(self, before: "WebhookSettings", judged_to: int) -> "WebhookSettings":
        """The same, with what those before asked for: by them events were judged up to that one."""
        if (self.sessions, self.types) == (before.sessions, before.types):
            return self
        after = 0 if before.earlier is None else before.earlier.last
        earlier = EarlierFilter(after, judged_to, before.sessions, before.types)
        return msgspec.structs.replace(self, earlier=earlier)

    def judging_again(self, n: int) -> "WebhookSettings":
        """The same, when all that came after that number is judged by them once more."""
        was = self.earlier
        if was is None or n >= was.last:
            return self
        earlier = msgspec.structs.replace(was, after=min(was.after, n), last=n)
        return msgspec.structs.replace(self, earlier=earlier)

    def signing(self, now: float) -> list[str]:
        """The secrets that sign now, the newest first."""
        return [one.value for one in self.secrets if one.until is None or one.until > now]

    def masked(self, text: str) -> str:
        """What the endpoint says, with *** for what it repeats of our headers' values and secrets,
        and no longer than a list can show.
        """
        words = {one.value for one in self.secrets}
        for value in self.headers.values():
            words |= {value, *value.split()[1:], *_decoded(value)}
        for word in sorted(words, key=len, reverse=True):
            if len(word) >= SHORTEST_MASKED:
                # with all that follows: its end may have been cut off, or be another's
                text = re.sub(re.escape(word[:MASKED_FROM]) + r"[^\s\"'<>,;]*", "***", text)
        return text[:ANSWER_CHARACTERS]


class NewWebhook(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What a webhook is made of.

    `secret`: `whsec_` and base64 of 24 to 64 bytes; made if none is given. `after`: the event after
    which it begins; unset: with what happens from now on.
    """

    url: str
    sessions: list[str] = []
    types: list[str] = msgspec.field(default_factory=lambda: ["*"])
    headers: dict[str, str] = {}
    secret: str | None = None
    payload: Payload = "full"
    description: Annotated[str, msgspec.Meta(max_length=200)] = ""
    paused: bool = False
    after: Annotated[int, msgspec.Meta(ge=0, lt=10**15)] | None = None


class WebhookChange(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What is to be different; what is left out stays."""

    url: str | msgspec.UnsetType = msgspec.UNSET
    sessions: list[str] | msgspec.UnsetType = msgspec.UNSET
    types: list[str] | msgspec.UnsetType = msgspec.UNSET
    headers: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    payload: Payload | msgspec.UnsetType = msgspec.UNSET
    description: Annotated[str, msgspec.Meta(max_length=200)] | msgspec.UnsetType = msgspec.UNSET
    paused: bool | msgspec.UnsetType = msgspec.UNSET


def settings_of(new: NewWebhook, owner: Owner = OPERATORS) -> WebhookSettings:
    """A new webhook's settings. Raises InvalidWebhook."""
    secret = new_secret() if new.secret is None else new.secret
    check_secret(secret)
    _check_types(new.types)
    return checked(
        WebhookSettings(
            url=new.url,
            sessions=tuple(new.sessions),
            types=tuple(new.types),
            headers=new.headers,
            secrets=(WebhookSecret(secret),),
            payload=new.payload,
            description=new.description,
            owner=owner,
        )
    )


def changed(settings: WebhookSettings, change: WebhookChange) -> WebhookSettings:
    """The settings with what is to be different. Raises InvalidWebhook."""
    if change.types is not msgspec.UNSET:  # else one of before may keep a type that is gone
        _check_types(change.types)
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in msgspec.structs.asdict(change).items()
        if value is not msgspec.UNSET and name != "paused"
    }
    return checked(msgspec.structs.replace(settings, **values))


def rotated(settings: WebhookSettings, secret: str | None, now: float) -> WebhookSettings:
    """The settings with a new secret, beside which the one before signs for a while.

    Raises InvalidWebhook.
    """
    value = new_secret() if secret is None else secret
    check_secret(value)
    before = msgspec.structs.replace(settings.secrets[0], until=now + ROTATION_SECONDS)
    return msgspec.structs.replace(settings, secrets=(WebhookSecret(value), before))


def checked(settings: WebhookSettings) -> WebhookSettings:
    """The settings, if they can be used. Raises InvalidWebhook, which quotes no secret."""
    _check_url(settings.url)
    if not settings.types:
        raise InvalidWebhook("It has no types.", 'Leave types out, or say ["*"], for all events.')
    if len(settings.sessions) > MOST_SESSIONS:
        raise InvalidWebhook(
            f"It names {len(settings.sessions)} sessions.",
            f"Name {MOST_SESSIONS} at the most, or none for all; there may be several webhooks.",
        )
    for session in settings.sessions:
        try:
            parse_session_id(session)
        except InvalidSessionId as error:
            raise InvalidWebhook(str(error), error.hint) from None
    if len(settings.headers) > MOST_HEADERS:
        raise InvalidWebhook(f"It has more than {MOST_HEADERS} headers.")
    if len({name.lower() for name in settings.headers}) < len(settings.headers):
        raise InvalidWebhook("It has a header twice.", "Case makes no difference in their names.")
    for name, value in settings.headers.items():
        if _HEADER_NAME.fullmatch(name) is None or _OURS.fullmatch(name) is not None:
            raise InvalidWebhook(
                f"{name[:64]!r} is no header that can be chosen.",
                "Headers such as Authorization or X-Api-Key can.",
            )
        if len(value) > 4096 or _HEADER_VALUE.fullmatch(value) is None:
            raise InvalidWebhook(
                f"The value of the header {name} cannot be sent.",
                "A value is printable ASCII without blanks at its ends.",
            )
    return settings


def _wants(
    sessions: tuple[str, ...], types: tuple[str, ...], session: str | None, kind: str
) -> bool:
    return (not sessions or session in sessions) and covers(types, kind)


def new_secret() -> str:
    """A secret that nobody has guessed."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def check_secret(secret: str) -> None:
    """Raises InvalidWebhook, which does not quote it."""
    try:
        size = len(key_of(secret))
    except ValueError:
        size = 0
    if not secret.startswith(SECRET_PREFIX) or not SHORTEST_SECRET <= size <= LONGEST_SECRET:
        raise InvalidWebhook(
            "The secret cannot be used.",
            f"A secret is {SECRET_PREFIX} and base64 of {SHORTEST_SECRET} to {LONGEST_SECRET}"
            " bytes. Leave it out, and one is made.",
        )


@functools.lru_cache(maxsize=256)
def key_of(secret: str) -> bytes:
    """The bytes that sign. Raises ValueError. Remembered: each request is signed."""
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error


def _decoded(value: str) -> set[str]:
    """What is in a header of Basic authentication: user and password, and the password alone."""
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            pair = base64.b64decode(encoded, validate=True).decode()
            return {pair, pair.partition(":")[2]}
    return set()


def new_id() -> str:
    """A webhook's name."""
    return ID_PREFIX + secrets.token_hex(8)


def shown_url(url: str) -> str:
    """A URL as it may stand in a log: without its path and query, which often hold a secret."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def _check_types(types: list[str]) -> None:
    try:
        check_types(types, event_names())
    except InvalidEventFilter as error:
        raise InvalidWebhook(str(error), error.hint) from None


def _check_url(url: str) -> None:
    hint = "A webhook's URL is http://host/path or https://host/path, with a port where needed."
    if len(url) > 2048 or any(not 0x21 <= ord(character) <= 0x7E for character in url):
        raise InvalidWebhook("Its URL is too long, or has characters that no URL has.", hint)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidWebhook("Its URL cannot be read.", hint) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or "\\" in url:
        raise InvalidWebhook("Its URL is none that can be called.", hint)
    if parts.username is not None or parts.password is not None:
        raise InvalidWebhook(
            "Its URL has a user or a password in it.",
            'Put them into "headers": {"Authorization": "Basic ..."}, which are shown nowhere.',
        )
    if parts.fragment:
        raise InvalidWebhook("Its URL has a fragment (#), which no server is ever sent.", hint)
