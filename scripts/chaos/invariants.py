"""What has to hold after each step.

Pure checks over the stand-in's log, what the API shows, and the ledger of texts.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from scripts.chaos.ledger import Ledger

LOGIN_TOLERANCE: Final = 1
"""Logins above the bucket that are let pass: the gate counts when a login leaves the worker, the
log when it is accepted.
"""
HEALS_BY_ITSELF: Final = frozenset({"starting", "held", "connecting", "open", "waiting"})
"""States from which a paired session comes back without a human.

None of the campaign's faults asks for one.
"""
LONGEST_EXPLANATION_SECONDS: Final = 300.0
"""However well a session explains itself: after so long it has not come back."""

OUTAGE_LOGINS: Final = 3
"""One outage may cost a session so many logins, the one that succeeds included: this is what a
number that is alone is promised.
"""

Entry = Mapping[str, Any]
View = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold, of one session or of all."""

    invariant: str
    session: str | None
    words: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.session + ': ' if self.session else ''}{self.words}"


def of_event(entries: Iterable[Entry], *events: str) -> list[Entry]:
    """The log's entries of these events."""
    return [entry for entry in entries if entry["event"] in events]


def no_overlap(entries: Iterable[Entry]) -> list[Violation]:
    """Two live logins of one device never."""
    return [
        Violation(
            "no overlapping logins",
            entry["session"],
            f"connection {entry['connection']} while {entry['older']} lived",
        )
        for entry in of_event(entries, "overlap")
    ]


def no_pairing_lost(
    entries: Iterable[Entry],
    devices: Iterable[Entry],
    jids: Mapping[str, str],
    shown: Mapping[str, str | None],
) -> list[Violation]:
    """Each device is still linked, nobody asked to be paired again, and each session still shows
    the device that it has.
    """
    name = "no pairing lost"
    found = [
        Violation(
            name, entry["session"], f"{entry['event']} at {entry['time_ms']} ({describe(entry)})"
        )
        for entry in of_event(entries, "removed", "registered", "paired", "login_refused")
        if entry["event"] != "login_refused" or entry["by"] == "server"
    ]
    linked = {device["jid"] for device in devices}
    found += [
        Violation(name, s, f"{jid} is linked no more")
        for s, jid in jids.items()
        if jid not in linked
    ]
    changed = [(s, jid) for s, jid in shown.items() if jid != jids[s]]
    return found + [Violation(name, s, f"it shows {jid}, and was {jids[s]}") for s, jid in changed]


def rate_kept(
    entries: Iterable[Entry],
    rate: float,
    burst: int,
    after: int = 0,
    tolerance: int = LOGIN_TOLERANCE,
) -> list[Violation]:
    """Tell where a window of t seconds holds more than burst + rate x t logins, which a bucket of
    that size would not have let through.

    All entries count; those up to number `after` were judged before and are not reported again.
    """
    capacity = float(burst + tolerance)
    level, before = capacity, 0.0
    found = []
    for entry in of_event(entries, "login", "login_refused"):
        now = entry["time_ms"] / 1000
        level = min(capacity, level + rate * max(0.0, now - before)) - 1.0
        before = now
        if level < 0:
            level = 0.0
            if entry["n"] <= after:
                continue
            words = (
                f"a login at {entry['time_ms']} that neither {rate:g}/s nor a burst of {burst}"
                f" (+{tolerance}) allows"
            )
            found.append(Violation("no rate above the gate's", entry["session"], words))
    return found


def unnoticed(entries: Iterable[Entry]) -> list[Violation]:
    """WhatsApp has seen nobody come or go."""
    return [
        Violation(
            "a fault of the supervisor alone is not noticed",
            entry["session"],
            f"{entry['event']} at {entry['time_ms']}",
        )
        for entry in of_event(entries, "login", "login_refused", "logout", "connected", "refused")
    ]


def uncharged(
    before: Mapping[str, View], now: Mapping[str, View], sessions: Iterable[str]
) -> list[Violation]:
    """The way was gone: no session's breaker has counted more than before."""
    found = []
    for session in sessions:
        was, is_now = (views[session]["reconnection"]["breaker"] for views in (before, now))
        if is_now["failures"] > was["failures"] or is_now["state"] not in {was["state"], "closed"}:
            words = (
                f"its breaker is {is_now['state']} with {is_now['failures']} failures, and had"
                f" {was['failures']}"
            )
            found.append(Violation("an outage is charged to nobody", session, words))
    return found


def gentle(entries: Iterable[Entry], victims: Collection[str]) -> list[Violation]:
    """Whom an outage has struck logs in few times, and whoever has another way not at all."""
    logins = Counter(entry["session"] for entry in of_event(entries, "login", "login_refused"))
    return [
        Violation("few logins for an outage", session, f"{count}, and {most} are enough")
        for session, count in logins.items()
        if count > (most := OUTAGE_LOGINS if session in victims else 0)
    ]


def back_with_the_way(first_seconds: float | None, bound_seconds: float) -> list[Violation]:
    """However long the others wait for the gate: the first session is open soon after the outage's
    end.
    """
    if first_seconds is not None and first_seconds <= bound_seconds:
        return []
    words = "nobody" if first_seconds is None else f"the first after {first_seconds:.0f} s"
    return [
        Violation("open again with the way", None, f"{words}, and {bound_seconds:.0f} s are enough")
    ]


def texts_once(ledger: Ledger, sessions: Iterable[str]) -> list[Violation]:
    """No text is shown twice, and none by another session than it was sent to."""
    found = []
    for session in sessions:
        if doubled := ledger.doubled(session):
            found.append(
                Violation("no text twice", session, f"shown more than once: {some(doubled)}")
            )
        if astray := ledger.astray(session):
            found.append(
                Violation("no text astray", session, f"{astray} texts were sent to another session")
            )
    return found


def none_missing(
    missing: Mapping[str, Sequence[int]], fates: Mapping[str, str] | None = None
) -> list[Violation]:
    """What has not come, whoever died meanwhile. `fates`: what the server saw of it, in words."""
    told = {session: f" ({words})" for session, words in (fates or {}).items()}
    return [
        Violation("no text lost", session, f"never shown: {some(serials)}{told.get(session, '')}")
        for session, serials in missing.items()
        if serials
    ]


def not_grown(what: str, now: int, at_start: int, allowance: int) -> list[Violation]:
    """A figure that may vary and must not grow."""
    if now <= at_start + allowance:
        return []
    return [
        Violation(
            f"no leaked {what}", None, f"{now}, and {at_start} at the start (allowance {allowance})"
        )
    ]


def tasks_well(tasks: Mapping[str, str]) -> list[Violation]:
    """What shall run for ever runs."""
    return [
        Violation("what runs for ever goes on", None, f"the task {name!r} is {state}")
        for name, state in tasks.items()
        if state != "ok"
    ]


def stuck(session: str, view: Mapping[str, Any]) -> list[Violation]:
    """A state from which it does not come back by itself."""
    if view["state"] in HEALS_BY_ITSELF:
        return []
    return [
        Violation(
            "open again, or explained",
            session,
            f"it is {view['state']}: {view['reconnection']['humanAction']}",
        )
    ]


def patience(
    views: Iterable[Mapping[str, Any]], elapsed_seconds: float, now: float, bound_seconds: float
) -> float:
    """How long to wait in all, in seconds: the bound, or longer for whom shows when it tries again.

    `now` is the supervisor's wall clock (seconds), in which it shows times; `elapsed_seconds` is
    the time since the fault's end.
    """
    limit = bound_seconds
    for view in views:
        shown = view["reconnection"]["nextAttemptAt"]
        if shown is not None and view["state"] != "open":
            until = datetime.fromisoformat(shown).timestamp() - now
            limit = max(limit, elapsed_seconds + max(0.0, until) + bound_seconds)
    return min(limit, LONGEST_EXPLANATION_SECONDS)


def describe(entry: Entry) -> str:
    """An entry of the log in a line, without what is said already."""
    said = {"n", "time_ms", "event", "session"}
    return ", ".join(
        f"{name} {value}" for name, value in entry.items() if name not in said and value is not None
    )


def some(numbers: Collection[int], most: int = 10) -> str:
    """The first of many numbers."""
    shown = ", ".join(str(number) for number in sorted(numbers)[:most])
    return shown if len(numbers) <= most else f"{shown} and {len(numbers) - most} more"
