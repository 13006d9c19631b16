"""Tells the channels: each by a task of its own, so that one that fails or hangs delays no other.

A channel that fails is tried again with how things are then, more and more seldom; it is an alert
itself on all the others.
"""

import asyncio
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Final

import msgspec
import structlog

from sessions.forever import Forever, Kept, describe
from sessions.views.times import iso, wall_seconds
from supervisor.alerts.alerts import Alert, Alerts
from supervisor.alerts.decision import CHANNEL_FAILING, Reach, Situation, Timing, decide, identity
from supervisor.alerts.hours import Hours
from supervisor.alerts.judging.flapping import Flapping
from supervisor.alerts.ledger import Acknowledgement, Ledger
from supervisor.alerts.muting import AFTERGLOW_SECONDS, NO_OUTAGES, Outages, muted
from supervisor.alerts.notices import Channel, Language, NotDelivered, Notice, Recipient

LOOK_SECONDS: Final = 5.0
SEND_SECONDS: Final = 60.0
"""After so long a channel hangs, and is called off."""
FIRST_RETRY_SECONDS: Final = 15.0
LAST_RETRY_SECONDS: Final = 600.0
PERMANENT_RETRY_SECONDS: Final = 3600.0
"""Of a channel whose settings are wrong, as it says: somebody may have mended the other side."""
FAILING_SECONDS: Final = 300.0
"""For so long a channel may fail until the others are told."""
SETTLING_SECONDS: Final = 300.0
"""So long after a start it is not known yet of every alert whether it goes on."""
HAPPENED_SECONDS: Final = 3600.0
"""For so long what has happened is worth telling."""

log = structlog.get_logger("alerts")


class ChannelStatus(msgspec.Struct, frozen=True, rename="camel"):
    """How it stands with a channel.

    `told`: alerts that are on as far as it knows. `permanent`: no further try helps until its
    settings are changed.
    """

    name: str
    last_success_at: str | None
    failing_since_at: str | None
    last_error: str | None
    permanent: bool
    next_try_at: str | None
    told: int


class Notifier:
    """Who is told, and how that went.

    `outages`: what they explain now. `zone`: of all hours; None: the host's.
    """

    def __init__(
        self,
        alerts: Alerts,
        ledger: Ledger,
        flapping: Flapping,
        forever: Forever,
        outages: Callable[[], Outages] = lambda: NO_OUTAGES,
        *,
        timing: Timing | None = None,
        quiet: Hours | None = None,
        windows: Hours | None = None,
        zone: tzinfo | None = None,
        language: Language = "en",
        now: Callable[[], float] = time.time,
    ) -> None:
        self.ledger: Final = ledger
        self.language = language
        self.timing = timing or Timing()
        self._alerts = alerts
        self._flapping = flapping
        self._forever = forever
        self._outages = outages
        self._quiet = quiet
        self._windows = windows
        self._zone = zone
        self._now = now
        self._tellers: dict[str, tuple[_Teller, Kept]] = {}
        self._unsettled: set[str] = set()
        self._opened_at = now()
        self._outage_at = float("-inf")
        self._last_outages = NO_OUTAGES
        self._known: tuple[float, Situation] | None = None

    def use(
        self, timing: Timing, quiet: Hours | None, windows: Hours | None, language: Language
    ) -> None:
        """Tell by these from now on."""
        self.timing, self.language = timing, language
        self._quiet, self._windows = quiet, windows

    async def open(self) -> None:
        """Take up what an earlier supervisor had told of: what goes on is the same alert still."""
        remembered = await self.ledger.open()
        lasting = [alert for alert in remembered if alert.state == "began"]
        self._alerts.inherit(lasting)
        self._unsettled = {identity(alert) for alert in lasting}
        self._opened_at = self._now()

    def follow(self, recipients: Sequence[Recipient]) -> None:
        """Tell these from now on, and no others. Each name stands for one of them."""
        wanted = {recipient.channel.name: recipient for recipient in recipients}
        for name in [name for name in self._tellers if name not in wanted]:
            self._tellers.pop(name)[1].stop()
        for name in self.ledger.channels():
            if name not in wanted:
                self.ledger.forget(name)
                self._alerts.end(
                    None, CHANNEL_FAILING, f"The channel {name} is no more.", about=name
                )
        for name, recipient in wanted.items():
            if name in self._tellers:
                self._tellers[name][0].use(recipient)
                continue
            teller = _Teller(self, self._alerts, recipient, self._now)
            kept = self._forever.keep(
                f"alerts to {name}", teller.look, every_seconds=LOOK_SECONDS, within_seconds=None
            )
            self._tellers[name] = teller, kept

    def try_again(self, name: str) -> None:
        """Something has changed for the better: try that channel now, if it fails."""
        if name in self._tellers:
            self._tellers[name][0].try_again()

    def channels(self) -> list[ChannelStatus]:
        """How it stands with each."""
        return [teller.status() for teller, _ in self._tellers.values()]

    async def close(self) -> None:
        """End it."""
        for _, kept in self._tellers.values():
            await kept.close()

    def silenced(self, alerts: Iterable[Alert]) -> Mapping[str, str]:
        """Of whom of these nobody is told, by id, and why: a silence's id, or `outage`."""
        return muted(alerts, self.ledger.silences(), self._explained(), self._now())

    def flapping(self) -> dict[str, int]:
        """What comes and goes, by identity: how often in the last hour."""
        return self._flapping.look({})[1]

    def situation(self) -> Situation:
        """How things are for all channels."""
        now = self._now()
        if self._known is not None and 0 <= now - self._known[0] < LOOK_SECONDS / 2:
            return self._known[1]  # the channels look one after the other
        active = {identity(alert): alert for alert in self._alerts.active()}
        over = dict[str, Alert]()
        for alert in reversed(self._alerts.ended()):
            if alert.state != "happened":
                over[identity(alert)] = alert
            elif now - wall_seconds(alert.began_at) <= HAPPENED_SECONDS:
                active[identity(alert)] = alert
        self._settle({*active, *over}, now)
        on, times = self._flapping.look(active)
        self._forget_acknowledgements(on, times)
        silent = muted(on.values(), self.ledger.silences(), self._explained(), now)
        situation = Situation(
            on=on,
            over=over,
            muted=frozenset(key for key, alert in on.items() if alert.id in silent),
            acknowledged=frozenset(self.ledger.acknowledgements()),
            unsettled=frozenset(self._unsettled),
            flapping=times,
            window=self._is_in(self._windows),
        )
        self._known = now, situation
        return situation

    def reach(self, recipient: Recipient, hours: Hours | None) -> Reach:
        """What the channel is for just now."""
        quiet = self._is_in(self._quiet) or (hours is not None and not self._is_in(hours))
        return Reach(name=recipient.channel.name, severities=recipient.severities, quiet=quiet)

    def settle(self) -> None:
        """Let go of what is over. It is done whenever anybody is told; here for when nobody is,
        for days perhaps: without channels, or while none of them works.
        """
        self.situation()

    def acknowledgement(self, alert: Alert) -> Acknowledgement | None:
        """Who cares for this alert; not one that was on before it."""
        key = identity(alert)
        made = self.ledger.acknowledgements().get(key)
        if made is None or _is_anothers(made, alert, key in self.flapping()):
            return None
        return made

    def _forget_acknowledgements(self, on: Mapping[str, Alert], flapping: Container[str]) -> None:
        def over(key: str, made: Acknowledgement) -> bool:
            if key not in on:
                return key not in self._unsettled
            return _is_anothers(made, on[key], key in flapping)

        self.ledger.forget_acknowledgements(over)

    def _settle(self, known: set[str], now: float) -> None:
        self._unsettled -= known
        if now - self._opened_at >= SETTLING_SECONDS and self._unsettled:
            self._unsettled.clear()
            self._alerts.inherit([])

    def _explained(self) -> Outages:
        """What outages explain, and have explained until a moment ago."""
        outages, now = self._outages(), self._now()
        if outages != NO_OUTAGES:
            self._outage_at, self._last_outages = now, outages
        elif now - self._outage_at <= AFTERGLOW_SECONDS:
            return self._last_outages
        return outages

    def _is_in(self, hours: Hours | None) -> bool:
        if hours is None:
            return False
        return hours.contains(datetime.fromtimestamp(self._now(), self._zone))


class _Teller:
    """Tells one channel."""

    def __init__(
        self,
        notifier: Notifier,
        alerts: Alerts,
        recipient: Recipient,
        now: Callable[[], float],
    ) -> None:
        self._notifier = notifier
        self._alerts = alerts
        self._now = now
        self._name = recipient.channel.name
        self._failures = 0
        self._failing_since: float | None = None
        self._last_success: float | None = None
        self._last_error: str | None = None
        self._permanent = False
        self._not_before = float("-inf")
        self.use(recipient)

    def use(self, recipient: Recipient) -> None:
        """Tell it this way from now on; what was wrong before may be mended."""
        self._recipient = recipient
        self._hours = None if recipient.hours is None else Hours.parse(recipient.hours)
        self._not_before = float("-inf")

    def try_again(self) -> None:
        """Do not wait any longer."""
        self._not_before = float("-inf")

    @property
    def _channel(self) -> Channel:
        return self._recipient.channel

    async def look(self) -> None:
        """Tell it what it is to be told now, if anything."""
        now, notifier = self._now(), self._notifier
        if now < self._not_before:
            return
        situation = notifier.situation()
        memory = notifier.ledger.memory(self._name)
        notifier.ledger.forget_happened(self._name, situation)
        reach = notifier.reach(self._recipient, self._hours)
        for notice in decide(now, situation, reach, memory, notifier.timing):
            if not await self._send(notice):
                return  # what is left is decided anew, from how things are then

    async def _send(self, notice: Notice) -> bool:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._channel.send(notice)
        except NotDelivered as error:
            self._failed(error.words, error.permanent)
            return False
        except TimeoutError:
            self._failed(f"it has not answered within {SEND_SECONDS:.0f} s", False)
            return False
        except Exception as error:
            log.error(
                "an alert channel failed",
                action="channel_error",
                channel=self._name,
                exc_info=error,
            )
            self._failed(describe(error), False)
            return False
        self._sent(notice)
        return True

    def _sent(self, notice: Notice) -> None:
        self._notifier.ledger.told(self._name, notice)
        self._last_success = self._now()
        self._failures, self._permanent = 0, False
        self._failing_since = self._last_error = None
        log.info(
            f"{self._name} was told of {notice.group}",
            action="notice",
            channel=self._name,
            group=notice.group,
            severity=notice.severity,
            new=len(notice.new),
            goes_on=len(notice.goes_on),
            ended=len(notice.ended) + len(notice.passed),
        )
        words = f"Alerts reach {self._name} again."
        self._alerts.end(None, CHANNEL_FAILING, words, about=self._name)

    def _failed(self, words: str, permanent: bool) -> None:
        now = self._now()
        self._failures += 1
        self._failing_since = now if self._failing_since is None else self._failing_since
        self._last_error, self._permanent = words, permanent
        steps = FIRST_RETRY_SECONDS * 2 ** min(self._failures - 1, 10)
        wait = PERMANENT_RETRY_SECONDS if permanent else min(steps, LAST_RETRY_SECONDS)
        self._not_before = now + wait
        if self._failures == 1:
            log.warning(
                f"{self._name} could not be told: {words}",
                action="notice_failed",
                channel=self._name,
                error=words,
            )
        if permanent or now - self._failing_since >= FAILING_SECONDS:
            told = f"Alerts have not reached {self._name} since {iso(self._failing_since)}: {words}"
            self._alerts.begin(None, CHANNEL_FAILING, told, about=self._name)

    def status(self) -> ChannelStatus:
        """How it stands."""
        failing = self._failing_since is not None
        return ChannelStatus(
            self._name,
            _iso(self._last_success),
            _iso(self._failing_since),
            self._last_error,
            self._permanent,
            _iso(self._not_before) if failing else None,
            len(self._notifier.ledger.memory(self._name).told),
        )


def _is_anothers(made: Acknowledgement, alert: Alert, comes_and_goes: bool) -> bool:
    """Whether it is of a time that is over; what comes and goes is one alert all the while."""
    return made.alert.id != alert.id and not comes_and_goes


def _iso(at: float | None) -> str | None:
    return None if at is None else iso(at)
