"""What is remembered of alerts: who was told of what, what is silenced, who has acknowledged what.

In memory first, and in the store as soon as it can be written: alerts are told while it fails.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

import msgspec
import structlog

from sessions.model import StoreError, WasupError
from sessions.store.supervision.alert_rows import AlertRecord, AlertRows, Kind
from sessions.views.times import iso, wall_seconds
from supervisor.alerts.alerts import Alert
from supervisor.alerts.decision import Memory, Situation, Told, forget_happened, identity, remember
from supervisor.alerts.muting import Silence
from supervisor.alerts.notices import Notice
from supervisor.alerts.rules import RULES

SILENCES_MOST: Final = 1_000
LONGEST_SILENCE_SECONDS: Final = 366 * 24 * 3600.0

log = structlog.get_logger("alerts")


class AlertNotFound(WasupError):
    """No such alert is on."""

    code = "alert_not_found"
    hint = "`wasup alerts list` shows those that are on, each with its id."

    def __init__(self, alert: str) -> None:
        super().__init__(f"No alert {alert[:64]} is on.")


class SilenceNotFound(WasupError):
    """There is no such silence."""

    code = "silence_not_found"
    hint = "`GET /alerts/silences` shows them, each with its id."

    def __init__(self, silence: str) -> None:
        super().__init__(f"There is no silence {silence[:64]}.")


class InvalidSilence(WasupError):
    """The silence cannot be used."""

    code = "invalid_silence"


class Acknowledgement(msgspec.Struct, frozen=True):
    """Somebody cares for an alert: no reminders of it until it is over."""

    alert: Alert
    at: float
    by: str
    comment: str


class Ledger:
    """Knows it, and keeps it."""

    def __init__(self, rows: AlertRows, now: Callable[[], float] = time.time) -> None:
        self._rows = rows
        self._now = now
        self._memories: dict[str, Memory] = {}
        self._silences: dict[str, Silence] = {}
        self._acknowledgements: dict[str, Acknowledgement] = {}

    async def open(self) -> list[Alert]:
        """Read what was remembered; the alerts that somebody was told of or has acknowledged.

        A store that cannot be read costs what was remembered, and no alert.
        """
        try:
            records = await self._rows.all()
        except StoreError as error:
            log.error(
                "what was remembered of alerts cannot be read: they are told anew",
                action="alerts_forgotten",
                error=str(error),
            )
            return []
        unknown = list[AlertRecord]()
        for record in records:
            try:
                if not self._take_up(record):
                    unknown.append(record)
            except msgspec.MsgspecError as error:
                log.warning(
                    "something that was remembered of alerts cannot be read",
                    action="alert_record_unreadable",
                    kind=record.kind,
                    error=str(error),
                )
        self._drop(unknown)
        return [*self._alerts()]

    # --- who was told ----------------------------------------------------------------------------

    def memory(self, channel: str) -> Memory:
        """What is remembered of a channel."""
        return self._memories.setdefault(channel, Memory())

    def channels(self) -> list[str]:
        """Those that something is remembered of."""
        return list(self._memories)

    def told(self, channel: str, notice: Notice) -> None:
        """The channel was told."""
        remember(self.memory(channel), notice, self._now())
        changed = (*notice.new, *notice.goes_on, *notice.ended, *notice.passed)
        self._save_told(channel, map(identity, changed))

    def forget_happened(self, channel: str, situation: Situation) -> None:
        """Let go of what has happened too long ago to be told again."""
        if gone := forget_happened(self.memory(channel), situation):
            self._save_told(channel, gone)

    def forget(self, channel: str) -> None:
        """The channel is no more."""
        if self._memories.pop(channel, None) is not None:
            self._rows.replace("told", channel, lambda: self._told(channel))

    # --- silences --------------------------------------------------------------------------------

    def silences(self) -> list[Silence]:
        """Those that are on or to come, the oldest first; the others are forgotten."""
        now = self._now()
        over = [one.id for one in self._silences.values() if wall_seconds(one.ends_at) <= now]
        for silence in over:
            del self._silences[silence]
        if over:
            self._save_silences()
        return list(self._silences.values())

    def silence(
        self,
        names: Iterable[str],
        sessions: Iterable[str],
        starts_at: float | None,
        ends_at: float,
        comment: str,
        by: str,
    ) -> Silence:
        """Silence what fits, from now on or later; seconds of wall clock. Raises InvalidSilence."""
        now = self._now()
        begin = now if starts_at is None else starts_at
        if ends_at <= max(now, begin):
            raise InvalidSilence(
                f"The silence would end at {iso(ends_at)}, before it begins.",
                "It accepts an end that is to come, behind its begin.",
            )
        if ends_at - now > LONGEST_SILENCE_SECONDS:
            raise InvalidSilence(
                f"The silence would end at {iso(ends_at)}.",
                "It accepts a year at the most: what nobody remembers must not stay silent.",
            )
        if len(self.silences()) >= SILENCES_MOST:
            raise InvalidSilence(
                f"There are {SILENCES_MOST} silences already.", "End some of them first."
            )
        made = Silence(
            "si_" + secrets.token_hex(6),
            tuple(names),
            tuple(sessions),
            iso(begin),
            iso(ends_at),
            comment,
            by,
        )
        self._silences[made.id] = made
        log.info(
            f"alerts are silenced until {made.ends_at}",
            action="alerts_silenced",
            silence=made.id,
            names=made.names,
            sessions=made.sessions,
            by=by,
            comment=comment,
        )
        self._save_silences()
        return made

    def end_silence(self, silence: str) -> Silence:
        """End a silence; what is still on is told. Raises SilenceNotFound."""
        ended = self._silences.pop(silence, None)
        if ended is None:
            raise SilenceNotFound(silence)
        log.info("a silence is ended", action="silence_ended", silence=silence)
        self._save_silences()
        return ended

    # --- acknowledgements ------------------------------------------------------------------------

    def acknowledgements(self) -> Mapping[str, Acknowledgement]:
        """By identity."""
        return self._acknowledgements

    def acknowledge(self, alert: Alert, by: str, comment: str) -> Acknowledgement:
        """Somebody cares for it, until it is over."""
        made = Acknowledgement(alert, self._now(), by, comment)
        self._acknowledgements[identity(alert)] = made
        log.info(
            f"the alert {alert.name} is acknowledged",
            action="alert_acknowledged",
            alert=alert.name,
            session=alert.session,
            id=alert.id,
            by=by,
            comment=comment,
        )
        self._save_acknowledgements()
        return made

    def forget_acknowledgements(self, over: Callable[[str, Acknowledgement], bool]) -> None:
        """Those of alerts that are `over`, by their identity, have ended with them."""
        gone = [key for key, made in self._acknowledgements.items() if over(key, made)]
        for key in gone:
            del self._acknowledgements[key]
        if gone:
            self._save_acknowledgements()

    # --- inside ----------------------------------------------------------------------------------

    def _take_up(self, record: AlertRecord) -> bool:
        """Whether it can be used: of an alert that another version calls by another name nobody
        could be told anything, nor that it is over.
        """
        match record.kind:
            case "told":
                told = Told(msgspec.json.decode(record.data, type=Alert), record.at)
                if told.alert.name not in RULES:
                    return False
                self.memory(record.owner).told[identity(told.alert)] = told
            case "silence":
                silence = msgspec.json.decode(record.data, type=Silence)
                self._silences[silence.id] = silence
            case "acknowledgement":
                made = msgspec.json.decode(record.data, type=Acknowledgement)
                if made.alert.name not in RULES:
                    return False
                self._acknowledgements[identity(made.alert)] = made
        return True

    def _drop(self, unknown: Iterable[AlertRecord]) -> None:
        dropped = dict[tuple[Kind, str], list[str]]()
        for record in unknown:
            dropped.setdefault((record.kind, record.owner), []).append(record.id)
        for (kind, owner), ids in dropped.items():
            log.warning(
                "alerts that this version does not know were remembered: they are forgotten",
                action="alert_records_dropped",
                kind=kind,
                channel=owner or None,
                records=len(ids),
            )
            self._rows.change(kind, owner, ids, lambda _: [])

    def _alerts(self) -> Iterable[Alert]:
        for memory in self._memories.values():
            yield from (told.alert for told in memory.told.values())
        yield from (made.alert for made in self._acknowledgements.values())

    def _save_told(self, channel: str, changed: Iterable[str]) -> None:
        """`changed`: of which alerts, by identity; a channel may know of a thousand others."""

        def records(ids: Collection[str]) -> list[AlertRecord]:
            return self._told(channel, ids)

        self._rows.change("told", channel, map(_id, changed), records)

    def _told(self, channel: str, ids: Collection[str] | None = None) -> list[AlertRecord]:
        memory = self._memories.get(channel, Memory())
        told = {_id(key): one for key, one in memory.told.items()}
        return [
            AlertRecord("told", channel, known, one.at, msgspec.json.encode(one.alert))
            for known, one in told.items()
            if ids is None or known in ids
        ]

    def _save_silences(self) -> None:
        self._rows.replace(
            "silence",
            "",
            lambda: [
                AlertRecord(
                    "silence", "", one.id, wall_seconds(one.starts_at), msgspec.json.encode(one)
                )
                for one in self._silences.values()
            ],
        )

    def _save_acknowledgements(self) -> None:
        self._rows.replace(
            "acknowledgement",
            "",
            lambda: [
                AlertRecord("acknowledgement", "", _id(key), one.at, msgspec.json.encode(one))
                for key, one in self._acknowledgements.items()
            ],
        )


def _id(key: str) -> str:
    """Of what an identity's length has no bound for."""
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
