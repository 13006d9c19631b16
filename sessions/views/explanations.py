"""The texts for a tired operator: why, when next, what must I do.

For every close reason and every state.

Pure; docs/close-reasons.md is made from them. What a human must do is the policy's own text
(`Rule.human`): here are the cause in plain words, what of it is on the wire, what wasup does by
default, and what a session that is at rest waits for.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from sessions.policy import COVERED, NOTHING, RULES, Budget, Rules
from sessions.policy.breaker import SAME_SECONDS
from sessions.records.incidents import Incident, Summary
from sessions.views.session_view import Reconnection
from sessions.views.times import duration, iso, wall_seconds


class Text(msgspec.Struct, frozen=True):
    """Of a close reason.

    `wire`: what says so there. `why`: in plain words. `does`: what wasup does by default.

    `until`: what ends the rest when the session is parked for it ("when ..."), None when it is
    never parked for it by default.
    """

    wire: str
    why: str
    does: str
    until: str | None = None


_WAY: Final = (
    "Looks every few seconds, without a login, whether WhatsApp can be reached by the session's own"
    " way; pauses, without charging it, while it cannot; logs in as soon as it can."
)
TEXTS: Final[Mapping[R, Text]] = {
    R.RESTART_REQUIRED: Text(
        "stream error 515",
        "WhatsApp asked the session to connect anew, as it does once after each pairing.",
        "Connects anew at once. More than three times in a minute is treated as a closed"
        " connection.",
    ),
    R.CONNECTION_CLOSED: Text(
        "428, or an end without a code",
        "The connection was closed from the other side or on the way: the network, a router, or"
        " WhatsApp's front door.",
        "Tries again, almost at once if it had been stably open, then with growing waits (2 s"
        " doubled, up to 5 min).",
    ),
    R.CONNECTION_LOST: Text(
        "408 of a paired device, a WebSocket error of a connection that had stood, or a socket that"
        " had gone silent",
        "The connection went dead: nothing came through any more.",
        "Tries again, almost at once if it had been stably open, then with growing waits (2 s"
        " doubled, up to 5 min).",
    ),
    R.NETWORK_UNREACHABLE: Text(
        "a WebSocket error before the upgrade: refused, no route, cut, or no answer in time",
        "WhatsApp could not be reached: the network is away, or a firewall, or WhatsApp itself.",
        _WAY,
    ),
    R.DNS: Text(
        "a WebSocket error before the upgrade: ENOTFOUND or EAI_...",
        "The name of WhatsApp's server could not be looked up: the DNS of this machine does not"
        " answer, or does not know it.",
        _WAY,
    ),
    R.TLS_UNTRUSTED: Text(
        "a WebSocket error before the upgrade: the certificate is refused",
        "Whoever answered showed a certificate that is not trusted here: it is not WhatsApp, or"
        " something inspects the traffic, or this machine's clock is wrong.",
        _WAY,
    ),
    R.PROXY: Text(
        "a WebSocket error before the upgrade, from the session's proxy",
        "The session's proxy cannot be reached, refuses its user and password, or does not connect"
        " it to WhatsApp.",
        _WAY,
    ),
    R.QR_EXPIRED: Text(
        "408 `QR refs attempts ended`, or 408 after a QR was shown",
        "Nobody scanned the QR code, or typed the pairing code, in time.",
        "Parks: codes that nobody looks at are not asked for again and again.",
        "when a human asks for a new QR code",
    ),
    R.PASSKEY_REQUIRED: Text(
        "a notification `passkey_prologue_request` while the device is not linked yet",
        "WhatsApp asked for the account's passkey before it would link the device; only a browser"
        " on web.whatsapp.com can give one.",
        "Parks, and shows no further QR: each scan would end the same way. Nothing is deleted.",
        "when a human has done what is said below, and starts it",
    ),
    R.SERVER_ERROR: Text(
        "500, or a stream error that nobody has named",
        "WhatsApp's server reported an error of its own.",
        "Tries again with growing waits (5 s doubled, up to 15 min).",
    ),
    R.UNAVAILABLE: Text(
        "501, 503, or HTTP 5xx at the upgrade",
        "WhatsApp's service is not available just now.",
        "Tries again with growing waits (5 s doubled, up to 15 min).",
    ),
    R.RATE_LIMITED: Text(
        "429, also as HTTP answer at the upgrade",
        "WhatsApp says that this number or this address connects too often.",
        "Tries again five steps further on (waits 32 times as long) for an hour; it counts twice"
        " for the breaker.",
    ),
    R.UPGRADE_REFUSED: Text(
        "any other HTTP answer than 101 at the upgrade",
        "Something that is not WhatsApp answered: a proxy, a firewall or a captive portal on the"
        " way.",
        f"{_WAY} It is never taken for a ban.",
    ),
    R.REPLACED: Text(
        "stream error 440 (conflict, replaced)",
        "Another program logged in with this device's keys, and WhatsApp keeps only the newest"
        " login.",
        "Tries twice, 30 to 60 s apart, then parks and opens the breaker: it does not fight.",
        "when the other program is stopped and a human has forced a reconnection",
    ),
    R.LOGGED_OUT: Text(
        "401 of any kind but our own logout",
        "The device was unlinked: on the phone, by WhatsApp, or because the phone was offline for"
        " 14 days.",
        "Archives the credentials (never deletes them) and parks; within a minute of a 515 one try"
        " makes sure first.",
        "when a human has paired it again",
    ),
    R.OWN_LOGOUT: Text(
        "401 `Intentional Logout`",
        "It was logged out as an operator asked.",
        "Archives the credentials and stops the session.",
        "when a human has paired it again",
    ),
    R.TEMPORARILY_BANNED: Text(
        "402",
        "WhatsApp has banned this number for a time.",
        "Parks until the ban ends (24 h when it names no end), then makes one try; each refusal"
        " waits at least twice as long.",
        "when the ban ends",
    ),
    R.LOCKED: Text(
        "403",
        "WhatsApp has locked this account and wants something done on the phone.",
        "Parks.",
        "when a human has unlocked the account on the phone and started the session",
    ),
    R.BANNED: Text(
        "406",
        "WhatsApp has banned this number.",
        "Parks.",
        "when the ban is lifted and a human has started the session",
    ),
    R.CLIENT_OUTDATED: Text(
        "405",
        "Client version rejected: WhatsApp does not take this client version any more. "
        "As a rule that concerns all numbers, not this one alone.",
        "Tries again every 5 minutes. When a second number is told so within half an hour, holds"
        " the fleet: one canary tries every 5 to 30 minutes, and its success releases all.",
    ),
    R.REPAIR_NEEDED: Text(
        "409, 411, 415 or 418",
        "WhatsApp refuses this device's registration: its books and ours differ.",
        "Tries twice (30 s, doubled), then parks.",
        "when a human has forced a reconnection, or paired it again",
    ),
    R.UNKNOWN_FAILURE: Text(
        "`<failure>` with any other code",
        "WhatsApp refused the login with a code that nobody has explained.",
        "Tries three times (30 s, doubled), then parks.",
        "when a human has forced a reconnection",
    ),
    R.ATTEMPT_TIMED_OUT: Text(
        "nothing: no answer within the deadline of a try",
        "The try to connect got no answer in time.",
        "Tries again with growing waits (2 s doubled, up to 5 min).",
    ),
    R.UNDECRYPTABLE_FRAME: Text(
        "a frame that does not decrypt",
        "What came in could not be decrypted: bytes were lost or changed on the way.",
        "Connects anew, almost at once if it had been stably open, then with growing waits.",
    ),
    R.STORE_FAILED: Text(
        "nothing: it is on this machine",
        "Our own store could not save the session's keys: the disk is full, or the database is"
        " away.",
        "Keeps trying every 5 to 10 s without a login; logs in when the store can be written"
        " again.",
    ),
    R.REQUESTED: Text(
        "nothing: we closed it",
        "The connection was closed because an operator or wasup itself asked for it.",
        "Connects anew at once.",
    ),
    R.DEAF: Text(
        "nothing: bytes come, answers do not",
        "The session looked open but answered no probe any more: it had gone deaf.",
        "Replaces the socket, the second time the worker; at most twice in six hours, then leaves"
        " it and alerts.",
    ),
    R.SAME_DEVICE: Text(
        "nothing: it is in our own store",
        "Two sessions hold the credentials of one linked device, and only one of them can be"
        " logged in.",
        "Parks the one that came later, without a login: the two would throw each other out for"
        " ever.",
        "when one of the two has been deleted and a human has started the other",
    ),
    R.WORKER_EXITED: Text(
        "nothing: it is on this machine",
        "Its worker process ended unexpectedly: it crashed, was killed, or the machine ran out of"
        " memory.",
        "Starts a new worker at once, then with growing waits (1 s to 60 s); five crashes in ten"
        " minutes slow it down.",
    ),
    R.WORKER_HUNG: Text(
        "nothing: it is on this machine",
        "Its worker process hung: no heartbeat came any more, or a report that it owed.",
        "Kills it and starts a new one, like a crash.",
    ),
}
"""A text for each close reason."""

STATES: Final[Mapping[S, str]] = {
    S.STOPPED: "It is stopped: nobody has asked for it to run.",
    S.STARTING: "Its worker process is being started.",
    S.HELD: (
        "It is ready to try and waits for its turn at the gate, which paces the logins of all"
        " sessions."
    ),
    S.CONNECTING: "It is connecting just now.",
    S.QR: "It waits for a phone: a QR code or a pairing code is shown.",
    S.OPEN: "It is open and answers.",
    S.WAITING: "It was closed, and the next try has a time.",
    S.PARKED: "It is parked: trying again by itself would not help, or do harm.",
    S.QUARANTINED: (
        "It is quarantined: what is stored of it cannot be read, and nothing is tried, so that"
        " nothing is overwritten."
    ),
}
"""What each state means to an operator, when there is nothing better to say."""

_WHEN: Final[Mapping[S, str]] = {
    S.STOPPED: "when somebody starts it",
    S.STARTING: "now, as soon as its worker process is up",
    S.HELD: "as soon as the gate has a place, within seconds unless many sessions wait",
    S.CONNECTING: "a try is under way right now",
    S.QR: "as soon as the phone has scanned the code",
    S.OPEN: "it is open; nothing is due",
    S.WAITING: "now",
    S.PARKED: "when a human has done what is said below",
    S.QUARANTINED: "when a human has done what is said below",
}
PARKED_BY_A_BAN: Final = "when the ban ends, {}; then one try is made"
OUTAGE_DO: Final = (
    "Nothing for this session: it is held with the others and comes back with them. "
    "Look at this machine's network, and at WhatsApp's status."
)
NOTHING_TO_DO: Final = "Nothing: it comes back by itself."
TIMELINE: Final = 20
"""Incidents that an explanation tells of."""
ERROR_OF_OURS: Final = (
    "wasup itself could not go on, and starts over: the store's trouble mostly; the newest alert in"
    " /events says what."
)
BREAKER_OPEN: Final = (
    "Its circuit breaker is open after too many failures, and stop and start are no way round it."
)
"""What it waits for when no incident is under way."""
LAST_CLOSE: Final = "The last close:"
UNPAIRED: Final = "It was never paired with a phone."


class Outage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What holds the session.

    `reason`: `outage`, or a close reason. `canary`: whose try is under way; `back_in_seconds`: of
    all.

    `way_reason`: why WhatsApp cannot be reached at all, if that is known; `next_look_in_seconds`:
    when that is looked at again.
    """

    reason: str
    words: str
    canary: str | None
    next_canary_in_seconds: float | None
    back_in_seconds: float
    way_reason: R | None = None
    next_look_in_seconds: float | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An incident in a timeline. Times are ISO 8601, UTC. `cost_seconds`: how long it was away.

    `waits`: as they were planned after its closes, seconds; `waited`: what became of each, as a
    human or an outage's end cuts a wait short.
    """

    began_at: str
    ended_at: str | None
    ending: str
    reason: str
    why: str
    cause_on_the_wire: str
    rule: str
    waits: list[float]
    waited: list[float]
    closes: int
    attempts: int
    cost_seconds: float
    human_action: str
    outage: str | None


class Explanation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer to an operator's three questions, and what it rests on.

    Times are ISO 8601, UTC.
    """

    timestamp: str
    id: str
    state: str
    wanted: bool
    why: str
    when_next: str | None
    when_next_words: str
    human_action: str
    rule: str | None
    outage: str | None
    since: str
    availability: dict[str, float | str | None]
    mttr_seconds: float | None
    reconnects_24h: int = msgspec.field(name="reconnects24h")
    budget: Budget
    breaker: str
    timeline: list[Entry]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a session now.

    `ever_paired`: it has, or had, a phone. `outage`: the hold that it would wait in. `rules`: in
    force.
    """

    id: str
    wanted: bool
    ever_paired: bool
    reconnection: Reconnection
    budget: Budget
    outage: Outage | None = None
    rules: Rules = msgspec.field(default_factory=lambda: RULES)


def explain(standing: Standing, story: list[Incident], summary: Summary, now: float) -> Explanation:
    """The whole explanation.

    `story`: the session's incidents, newest first; `now`: wall clock, seconds.
    """
    shown = standing.reconnection
    if not _is_held(shown):
        standing = msgspec.structs.replace(standing, outage=None)
    return Explanation(
        timestamp=iso(now),
        id=standing.id,
        state=shown.state.value,
        wanted=standing.wanted,
        why=why(standing, story),
        when_next=when_next(standing, now),
        when_next_words=when_next_words(standing, now),
        human_action=_human_action(standing, story),
        rule=None if shown.state in {S.OPEN, S.STOPPED} else shown.rule,
        outage=standing.outage.words if standing.outage else None,
        since=shown.since,
        availability={
            "24h": summary.day,
            "7d": summary.week,
            "since": None if summary.since is None else iso(summary.since),
        },
        mttr_seconds=summary.mttr_seconds,
        reconnects_24h=summary.reconnects_of_the_day,
        budget=standing.budget,
        breaker=shown.breaker.state,
        timeline=[entry(incident, now) for incident in story[:TIMELINE]],
    )


def _is_held(shown: Reconnection) -> bool:
    """Whether an outage that covers the session keeps it from anything: it is in the gate, or on
    its way there as one that is excused.
    """
    return shown.state is S.HELD or (shown.state is S.WAITING and shown.rule == COVERED)


def _is_its_own(standing: Standing, outage: Outage, story: list[Incident]) -> bool:
    """Whether a session that is held has closed of something that no outage causes, and that a
    human has to mend.
    """
    if standing.reconnection.rule == COVERED or not story or story[0].over:
        return False
    reason = _newest_reason(story[0])
    if reason is None or reason == outage.reason:
        return False
    rule = standing.rules[reason]
    return not rule.correlated and rule.human != NOTHING


def _human_action(standing: Standing, story: list[Incident]) -> str:
    outage = standing.outage
    if outage is None or _is_its_own(standing, outage, story):
        return standing.reconnection.human_action
    reason = outage.way_reason or (R(outage.reason) if outage.reason in _REASONS else None)
    if reason is not None and standing.rules[reason].human != NOTHING:
        return standing.rules[reason].human.replace("{id}", standing.id)
    return OUTAGE_DO


def _newest_reason(incident: Incident) -> R | None:
    """Of its newest close that we did not ask for ourselves, if there is one.

    None: of a version that is not ours.
    """
    closes = [close.reason for close in incident.closes]
    others = [reason for reason in closes if reason is not R.REQUESTED]
    if closes:
        return (others or closes)[-1]
    return R(incident.reason) if incident.reason in _REASONS else None


def why(standing: Standing, story: list[Incident]) -> str:
    """Why the session is where it is."""
    shown = standing.reconnection
    under_way = story[0] if story and not story[0].over else None
    reason = shown.close_reason if under_way is None else _newest_reason(under_way)
    text = TEXTS[reason].why if reason is not None else None
    match shown.state:
        case S.OPEN if story and story[0].reason in _REASONS:
            return (
                f"{STATES[S.OPEN]} The last time it was away:"
                f" {_lower(TEXTS[R(story[0].reason)].why)}"
            )
        case S.STOPPED if shown.close_reason is R.OWN_LOGOUT and text is not None:
            return text
        case S.STOPPED if not standing.ever_paired:
            return f"{STATES[S.STOPPED]} {UNPAIRED}"
        case S.OPEN | S.STOPPED | S.QUARANTINED:
            return STATES[shown.state]
        case S.HELD | S.WAITING if standing.outage is not None:
            its_own = text is not None and _is_its_own(standing, standing.outage, story)
            return f"{text} {standing.outage.words}" if its_own else standing.outage.words
        case S.WAITING if under_way is None and _breaker_decides(shown):
            return BREAKER_OPEN if text is None else f"{BREAKER_OPEN} {LAST_CLOSE} {_lower(text)}"
        case S.WAITING if under_way is None:
            return ERROR_OF_OURS
        case S.WAITING | S.PARKED if text is not None:
            return text
        case _ if text is not None and under_way is not None:
            return f"{text} {STATES[shown.state]}"
        case _:
            return STATES[shown.state]


def when_next(standing: Standing, now: float) -> str | None:
    """When the next try is due, ISO 8601; None when no clock decides it."""
    outage = standing.outage
    if standing.reconnection.next_attempt_at is not None:
        return standing.reconnection.next_attempt_at
    if outage is not None and standing.reconnection.state is S.HELD:
        return iso(now + outage.back_in_seconds)
    return None


def when_next_words(standing: Standing, now: float) -> str:
    """The same in words."""
    shown, outage = standing.reconnection, standing.outage
    due = (
        None
        if shown.next_attempt_at is None
        else max(0.0, wall_seconds(shown.next_attempt_at) - now)
    )
    match shown.state:
        case S.HELD if outage is not None:
            return _with_the_outage(standing.id, outage)
        case S.PARKED if due is not None:
            return PARKED_BY_A_BAN.format(f"in {duration(due)}")
        case S.PARKED if shown.close_reason is not None:
            return TEXTS[shown.close_reason].until or _WHEN[S.PARKED]
        case S.WAITING if due is not None:
            blocked = " (its circuit breaker is open until then)" if _breaker_decides(shown) else ""
            return f"in {duration(due)}{blocked}" if due >= 1 else "now"
        case _:
            return _WHEN[shown.state]


def _breaker_decides(shown: Reconnection) -> bool:
    """Whether the next try waits for the breaker, and for nothing else."""
    due, until = shown.next_attempt_at, shown.breaker.opens_until
    return (
        due is not None
        and until is not None
        and abs(wall_seconds(due) - wall_seconds(until)) < SAME_SECONDS
    )


def _with_the_outage(session: str, outage: Outage) -> str:
    if outage.way_reason is not None and outage.canary is None:
        look = duration(max(1.0, outage.next_look_in_seconds or 0.0))
        return (
            f"as soon as WhatsApp can be reached: wasup looks again in about {look}, without a"
            " login, and then a canary logs in"
        )
    if outage.canary == session:
        return "now: it is the canary of the outage, and its success releases all"
    if outage.canary is not None:
        turn = "another session tries right now"  # whose name is perhaps not the reader's to know
        wait = 0.0
    else:
        wait = outage.next_canary_in_seconds or 0.0
        turn = f"next canary in {duration(wait)}"
    later = max(1.0, outage.back_in_seconds - wait)
    return (
        f"when the canary of the outage succeeds, {turn}; your turn at most about {duration(later)}"
        " later"
    )


def entry(incident: Incident, now: float) -> Entry:
    """An incident as told in a timeline."""
    text = TEXTS.get(R(incident.reason)) if incident.reason in _REASONS else None
    return Entry(
        began_at=iso(incident.began_at),
        ended_at=None if incident.ended_at is None else iso(incident.ended_at),
        ending=incident.ending or "under way",
        reason=incident.reason,
        why=text.why if text else incident.message,
        cause_on_the_wire=on_the_wire(incident.reason, incident.code, incident.message),
        rule=incident.rule,
        waits=[
            round(close.wait_seconds, 1)
            for close in incident.closes
            if close.wait_seconds is not None
        ],
        waited=[round(seconds, 1) for seconds in waited(incident, now)],
        closes=len(incident.closes),
        attempts=incident.attempts,
        cost_seconds=round(incident.down_seconds(now), 1),
        human_action="Nothing." if incident.over else incident.human,
        outage=incident.hold,
    )


def waited(incident: Incident, now: float) -> list[float]:
    """How long it was really waited after each close that planned a wait, seconds: at most until
    the next close, or the incident's end.
    """
    until = [close.at for close in incident.closes[1:]]
    until.append(now if incident.ended_at is None else incident.ended_at)
    return (
        [
            max(0.0, min(close.wait_seconds, end - close.at))
            for close, end in zip(incident.closes, until, strict=True)
            if close.wait_seconds is not None
        ]
        if incident.closes
        else []
    )


def on_the_wire(reason: str, code: int | None, message: str) -> str:
    """What was seen: code and message as they came, or our own words for the reason."""
    seen = " ".join(part for part in ("" if code is None else str(code), message.strip()) if part)
    return f"{reason}: {seen}" if seen else reason


def rows() -> list[tuple[str, str, str, str, str]]:
    """The table of docs/close-reasons.md: reason, on the wire, why, what wasup does, what a human
    does.
    """
    return [
        (f"`{reason}`", text.wire, text.why, text.does, RULES[reason].human or NOTHING_TO_DO)
        for reason, text in TEXTS.items()
    ]


def state_rows() -> list[tuple[str, str, str]]:
    """The table of states there: state, what it means, when the next try is."""
    return [(f"`{state}`", STATES[state], _WHEN[state]) for state in S]


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:] if not text.startswith("WhatsApp") else text


_REASONS: Final = frozenset(reason.value for reason in R)
