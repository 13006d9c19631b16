"""When the account's own phone last gave a sign.

Pure; times are seconds of wall clock, since days are what matters, and restarts lie between.

WhatsApp unlinks devices whose phone has been offline for 14 days, and says nothing before. A phone
that is on but is never used may give no sign: so the words are about signs, and the warning asks
for nothing that would be wrong.
"""

from typing import Final

import msgspec

DAY_SECONDS: Final = 24 * 3600.0
UNLINKED_AFTER_DAYS: Final = 14
WARN_AFTER_SECONDS: Final = 12 * DAY_SECONDS
"""Two days to act (mautrix-whatsapp's phoneping.go warns at 12 days, too)."""
URGENT_AFTER_SECONDS: Final = 13 * DAY_SECONDS
"""The last day."""
WARN_EVERY_SECONDS: Final = 0.95 * DAY_SECONDS
"""Once a day, whatever the moment of the look."""
FIRST_LOOK_SECONDS: Final = 600.0
"""After `open`: what the phone has said while the session was away comes with the offline
messages.
"""
LOOK_SECONDS: Final = 6 * 3600.0


class PhoneRecord(msgspec.Struct, frozen=True):
    """What is remembered of it. `watched_since`: the first time that it would have been noticed."""

    seen_at: float | None = None
    watched_since: float | None = None
    warned_at: float | None = None


def seen(record: PhoneRecord, at: float, now: float) -> PhoneRecord:
    """It gave a sign then.

    One of the future (clocks differ) counts as of now, one that is older than another changes
    nothing.
    """
    return msgspec.structs.replace(
        record, seen_at=max(min(at, now), min(record.seen_at or 0.0, now))
    )


def paired(now: float) -> PhoneRecord:
    """A phone has just linked us: it is there, and it may be another than before."""
    return PhoneRecord(seen_at=now, watched_since=now)


def watched(record: PhoneRecord, now: float) -> PhoneRecord:
    """The session is open: from now on, at the latest, a sign would be noticed.

    A clock that was set back begins anew.
    """
    since = now if record.watched_since is None else min(record.watched_since, now)
    return msgspec.structs.replace(record, watched_since=since)


def is_offline(record: PhoneRecord, now: float, after_seconds: float = WARN_AFTER_SECONDS) -> bool:
    """Whether there has been no sign of it for so long: that it is warned of, if nothing else is
    said.
    """
    last = max(record.seen_at or 0.0, record.watched_since or 0.0)
    return bool(last) and now - last >= after_seconds


def look(record: PhoneRecord, now: float) -> tuple[str | None, PhoneRecord]:
    """The warning that is due, if one is, and what is remembered then."""
    last = max(record.seen_at or 0.0, record.watched_since or 0.0)
    warned_lately = (
        record.warned_at is not None and 0 <= now - record.warned_at < WARN_EVERY_SECONDS
    )
    if not is_offline(record, now) or warned_lately:
        return None, record
    days = int((now - last) / DAY_SECONDS)
    words = (
        f"No sign of the phone for {days} days. WhatsApp unlinks this device when its phone has"
        f" been offline for {UNLINKED_AFTER_DAYS} days: open WhatsApp on the phone. (A phone that"
        " is on, but never used, may give no sign.)"
    )
    return words, msgspec.structs.replace(record, warned_at=now)
