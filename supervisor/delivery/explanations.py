"""What has become of an event at a webhook, in words: why it has not arrived, what to do. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from sessions.views.times import duration, iso


class Fate(StrEnum):
    """What has become of an event at one webhook."""

    DELIVERED = "delivered"
    NOT_ASKED = "not_asked"
    MADE_LATER = "made_later"
    PASSED_OVER = "passed_over"
    UNKNOWN = "unknown"
    PAUSED = "paused"
    AWAY = "away"
    UNDER_WAY = "under_way"
    WAITING = "waiting"
    BLOCKED = "blocked"
    RETRYING = "retrying"
    DEAD = "dead"
    GAP = "gap"


ARRIVED = frozenset({Fate.DELIVERED, Fate.NOT_ASKED})
"""Nothing is missing at the webhook."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of it. Times are seconds of wall clock.

    `ahead`: the event of its session that it waits for; None: itself, or none. `attempts`,
    `last_error`: of the event that is tried. `since`: since when the endpoint is away, or the
    webhook is there.
    """

    fate: Fate
    webhook: str
    n: int
    session: str | None
    kind: str
    waits_seconds: float
    types: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    paused_because: str | None = None
    since: float | None = None
    ahead: int | None = None
    attempts: int = 0
    last_status: int | None = None
    last_error: str | None = None
    next_at: float | None = None
    row: int | None = None


def explained(one: Standing) -> tuple[str, str]:
    """Why it is so, and what to do about it."""
    wait, webhook = duration(one.waits_seconds), one.webhook
    answer = f" Its last answer: {one.last_error}." if one.last_error else ""
    following = f" The next try is at {iso(one.next_at)}." if one.next_at is not None else ""
    match one.fate:
        case Fate.DELIVERED:
            return (
                "The endpoint has accepted it.",
                "Nothing here. If it is not seen there, look at what the endpoint does with event"
                f" {one.n} (n8n: the workflow's executions).",
            )
        case Fate.NOT_ASKED:
            return _not_asked(one)
        case Fate.MADE_LATER | Fate.PASSED_OVER | Fate.UNKNOWN:
            return _behind(one)
        case Fate.PAUSED:
            return _paused(one)
        case Fate.AWAY:
            since = "" if one.since is None else f" since {iso(one.since)}"
            return (
                f"The endpoint has accepted nothing{since}; one event at a time is tried, and this"
                f" one has waited for {wait}.{answer}{following}",
                f"Mend the endpoint (`wasup webhooks test {webhook}`); `wasup webhooks resume"
                f" {webhook}` then tries at once. All that waits comes in order.",
            )
        case Fate.UNDER_WAY:
            return "It is being sent now.", "Wait: an endpoint has 15 s to answer."
        case Fate.WAITING:
            return _waiting(one, wait, answer, following)
        case Fate.BLOCKED:
            return (
                f"The endpoint has refused it {_times(one.attempts)}, and its session waits behind"
                f" it for up to 10 min.{answer}{following}",
                "See why the endpoint refuses this event. After 10 min it is set aside and later"
                " ones go on.",
            )
        case Fate.RETRYING:
            return (
                f"The endpoint has refused it {_times(one.attempts)}: it was set aside, and later"
                f" events of its session go on.{answer}{following}",
                f"See why; when it is mended: `wasup webhooks redrive {webhook} --row {one.row}`.",
            )
        case Fate.DEAD:
            return (
                f"It was not accepted in time, and is not tried any more.{answer}",
                f"When the endpoint is mended: `wasup webhooks redrive {webhook} --row {one.row}`.",
            )
        case Fate.GAP:
            return (
                "The event log had no room for it before it was sent.",
                "It cannot be sent any more. Let the log keep more: WHATSAPP_EVENT_LOG_DAYS,"
                " WHATSAPP_EVENT_LOG_MAX_MIB.",
            )


def _not_asked(one: Standing) -> tuple[str, str]:
    if one.sessions and one.session not in one.sessions:
        why = f"The webhook asks for {', '.join(one.sessions)} alone, and not for {one.session}."
        change = f"--session {one.session}"
    else:
        why = f"The webhook asks for {', '.join(one.types)} alone, and not for {one.kind}."
        change = f"--type {one.kind}"
    return why, (
        "Nothing, if that is as you want it. Else: `wasup webhooks update"
        f" {one.webhook} {change}`, with those that it has, and `wasup webhooks replay"
        f" {one.webhook} --after {one.n - 1}`."
    )


def _behind(one: Standing) -> tuple[str, str]:
    replay = (
        f"To have it, and what came after: `wasup webhooks replay {one.webhook} --after"
        f" {one.n - 1}`."
    )
    if one.fate == Fate.PASSED_OVER:
        why = "The webhook did not ask for it when it came; what it asks for was changed later."
        return why, replay
    if one.fate == Fate.UNKNOWN:
        return (
            "It was accepted, or passed over: which of them is not known any more, as what the"
            " webhook asked for when it came is not kept.",
            f"Look whether the endpoint has it. {replay}",
        )
    return (
        f"The webhook was made at {iso(one.since or 0.0)}, after the event, and begins with what"
        " happens from then on, unless it was told to begin earlier.",
        replay,
    )


def _paused(one: Standing) -> tuple[str, str]:
    because = {
        "operator": "Somebody has paused the webhook",
        "gone": "The endpoint has answered 410 Gone, which paused the webhook",
        "restored": "The webhook came back with a backup, paused",
        "key_ended": "The key of the webhook's owner was revoked or has expired, which paused it",
    }.get(one.paused_because or "", "The webhook is paused")
    first = {
        "gone": "Give it the URL that is meant, if it has moved; then ",
        "key_ended": f"See where it leads (`wasup webhooks show {one.webhook}`). If that is to go"
        " on, it is the webhook of whoever resumes it: ",
    }.get(one.paused_because or "", "")
    return f"{because}; what happens is kept for it.", (
        f"{first}`wasup webhooks resume {one.webhook}`: all that was kept comes in order."
    )


def _waiting(one: Standing, wait: str, answer: str, following: str) -> tuple[str, str]:
    if one.ahead is None:
        return (
            f"The webhook has not come to it yet; it has waited for {wait}.",
            f"Wait; if `wasup webhooks show {one.webhook}` stays behind, the endpoint is slow.",
        )
    if not one.attempts:
        return (
            f"It waits for {wait} behind event {one.ahead} of its session, which is on its way: a"
            " session's events come one after the other.",
            "Wait: an endpoint has 15 s to answer.",
        )
    return (
        f"It waits for {wait} behind event {one.ahead} of its session, which was refused"
        f" {_times(one.attempts)}.{answer}{following}",
        f"See why the endpoint refuses event {one.ahead}. It blocks its session for 10 min at the"
        " most, and is then set aside.",
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def arrival(events: int, states: Collection[str]) -> tuple[bool, str]:
    """Whether all of a message's events have arrived at each webhook that asks for them, and that
    in a sentence. `states`: the fate of each event at each webhook. Pure.
    """
    unknown = sum(state == Fate.UNKNOWN for state in states)
    missing = sum(state not in ARRIVED for state in states) - unknown
    count = f"{events} event{'' if events == 1 else 's'}"
    if not states:
        return False, f"It has {count}, and there is no webhook: POST /webhooks makes one."
    if not missing and not unknown:
        return True, f"Everything has arrived that was asked for, of {count}."
    have = "has" if missing == 1 else "have"
    told = [f"{missing} of what was to be delivered {have} not arrived"] if missing else []
    if unknown:
        told.append(f"of {unknown} it is not known any more whether it has arrived")
    return False, f"{', and '.join(told).capitalize()}."
