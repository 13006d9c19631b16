"""What a channel is to be told now: what is on, compared with what that channel was told last.

Nothing is queued. What could not be sent is decided anew at the next look, from how things are
then: so no message is old, and what began and ended before anybody was told stays untold. Pure:
times are arguments, seconds of wall clock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from sessions.views.times import iso, wall_seconds
from supervisor.alerts.alerts import RANKS, Alert, Severity
from supervisor.alerts.notices import BOTH, Notice
from supervisor.alerts.rules import rule_of

SUMMARY: Final = "summary"
CHANNEL_FAILING: Final = "channel_failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds. `wait`: from an alert's begin to the message, so that others of its kind come with
    it, and one that ends at once is none. `interval`: between two messages about the same kind.
    `over`: from the end of the last of a kind to its message. `repeat`: until what lasts is told
    again. `happened`: between two messages of what is over as it is told.
    """

    wait: Mapping[Severity, float] = field(
        default_factory=lambda: {"critical": 10.0, "warning": 30.0}
    )
    interval: float = 300.0
    over: float = 30.0
    repeat: float = 4 * 3600.0
    happened: float = 3600.0


class Told(msgspec.Struct, frozen=True):
    """What a channel was told of an alert, and when it was told last."""

    alert: Alert
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """How things are, for all channels alike; by `identity`.

    `on`: the alerts that are on, and those that happened a while ago at the most. `over`: those
    that ended of late. `muted`: whom nobody is told of. `acknowledged`: no reminders of these.
    `unsettled`: what an earlier supervisor had told of, and of which nobody knows yet whether it
    goes on. `flapping`: how often in an hour those began that come and go.
    `window`: a maintenance window holds everything back.
    """

    on: Mapping[str, Alert]
    over: Mapping[str, Alert] = field(default_factory=dict)
    muted: frozenset[str] = frozenset()
    acknowledged: frozenset[str] = frozenset()
    unsettled: frozenset[str] = frozenset()
    flapping: Mapping[str, int] = field(default_factory=dict)
    window: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a channel is for. `quiet`: only what is critical is told now. `name`: nobody is told by
    a channel that it fails itself.
    """

    name: str = ""
    severities: frozenset[Severity] = BOTH
    quiet: bool = False


@dataclass(slots=True)
class Memory:
    """What is remembered of a channel.

    `told`: by identity, what is on as far as this channel knows. `held`: what was held back during
    quiet hours, as it was last. `sent_at`: when it was told last, by group. Of these `told` alone
    survives a restart.
    """

    told: dict[str, Told] = field(default_factory=dict)
    held: dict[str, Alert] = field(default_factory=dict)
    sent_at: dict[str, float] = field(default_factory=dict)


HELD_MOST: Final = 1_000
UNKNOWN_SECONDS: Final = 60.0
"""Ago: the end of what nobody saw ending, as an earlier supervisor had told of it."""


def identity(alert: Alert) -> str:
    """By which an alert is the same when it comes back: what has happened happens once."""
    if alert.state == "happened":
        return alert.id
    return "\0".join(part or "" for part in (alert.session, alert.name, alert.about))


def group_of(alert: Alert) -> str:
    """With which others it is told."""
    return rule_of(alert).name


def decide(
    now: float, situation: Situation, reach: Reach, memory: Memory, timing: Timing
) -> list[Notice]:
    """What is to be told now, the critical first. `memory.held` is brought up to date; what was
    told is remembered by `remember`, and only once it has been sent.
    """
    tellable = _tellable(situation, reach)
    summary = _hold(now, situation, reach, memory, tellable)
    groups = dict[str, tuple[list[str], list[str]]]()
    for key in tellable:
        groups.setdefault(group_of(situation.on[key]), ([], []))[0].append(key)
    for key, told in memory.told.items():
        groups.setdefault(group_of(told.alert), ([], []))[1].append(key)
    notices = [] if summary is None else [summary]
    done = set() if summary is None else {identity(alert) for alert in summary.new}
    for group, (on, told_keys) in groups.items():
        wanted = [key for key in on if key not in done]
        notice = _of_group(now, group, wanted, told_keys, situation, reach, memory, timing)
        if notice is not None:
            notices.append(notice)
    return sorted(notices, key=lambda notice: (-RANKS[notice.severity], notice.is_over))


def remember(memory: Memory, notice: Notice, now: float) -> None:
    """The channel has been told."""
    for alert in (*notice.new, *notice.goes_on):
        memory.told[identity(alert)] = Told(alert, now)
        memory.held.pop(identity(alert), None)
    for alert in (*notice.ended, *notice.passed):
        memory.told.pop(identity(alert), None)
        memory.held.pop(identity(alert), None)
    groups = {group_of(alert) for alert in (*notice.new, *notice.goes_on, *notice.ended)}
    memory.sent_at.update(dict.fromkeys(groups, now))


def forget_happened(memory: Memory, situation: Situation) -> list[str]:
    """Let go of what has happened too long ago to be told again; which of them."""
    gone = [
        key
        for key, told in memory.told.items()
        if told.alert.state == "happened" and key not in situation.on
    ]
    for key in gone:
        del memory.told[key]
    return gone


def _tellable(situation: Situation, reach: Reach) -> list[str]:
    return [
        key
        for key, alert in situation.on.items()
        if key not in situation.muted
        and alert.severity in reach.severities
        and not (alert.name == CHANNEL_FAILING and alert.about == reach.name)
    ]


def _holds(alert: Alert, situation: Situation, reach: Reach) -> bool:
    return situation.window or (reach.quiet and alert.severity != "critical")


def _hold(
    now: float, situation: Situation, reach: Reach, memory: Memory, tellable: list[str]
) -> Notice | None:
    """Keep in mind what may not be told now; or, when it may, all of it in one message."""
    for key in tellable:
        alert, told = situation.on[key], memory.told.get(key)
        untold = told is None or _worse(alert, told)
        has_room = len(memory.held) < HELD_MOST or key in memory.held
        if untold and has_room and _holds(alert, situation, reach):
            memory.held[key] = alert
    if not memory.held or situation.window or reach.quiet:
        return None
    new, passed = [], []
    for key, alert in memory.held.items():
        if key in situation.on:
            if key in tellable:
                new.append(situation.on[key])
        else:
            passed.append(_over(key, alert, situation, now))
    if not new and not passed:
        return None
    return Notice(
        group=SUMMARY, new=tuple(new), passed=tuple(passed), flapping=_times(new, situation)
    )


def _of_group(
    now: float,
    group: str,
    on: list[str],
    told_keys: list[str],
    situation: Situation,
    reach: Reach,
    memory: Memory,
    timing: Timing,
) -> Notice | None:
    held = {key for key in on if _holds(situation.on[key], situation, reach)}
    new = [
        situation.on[key]
        for key in on
        if key not in held
        and (key not in memory.told or _worse(situation.on[key], memory.told[key]))
    ]
    fresh = {identity(alert) for alert in new}
    goes_on = [situation.on[key] for key in told_keys if key in situation.on and key not in fresh]
    goes_on = [alert for alert in goes_on if alert.state != "happened"]
    ended = [
        _over(key, memory.told[key].alert, situation, now)
        for key in told_keys
        if key not in situation.on
        and key not in situation.unsettled
        and memory.told[key].alert.state != "happened"
        and not _holds(memory.told[key].alert, situation, reach)
    ]
    if not _is_due(now, group, new, goes_on, ended, situation, memory, timing):
        repeated = [] if situation.window else _to_repeat(now, goes_on, situation, memory, timing)
        repeated = [alert for alert in repeated if not _holds(alert, situation, reach)]
        if not repeated:
            return None
        return Notice(
            group=group,
            goes_on=tuple(goes_on),
            repeated=True,
            flapping=_times(goes_on, situation),
        )
    return Notice(
        group=group,
        new=tuple(new),
        goes_on=tuple(goes_on),
        ended=tuple(ended),
        flapping=_times([*new, *goes_on], situation),
    )


def _is_due(
    now: float,
    group: str,
    new: list[Alert],
    goes_on: list[Alert],
    ended: list[Alert],
    situation: Situation,
    memory: Memory,
    timing: Timing,
) -> bool:
    if any(identity(alert) in memory.told for alert in new):
        return True  # it has become worse than was told
    if not new and not goes_on and ended:
        last = max(wall_seconds(alert.ended_at or alert.began_at) for alert in ended)
        return now - last >= timing.over
    if not new and not ended:
        return False
    sent_at = memory.sent_at.get(group)
    happened = not ended and all(alert.state == "happened" for alert in new)
    interval = timing.happened if happened else timing.interval
    if sent_at is not None and now - sent_at < interval:
        return False
    waited = [now - wall_seconds(one.began_at) >= timing.wait[one.severity] for one in new]
    return any(waited) or bool(ended)


def _to_repeat(
    now: float, goes_on: list[Alert], situation: Situation, memory: Memory, timing: Timing
) -> list[Alert]:
    return [
        alert
        for alert in goes_on
        if (key := identity(alert)) not in situation.acknowledged
        and key not in situation.muted
        and now - memory.told[key].at >= timing.repeat
    ]


def _worse(alert: Alert, told: Told) -> bool:
    return RANKS[alert.severity] > RANKS[told.alert.severity]


def _over(key: str, told: Alert, situation: Situation, now: float) -> Alert:
    """As it ended; by its last words, if nobody knows how."""
    known = situation.over.get(key)
    if known is not None:
        return known
    since = iso(max(wall_seconds(told.began_at), now - UNKNOWN_SECONDS))
    return msgspec.structs.replace(told, state="ended", ended_at=since)


def _times(alerts: Iterable[Alert], situation: Situation) -> dict[str, int]:
    return {
        alert.id: situation.flapping[key]
        for alert in alerts
        if (key := identity(alert)) in situation.flapping
    }
