"""The channels of a file of alerts, put together, and a test of each."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from sessions.forever import Forever
from sessions.model import SessionId, WasupError
from supervisor.alerts.alerting import AlertingConfig
from supervisor.alerts.channels.alerts_file import AlertsFile
from supervisor.alerts.channels.channel_settings import KINDS, ChannelTable, WhatsAppTable
from supervisor.alerts.channels.helper import Helper
from supervisor.alerts.channels.service_channel import ServiceChannel
from supervisor.alerts.channels.whatsapp import Sender, WhatsAppChannel
from supervisor.alerts.notices import NotDelivered
from supervisor.alerts.words.rendering import trial

TEST_SECONDS: Final = 60.0

OwnChannel = ServiceChannel | WhatsAppChannel


class ChannelNotFound(WasupError):
    """The file of alerts has no such channel."""

    code = "channel_not_found"
    hint = "`wasup alerts channels` shows them; WHATSAPP_ALERTS_FILE names the file."

    def __init__(self, channel: str) -> None:
        super().__init__(f"There is no channel {channel[:64]!r}, or it is not enabled.")


class ChannelTest(msgspec.Struct, frozen=True, rename="camel"):
    """What came of a test. `problem`: why it was not delivered; None: it was."""

    channel: str
    type: str
    delivered: bool
    problem: str | None = None
    permanent: bool = False


def channels_of(
    file: AlertsFile,
    config: AlertingConfig,
    helper: Helper,
    find: Callable[[SessionId], Sender],
    must_work: Callable[[], None],
) -> dict[str, OwnChannel]:
    """The channels of a file, by name."""
    twilio = () if file.twilio is None else file.twilio.secrets()
    common, found = [*file.smtp.secrets(), *twilio], dict[str, OwnChannel]()
    for name, table in file.channels.items():
        language = table.language or config.language
        if isinstance(table, WhatsAppTable):
            session = SessionId(table.session)
            found[name] = WhatsAppChannel(
                name, session, table.to, find, must_work, language, config.zone
            )
            continue
        assert table.service is not None, "WhatsApp alone has none"
        found[name] = ServiceChannel(
            name,
            table.service,
            table.targets(file.smtp, file.twilio),
            [*table.secrets(), *common],
            helper,
            language,
            config.zone,
        )
    return found


async def tested(
    file: AlertsFile, channels: Mapping[str, OwnChannel], name: str | None
) -> list[ChannelTest]:
    """Send a test by each, or by that one, all at once. Raises ChannelNotFound."""
    if name is not None and name not in channels:
        raise ChannelNotFound(name)
    wanted = list(channels) if name is None else [name]
    return list(
        await asyncio.gather(*(_tested(channels[one], file.channels[one]) for one in wanted))
    )


async def tested_alone(
    file: AlertsFile, name: str | None, config: AlertingConfig
) -> list[ChannelTest]:
    """The same where no supervisor runs. Raises ChannelNotFound."""

    def find(session: SessionId) -> Sender:
        raise NotDelivered(f"session {session} needs the supervisor, and none runs")

    helper, forever = Helper(), Forever()
    channels = channels_of(file, config, helper, find, lambda: None)
    forever.keep("helper of alerts", helper.look, within_seconds=None)
    try:
        return await tested(file, channels, name)
    finally:
        await forever.close()


async def _tested(channel: OwnChannel, table: ChannelTable) -> ChannelTest:
    name, kind = channel.name, kind_of(table)
    try:
        async with asyncio.timeout(TEST_SECONDS):
            await channel.send_text(trial(name, channel.language))
    except NotDelivered as error:
        return ChannelTest(name, kind, False, error.words, error.permanent)
    except TimeoutError:
        words = f"it has not taken the message within {TEST_SECONDS:.0f} s"
        return ChannelTest(name, kind, False, words)
    return ChannelTest(name, kind, True)


def kind_of(table: ChannelTable) -> str:
    """The `type` of a channel."""
    return next(name for name, kind in KINDS.items() if isinstance(table, kind))
