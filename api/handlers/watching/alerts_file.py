"""The file of alerts: what it says, reading it again, and a test of its channels."""

from typing import Annotated

import msgspec
from aiohttp import web

from api.parts import ALERTS_FILE, NOTIFIER
from api.responses import body, json
from supervisor.alerts.channels.live_alerts_file import AlertsFileView, view
from supervisor.alerts.channels.own_channels import ChannelTest


class AlertsFileReloaded(msgspec.Struct, frozen=True):
    """What reading the file again has done. `changed`: against the file before, in sentences."""

    reloaded: bool
    changed: list[str]
    file: AlertsFileView


class WantedTest(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /alerts/channels/test. Without a `channel` all are tested."""

    channel: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None


class ChannelTests(msgspec.Struct, frozen=True):
    """What came of it, channel by channel. `next`: null, there are no pages."""

    channels: list[ChannelTest]
    next: str | None = None


async def get_alerts_file(request: web.Request) -> web.Response:
    """The file of alerts in force: above what, to whom, when; no secret is shown."""
    return json(view(request.app[ALERTS_FILE].file, request.app[NOTIFIER].language))


async def reload_alerts_file(request: web.Request) -> web.Response:
    """Read the file of alerts again and tell by it from now on.

    A bad file changes nothing; profile and thresholds count from the next start on.
    """
    live = request.app[ALERTS_FILE]
    changed = await live.reload()
    return json(AlertsFileReloaded(True, changed, view(live.file, request.app[NOTIFIER].language)))


async def test_channels(request: web.Request) -> web.Response:
    """Send a test by each channel, or by one; answers when all have, or after a minute.

    One that fails is no error of the call: its `problem` says why.
    """
    asked = await body(request, WantedTest) if request.can_read_body else WantedTest()
    return json(ChannelTests(await request.app[ALERTS_FILE].test(asked.channel)))
