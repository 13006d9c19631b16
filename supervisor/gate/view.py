"""The gate as shown: figures, and each pause in words. Pure: times are arguments."""

from collections import Counter
from collections.abc import Mapping
from typing import ClassVar, Final, Literal

import msgspec

from sessions.model import CloseReason, EventData, SessionId
from supervisor.gate.outage import SMALL_SECONDS, WINDOW_SECONDS
from supervisor.gate.pause import Pause
from supervisor.gate.way import Look, Way

LOGIN_SECONDS: Final = 3.0
"""What a login takes, for estimates only."""
VERSION_REJECTED: Final = "client version rejected"


class _Outage(EventData, frozen=True, kw_only=True):
    """`scope` and `value`: whom it pauses (`fleet` all, `egress` those of a proxy, `reason` ...);
    `words` says all of it in a sentence.
    """

    scope: str
    value: str
    reason: str
    sessions: int
    held_for_seconds: float
    words: str

    @property
    def whom(self) -> str:
        """Whom it holds, as one word: `fleet`, `egress http://...`, `reason unavailable`."""
        return _whom(self.scope, self.value)


class OutageBegan(_Outage, frozen=True, kw_only=True):
    """Sessions are held together; one canary at a time tries. `sessions`: seen to close so far."""

    type: ClassVar[str] = "outage.began"


class OutageEnded(_Outage, frozen=True, kw_only=True):
    """Those that were held are released. `sessions`: how many."""

    type: ClassVar[str] = "outage.ended"


class PauseView(msgspec.Struct, frozen=True, rename="camel"):
    """A pause as shown.

    Seconds; `words` says it in a sentence. The estimate supposes that the next canary comes
    through.

    `way`: whether WhatsApp can be reached at all, by looks that log nobody in; `way_reason`: why it
    cannot; `next_look_in_seconds`:
    None when no look is due.
    """

    scope: str
    value: str
    reason: str
    held_for_seconds: float
    sessions_held: int
    next_canary_in_seconds: float | None
    canary: str | None
    estimated_seconds_until_all_back: float
    words: str
    way: Literal["open", "closed", "unknown"] = "unknown"
    way_reason: CloseReason | None = None
    next_look_in_seconds: float | None = None

    @property
    def whom(self) -> str:
        """Whom it holds, as the outage's events say it."""
        return _whom(self.scope, self.value)


class GateView(msgspec.Struct, frozen=True, rename="camel"):
    """The gate as shown.

    `queued`: who waits, those who are held among them.
    """

    rate_per_second: float
    burst: int
    egress_rate_per_second: float
    egress_burst: int
    tokens: float
    concurrency: int
    under_way: int
    queued: int
    seconds_until_queue_is_through: float | None
    holds: tuple[PauseView, ...] = ()


def pause_view(
    pause: Pause, now: float, tokens: float, rate: float, egress_rate: float, way: Way | None = None
) -> PauseView:
    """A pause, as it is now.

    `tokens`: what the fleet's bucket has; the rates are logins per second. `way`: of those it
    pauses.
    """
    closed = way if way is not None and way.is_closed else None
    wait = pause.seconds_until_canary(now, barred=closed is not None)
    next_look = None if closed is None else round(max(0.0, closed.next_at - now), 1)
    if next_look is not None and pause.canary is None:
        wait = min(wait, next_look)  # the look that finds the way open is what the canary waits for
    next_canary = None if pause.canary is not None else round(wait, 1)
    estimate = _until_all_back(
        pause, wait if pause.canary is None else 0.0, tokens, rate, egress_rate
    )
    return PauseView(
        scope=pause.scope.kind,
        value=pause.scope.value,
        reason=pause.cause,
        held_for_seconds=round(now - pause.since, 1),
        sessions_held=pause.sessions,
        next_canary_in_seconds=next_canary,
        canary=pause.canary,
        estimated_seconds_until_all_back=round(estimate, 1),
        words=_pause_words(pause, now, wait, estimate, closed),
        way=(
            "unknown"
            if way is None or way.last is None
            else "closed"
            if closed is not None
            else way.last.state
        ),
        way_reason=None if closed is None or closed.last is None else closed.last.reason,
        next_look_in_seconds=next_look,
    )


def begin_words(pause: Pause) -> str:
    """What is told when a pause begins."""
    return (
        f"Held: {pause.scope.words}, because of {cause_words(pause)}. "
        "One canary at a time tries; its success releases all. Nobody's breaker is charged."
    )


def end_words(pause: Pause, now: float, why: str) -> str:
    """What is told when a pause is over."""
    held = _duration(now - pause.since)
    return (
        f"Released after {held}: {pause.scope.words}, {_sessions(pause.sessions)}. It was"
        f" {cause_words(pause)}; {why}."
    )


def outage_began(pause: Pause, now: float, sessions: int) -> OutageBegan:
    """The event of a pause that begins. `sessions`: how many were seen to close."""
    return OutageBegan(
        scope=pause.scope.kind,
        value=pause.scope.value,
        reason=pause.cause,
        sessions=sessions,
        held_for_seconds=round(now - pause.since, 1),
        words=begin_words(pause),
    )


def outage_ended(pause: Pause, now: float, why: str) -> OutageEnded:
    """The event of a pause that is over, in words that say why."""
    return OutageEnded(
        scope=pause.scope.kind,
        value=pause.scope.value,
        reason=pause.cause,
        sessions=pause.sessions,
        held_for_seconds=round(now - pause.since, 1),
        words=end_words(pause, now, why),
    )


def cause_words(pause: Pause) -> str:
    """Why they are paused."""
    if pause.is_outage:
        return f"an outage ({pause.evidence})"
    return (
        f"{pause.cause} ({VERSION_REJECTED})"
        if pause.cause == CloseReason.CLIENT_OUTDATED
        else pause.cause
    )


def evidence_words(
    closed: Mapping[SessionId, CloseReason],
    look: Look | None = None,
    turned_away: Mapping[SessionId, CloseReason] | None = None,
) -> str:
    """What was seen, in words.

    `look`: at a way that is closed; `turned_away`: all of a small fleet, by WhatsApp's own answer.
    """
    if look is not None:
        named = f", {look.reason}" if look.reason is not None else ""
        return f"WhatsApp cannot be reached{named}: {look.words}"
    if turned_away is not None:
        answers = ", ".join(sorted({reason.value for reason in turned_away.values()}))
        return (
            f"WhatsApp turns all {len(turned_away)} away: {answers}; "
            if len(turned_away) > 1
            else f"WhatsApp turns the only session away: {answers}; "
        ) + f"for {SMALL_SECONDS / 60:.0f} min at most, then each is on its own"
    reasons = ", ".join(
        f"{reason} {count}" for reason, count in Counter(closed.values()).most_common()
    )
    return f"{_sessions(len(closed))} closed within {WINDOW_SECONDS:.0f} s: {reasons}"


def _pause_words(pause: Pause, now: float, wait: float, estimate: float, closed: Way | None) -> str:
    who = (
        f"{_sessions(pause.sessions)} {'is' if pause.sessions == 1 else 'are'} held for"
        f" {now - pause.since:.0f} s because of {cause_words(pause)}"
    )
    if closed is not None and closed.last is not None:
        looks = (
            "looks again just now"
            if closed.looking
            else f"looks again in {max(0.0, closed.next_at - now):.0f} s"
        )
        trying = (
            f"WhatsApp cannot be reached ({closed.last.words}); wasup {looks}, and as soon as it"
            " can be, the canary tries"
        )
    elif pause.canary is not None:
        trying = "the canary tries now"
    elif pause.queue.first() is not None:
        trying = f"the next canary tries in {wait:.0f} s"
    else:
        trying = (
            "nobody waits to try; who asks next is the canary, and after a minute without one the"
            " hold ends"
        )
    whom = "" if pause.scope.kind == "fleet" else f" (only {pause.scope.words})"
    return (
        f"{who}{whom}; {trying}, and its success releases all: back within some"
        f" {_duration(estimate)} then."
    )


def _until_all_back(
    pause: Pause, wait: float, tokens: float, rate: float, egress_rate: float
) -> float:
    busiest = max((count for _, count in pause.queue.egresses()), default=0)
    behind = max((pause.sessions - tokens) / rate, (busiest - tokens) / egress_rate, 0.0)
    return wait + 2 * LOGIN_SECONDS + behind if pause.sessions else wait


def _whom(scope: str, value: str) -> str:
    return scope if scope == "fleet" or not value else f"{scope} {value}"


def _sessions(count: int) -> str:
    return f"{count} session{'' if count == 1 else 's'}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
