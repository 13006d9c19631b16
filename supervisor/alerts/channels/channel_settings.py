"""A channel as the operator's file describes it: what each kind of channel accepts, and what its
service is made of.
"""

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StrictBool, StrictInt

from sessions.messages.numbers import recipient
from sessions.model import WasupError, parse_session_id
from supervisor.alerts.channels.wire import Service
from supervisor.alerts.hours import FORM, Hours
from supervisor.settings import is_loopback

TARGETS_MOST: Final = 20
"""Of one channel: for more there are lists, groups and further channels."""
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_MAIL: Final = re.compile(r"[^\s@<>\":]+@[^\s@<>\":]+")
"""Without a colon: an address is shown, and a `user:password@host` is none."""
_HOST: Final = re.compile(r"[^\s/@\\?#]+")
_SENDER: Final = re.compile(r"[^\r\n<>]*<[^\s@<>\"]+@[^\s@<>\"]+>|[^\s@<>\"]+@[^\s@<>\"]+")
_SLACK: Final = re.compile(
    r"https://hooks\.slack(?:-gov)?\.com/services/([A-Za-z0-9]+)/([A-Za-z0-9]+)/([A-Za-z0-9]+)/?"
)
_DISCORD: Final = re.compile(
    r"https://(?:[a-z]+\.)?discord(?:app)?\.com/api/(?:v\d+/)?webhooks/(\d+)/([A-Za-z0-9_-]+)/?"
)
_BOT: Final = re.compile(r"\d+:[A-Za-z0-9_-]{30,}")
_CHAT: Final = re.compile(r"-?\d+|@[A-Za-z0-9_]+")
_PHONE: Final = re.compile(r"\+\d{8,15}")
_ACCOUNT: Final = re.compile(r"AC[0-9a-fA-F]{32}")
_TOPIC: Final = re.compile(r"/([A-Za-z0-9_-]{1,64})/?")


def _fits(pattern: re.Pattern[str]) -> AfterValidator:
    def check(value: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        if pattern.fullmatch(text) is None:
            raise ValueError
        return value

    return AfterValidator(check)


def _check_hours(value: str) -> str:
    Hours.parse(value)
    return value


def _check_host(value: str) -> str:
    if ":" in value:
        ip_address(value)  # IPv6: in a name it would be a scheme's, a password's or a port's
    if _HOST.fullmatch(value) is None:
        raise ValueError
    return value


def _check_url(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError
    if parts.username or parts.password or parts.fragment:
        raise ValueError
    return value


def _check_topic(value: SecretStr) -> SecretStr:
    if _TOPIC.fullmatch(urlsplit(_check_url(value).get_secret_value()).path) is None:
        raise ValueError
    return value


def _check_session(value: str) -> str:
    try:
        return str(parse_session_id(value))
    except WasupError:
        raise ValueError from None


def _check_recipient(value: str) -> str:
    try:
        recipient(value)
    except WasupError:
        raise ValueError from None
    return value


def _server(url: SecretStr) -> dict[str, Any]:
    """The server of an address in the library's words, which joins them as they stand: so an IPv6
    address keeps its brackets.
    """
    parts = urlsplit(url.get_secret_value())
    host = parts.hostname or ""
    return {
        "host": f"[{host}]" if ":" in host else host,
        "port": parts.port,
        "secure": parts.scheme == "https",
    }


Url = Annotated[SecretStr, AfterValidator(_check_url)]
HoursText = Annotated[str, AfterValidator(_check_hours)]
Port = Annotated[StrictInt, Field(ge=1, le=65_535)]
_Targets = Field(min_length=1, max_length=TARGETS_MOST)

SECRETS: Final = frozenset(
    {"webhook_url", "url", "password", "auth_token", "bot_token", "token", "heartbeat_url"}
)
"""Keys whose values are shown nowhere; each may be said as `<key>_file` or `<key>_env` instead."""
WORDS: Final = frozenset(
    {
        "type",
        "profile",
        "language",
        "quiet_hours",
        "maintenance_windows",
        "severity_levels",
        "hours",
        "reports",
        "provider",
        "tls",
        "session",
        "channel",
    }
)
"""Keys of words that are no secrets, such as one of a few, hours and names: what they do not accept
is shown. Of all others it is hidden.
"""


class Table(BaseModel):
    """A table of the file. Each field's description says what it accepts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def secrets(self) -> Iterator[str]:
        """Every value of it that nobody may see, and the parts of such addresses."""
        for value in self.__dict__.values():
            if isinstance(value, SecretStr):
                text = value.get_secret_value()
                yield text
                yield from (part for part in re.split(r"[/?&=]", text) if len(part) >= 8)


class MailServer(Table):
    """The mail server that all e-mail channels send by."""

    host: Annotated[
        str,
        AfterValidator(_check_host),
        Field(description='a name or an address alone, such as "smtp.example.com"'),
    ] = "localhost"
    port: Annotated[Port | None, Field(description="a port; unset: 587, 465 or 25, by `tls`")] = (
        None
    )
    tls: Annotated[
        Literal["starttls", "ssl", "none"] | None,
        Field(description='"starttls", "ssl" or "none"; unset: none on this machine'),
    ] = None
    user: Annotated[str | None, Field(description="a user's name")] = None
    password: Annotated[SecretStr | None, Field(description="the user's password")] = None
    sender: Annotated[
        str,
        _fits(_SENDER),
        Field(description='an address such as "wasup <alerts@example.com>"'),
    ] = "wasup <wasup@localhost>"

    @property
    def mode(self) -> Literal["starttls", "ssl", "insecure"]:
        """How the connection is secured: nobody sends a password in the clear by forgetting a
        key.
        """
        if self.tls is None:
            return "insecure" if is_loopback(self.host) else "starttls"
        return "insecure" if self.tls == "none" else self.tls


class Twilio(Table):
    """The account that text messages are sent by."""

    account_sid: Annotated[
        str, _fits(_ACCOUNT), Field(description="Twilio's account SID, AC and 32 hex digits")
    ]
    auth_token: Annotated[SecretStr, Field(description="Twilio's auth token")]
    sender: Annotated[
        str, _fits(_PHONE), Field(description='a number of yours there, such as "+15551234567"')
    ]


class ChannelTable(Table):
    """What all channels have."""

    service: ClassVar[Service | None] = None
    rank: ClassVar[int] = 1
    """The lower, the sooner it is read by somebody: in this order channels are shown and told."""

    enabled: Annotated[StrictBool, Field(description="true or false")] = True
    severity_levels: Annotated[
        frozenset[Literal["warning", "critical"]],
        Field(min_length=1, description='a list of "warning" and "critical", or of one of them'),
    ] = frozenset({"warning", "critical"})
    language: Annotated[Literal["en", "pt-BR"] | None, Field(description='"en" or "pt-BR"')] = None
    hours: Annotated[HoursText | None, Field(description=FORM)] = None
    reports: Annotated[
        frozenset[Literal["daily", "weekly", "monthly"]],
        Field(description='a list of "daily", "weekly" and "monthly"'),
    ] = frozenset()

    def targets(self, smtp: MailServer, twilio: Twilio | None) -> list[dict[str, Any]]:
        """What its service is made of, for each who is told."""
        raise NotImplementedError

    def recipients_in_words(self) -> str:
        """Who is told, without a secret."""
        raise NotImplementedError


class EmailTable(ChannelTable):
    """Mail, by the mail server of [smtp]."""

    service = "email"
    rank = 3
    recipients: Annotated[
        list[Annotated[str, _fits(_MAIL)]],
        _Targets,
        Field(description=f'a list of 1 to {TARGETS_MOST} addresses such as "ops@example.com"'),
    ]

    def targets(self, smtp: MailServer, twilio: Twilio | None) -> list[dict[str, Any]]:  # noqa: D102
        common: dict[str, Any] = {
            "host": smtp.host,
            "smtp_host": smtp.host,
            "port": smtp.port,
            "secure": smtp.mode != "insecure",
            "secure_mode": smtp.mode,
            "from_addr": smtp.sender,
        }
        if smtp.user is not None and smtp.password is not None:
            common |= {"user": smtp.user, "password": smtp.password.get_secret_value()}
        return [{**common, "targets": [one]} for one in self.recipients]

    def recipients_in_words(self) -> str:  # noqa: D102
        return ", ".join(self.recipients)


class SlackTable(ChannelTable):
    """Slack, by an incoming webhook."""

    service = "slack"
    rank = 2
    webhook_url: Annotated[
        SecretStr,
        _fits(_SLACK),
        Field(description="an incoming webhook, https://hooks.slack.com/services/T…/B…/…"),
    ]
    channel: Annotated[
        str | None,
        Field(pattern=r"^[#@]?[A-Za-z0-9_.-]+$", description='a channel such as "#alerts"'),
    ] = None

    def targets(self, smtp: MailServer, twilio: Twilio | None) -> list[dict[str, Any]]:  # noqa: D102
        found = _SLACK.fullmatch(self.webhook_url.get_secret_value())
        assert found is not None, "it was validated"
        tokens = dict(zip(("token_a", "token_b", "token_c"), found.groups(), strict=True))
        return [{**tokens, "targets": [] if self.channel is None else [self.channel]}]

    def recipients_in_words(self) -> str:  # noqa: D102
        return self.channel or "the webhook's own channel"


class SmsTable(ChannelTable):
    """Text messages, by Twilio's account of [twilio]: the first line alone, as each costs."""

    service = "sms"
    rank = 1
    provider: Annotated[Literal["twilio"], Field(description='"twilio"')] = "twilio"
    numbers: Annotated[
        list[Annotated[str, _fits(_PHONE)]],
        _Targets,
        Field(description=f'a list of 1 to {TARGETS_MOST} numbers such as "+5511999999999"'),
    ]

    def targets(self, smtp: MailServer, twilio: Twilio | None) -> list[dict[str, Any]]:  # noqa: D102
        assert twilio is not None, "the file was refused without it"
        common = {
            "account_sid": twilio.account_sid,
            "auth_token": twilio.auth_token.get_secret_value(),
            "source": twilio.sender,
        }
        return [{**common, "targets": [number]} for number in self.numbers]

    def recipients_in_words(self) -> str:  # noqa: D102
        return ", ".join(self.numbers)


class TelegramTable(ChannelTable):
    """Telegram, by a bot."""

    service = "telegram"
    rank = 1
    bot_token: Annotated[
        SecretStr, _fits(_BOT), Field(description="the bot's token, as @BotFather gives it")
    ]
    chats: Annotated[
        list[Annotated[StrictInt | str, _fits(_CHAT)]],
        _Targets,
        Field(description=f'a list of 1 to {TARGETS_MOST} chats such as 12345 or "@ops"'),
    ]

    def targets(self, smtp: MailServer, twilio: Twilio | None) -> list[dict[str, Any]]:  # noqa: D102
        token = self.bot_token.get_secret_value()
        return [{"bot_token": token, "targets": [str(chat)]} for chat in self.chats]

    def recipients_in_words(self) -> str:  # noqa: D102
        return ", ".join(f"chat {chat}" for chat in self.chats)


class DiscordTable(ChannelTable):
    """Discord, by a webhook."""

    service = "discord"
    rank = 2
    webhook_url: Annotated[
        SecretStr,
        _fits(_DISCORD),
        Field(description="a channel's webhook, https://discord.com/api/webhooks/…/…"),
    ]

    def targets(self, smtp: MailServer, twilio: Twilio | None) -> list[dict[str, Any]]:  # noqa: D102
        found = _DISCORD.fullmatch(self.webhook_url.get_secret_value())
        assert found is not None, "it was validated"
        return [{"webhook_id": found[1], "webhook_token": found[2]}]

    def recipients_in_words(self) -> str:  # noqa: D102
        return "the webhook's channel"


class NtfyTable(ChannelTable):
    """ntfy, of ntfy.sh or a server of one's own: to a phone, without an account."""

    service = "ntfy"
    rank = 1
    url: Annotated[
        SecretStr,
        AfterValidator(_check_topic),
        Field(description="a topic's address, such as https://ntfy.sh/my-secret-topic"),
    ]
    token: Annotated[SecretStr | None, Field(description="an access token of the server")] = None

    def targets(self, smtp: MailServer, twilio: Twilio | None) -> list[dict[str, Any]]:  # noqa: D102
        topic = urlsplit(self.url.get_secret_value()).path.strip("/")
        target = {**_server(self.url), "targets": [topic]}
        if self.token is not None:
            target |= {"token": self.token.get_secret_value(), "auth": "token"}
        return [target]

    def recipients_in_words(self) -> str:  # noqa: D102
        return f"a topic at {urlsplit(self.url.get_secret_value()).hostname}"


class WebhookTable(ChannelTable):
    """A POST of JSON to a program of one's own."""

    service = "webhook"
    rank = 0
    url: Annotated[Url, Field(description="an http:// or https:// URL without user and password")]
    user: Annotated[str | None, Field(description="a user's name (HTTP basic)")] = None
    password: Annotated[SecretStr | None, Field(description="the user's password")] = None

    def targets(self, smtp: MailServer, twilio: Twilio | None) -> list[dict[str, Any]]:  # noqa: D102
        parts = urlsplit(self.url.get_secret_value())
        target = {
            **_server(self.url),
            "fullpath": parts.path or "/",
            "params": dict(parse_qsl(parts.query, keep_blank_values=True)),
        }
        if self.user is not None and self.password is not None:
            target |= {"user": self.user, "password": self.password.get_secret_value()}
        return [target]

    def recipients_in_words(self) -> str:  # noqa: D102
        return str(urlsplit(self.url.get_secret_value()).hostname)


class WhatsAppTable(ChannelTable):
    """A text of WhatsApp, by one of the operator's own sessions."""

    rank = 0
    session: Annotated[
        str,
        AfterValidator(_check_session),
        Field(description="a session's id, by which it is sent"),
    ]
    to: Annotated[
        str,
        AfterValidator(_check_recipient),
        Field(description='whom it is for: a number such as "5511987654321", or a jid'),
    ]

    def recipients_in_words(self) -> str:  # noqa: D102
        return f"{self.to} by session {self.session}"


KINDS: Final[Mapping[str, type[ChannelTable]]] = {
    "email": EmailTable,
    "slack": SlackTable,
    "sms": SmsTable,
    "telegram": TelegramTable,
    "discord": DiscordTable,
    "ntfy": NtfyTable,
    "webhook": WebhookTable,
    "whatsapp": WhatsAppTable,
}
"""By the `type` of a channel, which is its name if it says none."""
