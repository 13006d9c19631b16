"""What may go wrong: a grammar of faults, stories made of them by a seed, and how each fault is
carried out.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Final

from scripts.simulation.fleet import STORY, SimulatedFleet
from scripts.simulation.server import NOTICED_SECONDS, RESET_SECONDS, Front, Server, Weather
from sessions.lifecycle.inbox import CheckFailed, Command
from sessions.model import CloseReason as R
from sessions.workers.worker_process import Exit
from tests.fakes import CREDS

EGRESSES: Final = ("direct", "proxy-a", "proxy-b")
HOUR: Final = 3600.0
QUIET_END_SECONDS: Final = 4 * HOUR
"""A story ends with so long a calm: longer than any wait, so that everybody must be back."""

AFTERMATH_SECONDS: Final = 60.0
"""So long after its end a fault may still do something: a socket that is noticed to be dead, a
session that is dropped again.
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: `kind` of KINDS, when it begins and how long it lasts (seconds), which share of the
    sessions it hits; `salt` chooses them.
    """

    kind: str
    at: float
    seconds: float
    share: float
    salt: int

    def words(self) -> str:
        """In a sentence."""
        hours, rest = divmod(self.at, HOUR)
        where = f"{self.share:.0%} of the sessions" if self.share < 1 else "everybody"
        return (
            f"{hours:4.0f} h {rest / 60:04.1f} min: {self.kind} of {where} for {self.seconds:.1f} s"
        )


@dataclass(frozen=True, slots=True)
class Story:
    """A seed for all chance, so many sessions, and what befalls them."""

    seed: int
    sessions: int
    hours: float
    faults: tuple[Fault, ...]

    def as_json(self) -> str:
        """To be replayed with `--story`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Story":
        """See as_json."""
        data = json.loads(text)
        return cls(
            data["seed"],
            data["sessions"],
            data["hours"],
            tuple(Fault(**fault) for fault in data["faults"]),
        )


@dataclass(frozen=True, slots=True)
class Kind:
    """A word of the grammar: how often it comes, how long it lasts and whom it hits."""

    weight: float
    seconds: tuple[float, float]
    share: tuple[float, float]
    act: Callable[["Stage", Fault], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Stage:
    """What faults are done to.

    `helped`: told of each session that an operator takes care of, and with which command.
    """

    server: Server
    fleet: SimulatedFleet
    egress_of: Mapping[str, str]
    rng: random.Random
    helped: Callable[[str, Command], None]
    disturbed: Callable[[float], None]
    """Told until when (loop time) a fault may do something."""
    weather: Callable[[Front, bool], None] = lambda front, begins: None
    """Told of each front that begins (True), and ends."""

    def chosen(self, fault: Fault) -> list[str]:
        """Whom it hits. A fleet made smaller keeps the sessions that it has left."""
        return [
            name
            for name in self.egress_of
            if random.Random(f"{fault.salt} {name}").random() < fault.share
        ]


def invent(seed: int, sessions: int, hours: float, per_hour: float) -> Story:
    """A story of random faults."""
    rng = random.Random(f"story {seed}")
    kinds, weights = list(KINDS), [kind.weight for kind in KINDS.values()]
    faults = []
    last = hours * HOUR - QUIET_END_SECONDS
    for _ in range(max(3, round(hours * per_hour))):
        name = rng.choices(kinds, weights)[0]
        kind = KINDS[name]
        at, seconds = rng.uniform(120, last), _log_uniform(rng, *kind.seconds)
        faults.append(
            Fault(
                name,
                round(at, 3),
                round(seconds, 3),
                round(rng.uniform(*kind.share), 4),
                rng.randrange(1 << 30),
            )
        )
        if rng.random() < 0.5:  # the second fault comes while the first one is being mended
            near = replace(
                faults[-1],
                kind=rng.choices(kinds, weights)[0],
                at=round(at + rng.uniform(0, 90), 3),
            )
            faults.append(_within(near, rng))
    return Story(seed, sessions, hours, tuple(sorted(faults, key=lambda fault: fault.at)))


async def play(stage: Stage, faults: Sequence[Fault]) -> None:
    """Let them come, each at its time; done when the last is over."""
    loop = asyncio.get_running_loop()
    running: list[asyncio.Task[None]] = []
    for fault in faults:
        await asyncio.sleep(max(0.0, fault.at - loop.time()))
        running.append(asyncio.create_task(_carry_out(stage, fault), name=STORY))
    await asyncio.gather(*running)


async def _carry_out(stage: Stage, fault: Fault) -> None:
    stage.disturbed(fault.at + fault.seconds + AFTERMATH_SECONDS)
    await KINDS[fault.kind].act(stage, fault)


def _within(fault: Fault, rng: random.Random) -> Fault:
    kind = KINDS[fault.kind]
    return replace(
        fault,
        seconds=round(_log_uniform(rng, *kind.seconds), 3),
        share=round(rng.uniform(*kind.share), 4),
        salt=rng.randrange(1 << 30),
    )


def _log_uniform(rng: random.Random, low: float, high: float) -> float:
    return low if low == high else float(low * (high / low) ** rng.random())


# --- the network ----------------------------------------------------------------------------------


async def _front(stage: Stage, fault: Fault, front: Front) -> None:
    stage.weather(front, True)
    stage.server.begin(front)
    await asyncio.sleep(fault.seconds)
    stage.server.end(front)
    stage.weather(front, False)


async def _blip(stage: Stage, fault: Fault) -> None:
    stage.server.drop(stage.chosen(fault), R.CONNECTION_CLOSED, (0.0, fault.seconds))


async def _outage_refused(stage: Stage, fault: Fault) -> None:
    stage.server.drop(None, R.CONNECTION_CLOSED, RESET_SECONDS)
    await _front(stage, fault, Front(Weather.REFUSED))


async def _outage_blackholed(stage: Stage, fault: Fault) -> None:
    stage.server.drop(None, R.CONNECTION_LOST, NOTICED_SECONDS)
    await _front(stage, fault, Front(Weather.BLACKHOLED))


def _closed_way(weather: Weather) -> Callable[[Stage, Fault], Awaitable[None]]:
    """Who is open may stay so: a resolver that is away, or a door that is shut, ends no connection.

    Some close meanwhile all the same.
    """

    async def act(stage: Stage, fault: Fault) -> None:
        stage.server.drop(stage.chosen(fault), R.CONNECTION_LOST, NOTICED_SECONDS)
        await _front(stage, fault, Front(weather))

    return act


async def _proxy_away(stage: Stage, fault: Fault) -> None:
    egress = EGRESSES[1 + fault.salt % (len(EGRESSES) - 1)]
    stage.server.drop(None, R.CONNECTION_LOST, RESET_SECONDS, egress)
    await _front(stage, fault, Front(Weather.PROXYLESS, egress=egress))


async def _proxy_outage(stage: Stage, fault: Fault) -> None:
    egress = EGRESSES[fault.salt % len(EGRESSES)]
    stage.server.drop(None, R.CONNECTION_CLOSED, RESET_SECONDS, egress)
    await _front(stage, fault, Front(Weather.REFUSED, egress=egress))


async def _unreachable(stage: Stage, fault: Fault) -> None:
    await _front(stage, fault, Front(Weather.BLACKHOLED, sessions=frozenset(stage.chosen(fault))))


# --- the server -----------------------------------------------------------------------------------


async def _sick(stage: Stage, fault: Fault) -> None:
    """WhatsApp lets a few sessions in as far as their login, and then hangs up on them: their own
    matter, since the way is open.
    """
    chosen = stage.chosen(fault)
    stage.server.drop(chosen, R.CONNECTION_CLOSED, RESET_SECONDS)
    await _front(stage, fault, Front(Weather.TURNED_AWAY, R.CONNECTION_CLOSED, frozenset(chosen)))


async def _slow(stage: Stage, fault: Fault) -> None:
    stage.server.drop(stage.chosen(fault), R.CONNECTION_CLOSED, RESET_SECONDS)
    await _front(stage, fault, Front(Weather.SLOW))


def _turns_away(reason: R) -> Callable[[Stage, Fault], Awaitable[None]]:
    async def act(stage: Stage, fault: Fault) -> None:
        stage.server.drop(stage.chosen(fault), reason, (0.0, 30.0))
        await _front(stage, fault, Front(Weather.TURNED_AWAY, reason))

    return act


def _drops_again(reason: R) -> Callable[[Stage, Fault], Awaitable[None]]:
    async def act(stage: Stage, fault: Fault) -> None:
        chosen = stage.chosen(fault)
        stage.server.drop(chosen, reason, RESET_SECONDS)
        await _front(stage, fault, Front(Weather.DROPPED, reason, frozenset(chosen)))

    return act


def _condemns(reason: R) -> Callable[[Stage, Fault], Awaitable[None]]:
    async def act(stage: Stage, fault: Fault) -> None:
        chosen = stage.chosen(fault)
        for session in chosen:
            stage.server.condemn(
                session, reason, {"expire": "3600"} if reason is R.TEMPORARILY_BANNED else None
            )
        await asyncio.sleep(fault.seconds)
        for session in chosen:
            stage.server.said.pop(session, None)
            await _mended(stage, session)

    return act


# --- our own side ---------------------------------------------------------------------------------


async def _crash(stage: Stage, fault: Fault) -> None:
    for session in stage.chosen(fault):
        for worker in stage.fleet.workers.of(session):
            worker.later(stage.rng.uniform(0, fault.seconds), partial(worker.end, Exit(signal=6)))


async def _hang(stage: Stage, fault: Fault) -> None:
    for session in stage.chosen(fault):
        for worker in stage.fleet.workers.of(session):
            worker.hung = True
    await asyncio.sleep(20.0)
    _checks_fail(stage, stage.chosen(fault), R.WORKER_HUNG)


async def _deaf(stage: Stage, fault: Fault) -> None:
    _checks_fail(stage, stage.chosen(fault), R.DEAF)


def _checks_fail(stage: Stage, sessions: Sequence[str], verdict: R) -> None:
    for session in sessions:
        actor = stage.fleet.actors.get(session)
        if (
            actor is not None
            and actor.core.attempt is not None
            and actor.core.attempt.opened_at is not None
        ):
            actor.core.inbox.put_nowait(CheckFailed(actor.core.attempt.number, verdict))


async def _supervisor_leaves(stage: Stage, fault: Fault) -> None:
    await _restart(stage, fault, stage.fleet.leave)


async def _supervisor_dies(stage: Stage, fault: Fault) -> None:
    await _restart(stage, fault, stage.fleet.die)


async def _machine_dies(stage: Stage, fault: Fault) -> None:
    await _restart(stage, fault, stage.fleet.lose_machine)


async def _restart(stage: Stage, fault: Fault, end: Callable[[], Awaitable[None]]) -> None:
    if stage.fleet.alive:  # else it is being restarted already
        await end()
        await asyncio.sleep(fault.seconds)
        await stage.fleet.begin()


# --- operators ------------------------------------------------------------------------------------


async def _operator(stage: Stage, fault: Fault) -> None:
    for session in stage.chosen(fault):
        command = (Command.FORCE, Command.RESET_BREAKER, Command.STOP)[
            random.Random(f"{fault.salt}{session}").randrange(3)
        ]
        stage.helped(session, command)
        await stage.fleet.ask(session, command)
    await asyncio.sleep(fault.seconds)
    for session in stage.chosen(fault):
        await _mended(stage, session)


async def _mended(stage: Stage, session: str) -> None:
    while not stage.fleet.alive:  # noqa: ASYNC110 - a supervisor that comes is no event here
        await asyncio.sleep(30.0)
    stage.helped(session, Command.START)
    # archived with a logout: it is paired again
    stage.fleet.store.auth.setdefault((session, "creds", "creds"), CREDS)
    await stage.fleet.ask(session, Command.START)


KINDS: Final[Mapping[str, Kind]] = {
    "blip": Kind(3, (0.1, 60), (0.01, 0.15), _blip),
    "great blip": Kind(1, (0.1, 20), (0.3, 1), _blip),
    "outage, refused": Kind(2, (5, 7200), (1, 1), _outage_refused),
    "outage, black-holed": Kind(2, (20, 7200), (1, 1), _outage_blackholed),
    "proxy outage": Kind(2, (5, 3600), (1, 1), _proxy_outage),
    "DNS away": Kind(1, (20, 3600), (0.1, 1), _closed_way(Weather.NAMELESS)),
    "door shut (HTTP 503)": Kind(1, (20, 3600), (0.1, 1), _closed_way(Weather.DOOR_SHUT)),
    "proxy away": Kind(1, (20, 3600), (1, 1), _proxy_away),
    "unreachable sessions": Kind(2, (300, 7200), (0.005, 0.03), _unreachable),
    "sick sessions": Kind(1, (1800, 7200), (0.005, 0.4), _sick),
    "slow server": Kind(2, (30, 3600), (0.05, 1), _slow),
    "503 wave": Kind(2, (5, 3600), (0.05, 1), _turns_away(R.UNAVAILABLE)),
    "500 wave": Kind(1, (5, 3600), (0.05, 1), _turns_away(R.SERVER_ERROR)),
    "429 wave": Kind(2, (5, 1800), (0.02, 0.6), _turns_away(R.RATE_LIMITED)),
    "405 wave": Kind(1, (60, 14400), (0.02, 1), _turns_away(R.CLIENT_OUTDATED)),
    "440 duel": Kind(3, (120, 7200), (0.002, 0.03), _drops_again(R.REPLACED)),
    "flapping": Kind(3, (120, 7200), (0.01, 0.1), _drops_again(R.CONNECTION_CLOSED)),
    "unlinked": Kind(2, (600, 14400), (0.002, 0.02), _condemns(R.LOGGED_OUT)),
    "locked": Kind(1, (600, 14400), (0.002, 0.02), _condemns(R.LOCKED)),
    "banned": Kind(1, (600, 14400), (0.002, 0.02), _condemns(R.BANNED)),
    "banned for an hour": Kind(1, (600, 14400), (0.002, 0.02), _condemns(R.TEMPORARILY_BANNED)),
    "refused registration": Kind(1, (600, 14400), (0.002, 0.02), _condemns(R.REPAIR_NEEDED)),
    "worker crashes": Kind(3, (1, 600), (0.01, 0.3), _crash),
    "hung workers": Kind(2, (1, 1), (0.01, 0.1), _hang),
    "deaf sessions": Kind(1, (1, 1), (0.01, 0.1), _deaf),
    "supervisor stops, workers live on": Kind(2, (0.5, 120), (1, 1), _supervisor_leaves),
    "supervisor is killed, workers live on": Kind(2, (0.5, 120), (1, 1), _supervisor_dies),
    "machine restarts": Kind(1, (5, 300), (1, 1), _machine_dies),
    "operator": Kind(1, (1, 3600), (0.005, 0.02), _operator),
}
"""The grammar.

Waves of the server last minutes to hours (docs/evidence.md#how-long-the-servers-trouble-lasts);
shares of single sessions are small, of waves any.
"""
