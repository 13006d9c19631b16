"""Deliberately broken variants of policy, breaker, gate and actor, a sentence each.

The simulation has to catch every one of them.
"""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import msgspec

from scripts.simulation.faults import Fault, Story
from scripts.simulation.fleet import CONFIG, Parts
from scripts.simulation.workers import SimulatedWorkers
from sessions.lifecycle import remembered
from sessions.lifecycle.actor.attempts import Attempts
from sessions.lifecycle.worker_slot import WorkerSlot
from sessions.model import CloseReason as R
from sessions.policy import RULES, ClosePolicy
from sessions.policy.breaker import Breaker
from supervisor.gate import pause as pause_module
from supervisor.gate import way as way_module
from supervisor.gate.bucket import Allowance
from supervisor.gate.gate import Gate
from supervisor.gate.pause import Pause
from supervisor.gate.queue import AdmissionQueues
from supervisor.gate.way import Look, Way

decide_module = sys.modules["sessions.policy.decide"]
"""The module; the package names a function like it."""


@dataclass(frozen=True)
class Mutation:
    """`patches`: what is put in the place of what; `parts`: what the supervisor is made of;
    `caught`: words of the invariant that must see it, since a crash or another breach proves
    nothing.

    `small`: it shows in fleets of one, two and four; `story`: it shows in this one, at less cost.
    """

    name: str
    sentence: str
    patches: tuple[tuple[Any, str, Any], ...] = ()
    parts: Parts = field(default_factory=Parts)
    caught: str = field(kw_only=True)
    small: bool = False
    story: Story | None = None

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for owner, name, broken in self.patches:
                stack.enter_context(patch.object(owner, name, broken))
            yield


def _rules(reason: R, rule: Any) -> Parts:
    policy = replace(CONFIG.policy, rules={**RULES, reason: rule})
    return Parts(config=replace(CONFIG, policy=policy))


def _everywhere(function: Any, broken: Any) -> tuple[tuple[Any, str, Any], ...]:
    """Patches of a function in each module that has imported it by its name."""
    return tuple(
        (module, name, broken)
        for where, module in sorted(sys.modules.items())
        if where.startswith("sessions.")
        for name, value in vars(module).items()
        if value is function
    )


def _second_trial(
    breaker: Breaker, now: float, count: int = 1, _failed: Any = Breaker.failed
) -> None:
    if breaker.state == "half-open":
        breaker._breaker.close()
    else:
        _failed(breaker, now, count)


def _opened(policy: ClosePolicy, _opened: Any = ClosePolicy.opened) -> None:
    _opened(policy)
    policy.stable()


def _unparked(stored: bytes | None, now: float, _decode: Any = remembered.decode) -> Any:
    return msgspec.structs.replace(_decode(stored, now), parked=False, next_attempt_at=None)


def _no_deadline(attempts: Attempts, attempt: Any, seconds: float) -> None:
    attempts._core.pending.clear_deadlines()


def _no_timer(attempts: Attempts, seconds: float) -> None:
    attempts._core.next_attempt_at = attempts._core.now() + seconds


async def _left_behind(slot: WorkerSlot) -> None:
    slot.worker = None


def _released_at_once(gate: Gate, pause: Pause, why: str, others_are_well: bool = False) -> None:
    now = gate._now()
    for waiting in gate._pauses.end(pause, why, now, others_are_well):
        gate._let_through(waiting, None, now)


async def _none_uncharged(attempts: Attempts) -> bool:
    return False


def _looks_once(way: Way, look: Look, now: float, draw: float, _learns: Any = Way.learns) -> bool:
    opened: bool = _learns(way, look, now, draw)
    way.doubters.clear()
    return opened


async def _nothing(*_: object) -> None:
    """Done, without having done anything."""


MUTATIONS = (
    Mutation(
        "reservations ignored",
        "The bucket does not know of tokens that are reserved, so slow logins of a burst land"
        " together with the next ones.",
        ((Allowance, "seconds_until_free", lambda self, now: self.bucket.seconds_until(1, now)),),
        caught="more logins than",
    ),
    Mutation(
        "pause without pausing",
        "Whoever asks while the fleet is paused is let through at once, not one canary at a time.",
        ((Pause, "seconds_until_canary", lambda self, now, urgent=False, barred=False: 0.0),),
        caught="although the fleet is held",
    ),
    Mutation(
        "unlinked sessions retry",
        "401 is treated like a dropped connection.",
        parts=_rules(R.LOGGED_OUT, RULES[R.CONNECTION_CLOSED]),
        caught="was told that it is unlinked",
    ),
    Mutation(
        "duels without an end",
        "440 has no limit of tries.",
        parts=_rules(R.REPLACED, replace(RULES[R.REPLACED], tries=None)),
        caught="times in a row, and tries again",
    ),
    Mutation(
        "second trial",
        "A breaker whose trial fails closes.",
        ((Breaker, "failed", _second_trial),),
        caught="tries although its breaker is open",
    ),
    Mutation(
        "forgiven at open",
        "Failures and tries are forgotten as soon as a session opens, not when it has been open for"
        " a minute.",
        ((ClosePolicy, "opened", _opened),),
        caught="tries although its breaker is open",
    ),
    Mutation(
        "parked until restart",
        "A new supervisor does not read that a session is parked.",
        _everywhere(remembered.decode, _unparked),
        caught="is parked, and tries",
    ),
    Mutation(
        "waits without a cap",
        "The wait doubles with every failure, for ever.",
        (
            (
                decide_module,
                "_ceiling",
                lambda attempt, base, cap: base * 2.0 ** max(0, attempt - 1),
            ),
            (decide_module, "_spread", lambda seconds, draw: seconds * 2),
        ),
        caught=" waits ",
    ),
    Mutation(
        "hold never released",
        "A canary comes through, and the hold goes on.",
        ((Gate, "_end", lambda self, hold, why, others_are_well=False: None),),
        caught="without a cause",
        story=Story(1, 8, 2.0, (Fault("405 wave", 600.0, 300.0, 1.0, 7),)),
    ),
    Mutation(
        "deadline dropped",
        "Nobody looks whether a worker ever reports how its attempt went.",
        ((Attempts, "expect_report", _no_deadline),),
        caught="is forgotten: connecting",
    ),
    Mutation(
        "wait without a timer",
        "A next try is shown, but nothing will ever begin it.",
        ((Attempts, "wait", _no_timer),),
        caught="is forgotten: waiting",
    ),
    Mutation(
        "worker left behind",
        "A parked session's worker is not ended, so that a later start finds two.",
        ((WorkerSlot, "clear", _left_behind),),
        caught="still has it",
    ),
    Mutation(
        "no adoption",
        "A new supervisor does not look for the workers that live on, neither to adopt nor to end"
        " them, and starts others.",
        (
            (SimulatedWorkers, "expects", lambda self, session: False),
            (SimulatedWorkers, "terminate_returning", _nothing),
        ),
        caught="has two sockets",
    ),
    Mutation(
        "one rate for all ways out",
        "An egress has no limit of its own.",
        ((AdmissionQueues, "allowance", lambda self, egress, *now: _Boundless()),),
        caught="more logins than 3/s",
    ),
    Mutation(
        "released all at once",
        "When a pause ends, all who were paused log in together, past the bucket.",
        ((Gate, "_end", _released_at_once),),
        caught="more logins than",
    ),
    Mutation(
        "nobody looks",
        "Whether WhatsApp can be reached is not asked, so that a fleet of one pays for an outage"
        " with its breaker.",
        parts=Parts(looks=False),
        caught="after the end of an outage none of those whom it closed is open",
        small=True,
    ),
    Mutation(
        "charges stay",
        "What an outage had charged before it was seen is not taken back, and who waits alone goes"
        " on waiting.",
        ((Attempts, "uncharge", _none_uncharged),),
        caught="an outage was charged to its breaker",
        small=True,
    ),
    Mutation(
        "one look only",
        "A way that was found closed is never looked at again.",
        ((Way, "learns", _looks_once),),
        caught="after the end of an outage",
        small=True,
    ),
    Mutation(
        "looks too rare",
        "While the way is closed, a minute passes between looks.",
        ((way_module, "GAPS_SECONDS", (60.0,)),),
        caught="after the end of an outage",
        small=True,
    ),
    Mutation(
        "small fleets held for ever",
        "A fleet of one that WhatsApp itself turns away is held, and logs in, without an end.",
        ((pause_module, "SMALL_SECONDS", 1e9),),
        caught="has logged in more than",
        small=True,
    ),
)


class _Boundless:
    """An allowance that is never used up."""

    reserved = 0

    def seconds_until_free(self, now: float) -> float:
        return 0.0

    def available(self, now: float) -> float:
        return 1e9

    def reserve(self) -> None:
        pass

    def take(self, now: float) -> None:
        pass
