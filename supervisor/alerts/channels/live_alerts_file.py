"""The file of alerts in force: whom the notifier tells by it, and reading it again."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import msgspec
import structlog

from sessions.forever import Forever, Kept
from sessions.model import EventData, SessionId, SessionState
from sessions.ports import Publish
from sessions.records.changes import Changes
from sessions.views.events import SessionMoved
from supervisor.alerts.alerting import AlertingConfig
from supervisor.alerts.channels.alerts_file import (
    AlertsFile,
    open_to_others,
    read_alerts_file,
)
from supervisor.alerts.channels.channel_settings import WhatsAppTable
from supervisor.alerts.channels.heartbeat import Heartbeat
from supervisor.alerts.channels.helper import Helper
from supervisor.alerts.channels.own_channels import (
    ChannelTest,
    OwnChannel,
    channels_of,
    kind_of,
    tested,
)
from supervisor.alerts.channels.whatsapp import Sender
from supervisor.alerts.notices import Language, Recipient
from supervisor.alerts.notifier import Notifier

log = structlog.get_logger("alerts")


class AlertChannelsChanged(EventData, frozen=True):
    """The file of alerts was read again. `channels`: by which alerts are told now. `changed`: what
    differs since, in sentences.
    """

    type: ClassVar[str] = "alert.channels_changed"
    file: str | None
    channels: list[str]
    changed: list[str]


class ToldChannel(msgspec.Struct, frozen=True, rename="camel"):
    """A channel, and whom it tells of what, without a secret."""

    channel: str
    type: str
    told: str
    severity_levels: list[str]
    language: str
    hours: str | None


class AlertsFileView(msgspec.Struct, frozen=True, rename="camel"):
    """What the file of alerts says. `warnings`: what is doubtful about it. `channels`: who is told,
    those first that are read soonest.
    """

    file: str | None
    warnings: list[str]
    profile: str | None
    quiet_hours: str | None
    maintenance_windows: str | None
    repeat_hours: float | None
    heartbeat: bool
    thresholds: dict[str, float]
    channels: list[ToldChannel]


def view(file: AlertsFile, language: Language) -> AlertsFileView:
    """The file, to be shown. `language`: of channels that say none, by settings and file."""
    return AlertsFileView(
        None if file.path is None else str(file.path),
        open_to_others(file.path),
        file.profile,
        file.quiet_hours,
        file.maintenance_windows,
        file.repeat_hours,
        file.heartbeat_url is not None,
        dict(file.thresholds),
        [
            ToldChannel(
                name,
                kind_of(table),
                table.recipients_in_words(),
                sorted(table.severity_levels),
                table.language or language,
                table.hours,
            )
            for name, table in file.channels.items()
        ],
    )


class LiveAlertsFile:
    """The file in force.

    `merged`: what the notifier tells by, the settings over the file.
    """

    def __init__(
        self,
        path: Path | None,
        file: AlertsFile,
        notifier: Notifier,
        forever: Forever,
        publish: Publish,
        find: Callable[[SessionId], Sender],
        must_work: Callable[[], None],
        merged: Callable[[AlertsFile], AlertingConfig],
    ) -> None:
        self.file = file
        self._path = path
        self._notifier = notifier
        self._forever = forever
        self._publish = publish
        self._find = find
        self._must_work = must_work
        self._merged = merged
        self._helper = Helper()
        self._helping: Kept | None = None
        self._heartbeat: Kept | None = None
        self._channels: dict[str, OwnChannel] = {}

    def begin(self) -> None:
        """Tell by it from now on."""
        self._follow(self.file)

    def on_changes(self, session: SessionId | None, changes: Changes) -> None:
        """A session is open again: who is told by it is told how things are."""
        match changes.event:
            case SessionMoved(state=SessionState.OPEN):
                for name, table in self.file.channels.items():
                    if isinstance(table, WhatsAppTable) and table.session == session:
                        self._notifier.try_again(name)

    async def close(self) -> None:
        """End what runs of it."""
        for kept in (self._helping, self._heartbeat):
            if kept is not None:
                await kept.close()

    def readers(self, kind: str) -> list[OwnChannel]:
        """The channels that want the daily, the weekly or the monthly report."""
        tables = self.file.channels.items()
        return [self._channels[name] for name, table in tables if kind in table.reports]

    async def reload(self) -> list[str]:
        """Read the file again; what differs now, in sentences.

        Raises BadAlertsFile: then the one in force stays in force.
        """
        before, after = self.file, read_alerts_file(self._path)
        beating, self._heartbeat = self._heartbeat, None
        if beating is not None:
            beating.stop()
        self._follow(after)  # at once: another reload may come while the old heartbeat ends
        if beating is not None:
            await beating.ended()
        changed = differences(before, after)
        name = None if self._path is None else str(self._path)
        self._publish(None, AlertChannelsChanged(name, list(after.channels), changed))
        log.info("the file of alerts was reloaded", action="alerts_file_reloaded", changed=changed)
        return changed

    async def test(self, name: str | None = None) -> list[ChannelTest]:
        """Send a test by each channel, or by that one, all at once. Raises ChannelNotFound."""
        return await tested(self.file, self._channels, name)

    def _follow(self, file: AlertsFile) -> None:
        config = self._merged(file)
        channels = channels_of(file, config, self._helper, self._find, self._must_work)
        self.file, self._channels = file, channels
        self._notifier.use(config.timing, config.quiet, config.windows, config.language)
        if self._helping is None and any(table.service for table in file.channels.values()):
            self._helping = self._forever.keep(
                "helper of alerts", self._helper.look, within_seconds=None
            )
        self._notifier.follow(
            [
                Recipient(
                    channel=self._channels[name],
                    severities=table.severity_levels,
                    hours=table.hours,
                )
                for name, table in file.channels.items()
            ]
        )
        if file.heartbeat_url is not None:
            beat = Heartbeat(file.heartbeat_url.get_secret_value(), self.nobody_is_reached)
            every_seconds = float(file.heartbeat_every_seconds)
            self._heartbeat = self._forever.keep(
                "heartbeat", beat.look, every_seconds=every_seconds
            )

    def nobody_is_reached(self) -> bool:
        """Whether there are channels, and all of them fail."""
        known = self._notifier.channels()
        return bool(known) and all(one.failing_since_at is not None for one in known)


def differences(before: AlertsFile, after: AlertsFile) -> list[str]:
    """What differs between two files, in sentences without a secret."""
    was, now = set(before.channels), set(after.channels)
    found = [f"The channel {name} is new." for name in sorted(now - was)]
    found += [f"The channel {name} is no more." for name in sorted(was - now)]
    found += [
        f"The channel {name} is changed."
        for name in sorted(was & now)
        if before.channels[name] != after.channels[name]
    ]
    for name in ("smtp", "twilio"):
        if getattr(before, name) != getattr(after, name):
            found.append(f"[{name}] is changed.")
    for key in ("language", "quiet_hours", "maintenance_windows", "repeat_hours"):
        old, new = getattr(before, key), getattr(after, key)
        if old != new:
            found.append(f"{key}: {_shown(old)} -> {_shown(new)}")
    heartbeats = [(one.heartbeat_url, one.heartbeat_every_seconds) for one in (before, after)]
    if heartbeats[0] != heartbeats[1]:
        found.append("The heartbeat is changed.")
    if (before.profile, before.thresholds) != (after.profile, after.thresholds):
        found.append("Profile and thresholds are changed: they count from the next start on.")
    return found


def _shown(value: object) -> str:
    return "unset" if value is None else str(value)
