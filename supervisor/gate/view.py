"""The gate as shown: figures, and each hold in words. Pure: times are arguments."""

from collections import Counter
from collections.abc import Mapping
from typing import ClassVar, Final, Literal

import msgspec

from sessions.model import CloseReason, EventData, SessionId
from supervisor.gate.hold import Hold
from supervisor.gate.outage import SMALL_SECONDS, WINDOW_SECONDS
from supervisor.gate.reachability import Look, Way

LOGIN_SECONDS: Final = 3.0
"""What a login takes, for estimates only."""
VERSION_REJECTED: Final = "client version rejected"


class _Outage(EventData, frozen=True, kw_only=True):
    """`scope` and `value`: whom it holds (`fleet` all, `egress` those of a proxy, `reason` ...);
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
        return (
            self.scope if self.scope == "fleet" or not self.value else f"{self.scope} {self.value}"
        )


class OutageBegan(_Outage, frozen=True, kw_only=True):
    """Sessions are held together; one canary at a time tries. `sessions`: seen to close so far."""

    type: ClassVar[str] = "outage.began"


class OutageEnded(_Outage, frozen=True, kw_only=True):
    """Those that were held are released. `sessions`: how many."""

    type: ClassVar[str] = "outage.ended"


class HoldView(msgspec.Struct, frozen=True, rename="camel"):
    """A hold as shown.

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


class GateView(msgspec.Struct, frozen=True, rename="camel"):
    """The gate as shown.

    `queued`: who waits, those who are held among them. `hold`: the first of `holds`, for older
    scripts.
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
    hold: HoldView | None
    holds: tuple[HoldView, ...] = ()


def hold_view(
    hold: Hold, now: float, tokens: float, rate: float, egress_rate: float, way: Way | None = None
) -> HoldView:
    """A hold, as it is now.

    `tokens`: what the fleet's bucket has; the rates are logins per second. `way`: of those it
    holds.
    """
    closed = way if way is not None and way.is_closed else None
    wait = hold.seconds_until_canary(now, barred=closed is not None)
    next_look = None if closed is None else round(max(0.0, closed.next_at - now), 1)
    if next_look is not None and hold.canary is None:
        wait = min(wait, next_look)  # the look that finds the way open is what the canary waits for
    next_canary = None if hold.canary is not None else round(wait, 1)
    estimate = _until_all_back(
        hold, wait if hold.canary is None else 0.0, tokens, rate, egress_rate
    )
    return HoldView(
        scope=hold.scope.kind,
        value=hold.scope.value,
        reason=hold.cause,
        held_for_seconds=round(now - hold.since, 1),
        sessions_held=hold.held,
        next_canary_in_seconds=next_canary,
        canary=hold.canary,
        estimated_seconds_until_all_back=round(estimate, 1),
        words=_hold_words(hold, now, wait, estimate, closed),
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


def begin_words(hold: Hold) -> str:
    """What is told when a hold begins."""
    return (
        f"Held: {hold.scope.words}, because of {cause_words(hold)}. "
        "One canary at a time tries; its success releases all. Nobody's breaker is charged."
    )


def end_words(hold: Hold, now: float, why: str) -> str:
    """What is told when a hold is over."""
    held = _duration(now - hold.since)
    return (
        f"Released after {held}: {hold.scope.words}, {_sessions(hold.held)}. It was"
        f" {cause_words(hold)}; {why}."
    )


def outage_began(hold: Hold, now: float, sessions: int) -> OutageBegan:
    """The event of a hold that begins. `sessions`: how many were seen to close."""
    return OutageBegan(
        scope=hold.scope.kind,
        value=hold.scope.value,
        reason=hold.cause,
        sessions=sessions,
        held_for_seconds=round(now - hold.since, 1),
        words=begin_words(hold),
    )


def outage_ended(hold: Hold, now: float, why: str) -> OutageEnded:
    """The event of a hold that is over, in words that say why."""
    return OutageEnded(
        scope=hold.scope.kind,
        value=hold.scope.value,
        reason=hold.cause,
        sessions=hold.held,
        held_for_seconds=round(now - hold.since, 1),
        words=end_words(hold, now, why),
    )


def cause_words(hold: Hold) -> str:
    """Why it is held."""
    if hold.is_outage:
        return f"an outage ({hold.evidence})"
    return (
        f"{hold.cause} ({VERSION_REJECTED})"
        if hold.cause == CloseReason.CLIENT_OUTDATED
        else hold.cause
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


def _hold_words(hold: Hold, now: float, wait: float, estimate: float, closed: Way | None) -> str:
    who = (
        f"{_sessions(hold.held)} {'is' if hold.held == 1 else 'are'} held for"
        f" {now - hold.since:.0f} s because of {cause_words(hold)}"
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
    elif hold.canary is not None:
        trying = f"the canary {hold.canary} tries now"
    elif hold.line.first() is not None:
        trying = f"the next canary tries in {wait:.0f} s"
    else:
        trying = (
            "nobody waits to try; who asks next is the canary, and after a minute without one the"
            " hold ends"
        )
    whom = "" if hold.scope.kind == "fleet" else f" (only {hold.scope.words})"
    return (
        f"{who}{whom}; {trying}, and its success releases all: back within some"
        f" {_duration(estimate)} then."
    )


def _until_all_back(
    hold: Hold, wait: float, tokens: float, rate: float, egress_rate: float
) -> float:
    busiest = max((count for _, count in hold.line.egresses()), default=0)
    behind = max((hold.held - tokens) / rate, (busiest - tokens) / egress_rate, 0.0)
    return wait + 2 * LOGIN_SECONDS + behind if hold.held else wait


def _sessions(count: int) -> str:
    return f"{count} session{'' if count == 1 else 's'}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
