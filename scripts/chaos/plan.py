"""The plan: which fault strikes whom, with which numbers. A pure function of the seed.

Each step has dice of its own, thrown from the seed and the step's number. So a plan of 300 steps
begins with the plan of 30 steps, and a step can be replayed without knowing how often the dice fell
before it.
"""

import enum
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

MAX_PAUSE_SECONDS: Final = 1.0

Parameters = Mapping[str, Any]
Rng = random.Random


class Promise(enum.StrEnum):
    """What WhatsApp may see of a fault."""

    UNNOTICED = "no login and no logout: WhatsApp does not notice"
    HEALS = "sessions may close, and come back within the bound"
    OUTAGE = (
        "sessions wait for the way at nobody's charge, and come back with it; who has another way"
        " notices nothing"
    )


@dataclass(frozen=True, slots=True)
class Hit:
    """Whom a fault strikes (numbers of sessions), and with which parameters."""

    victims: tuple[int, ...] = ()
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the plan. The pause: how long all is looked at once more after it has healed."""

    number: int
    fault: str
    hit: Hit
    pause_seconds: float

    def __str__(self) -> str:
        values = " ".join(f"{name}={value}" for name, value in self.hit.parameters.items())
        return f"{self.fault} {values}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A row of the table.

    `weight`: how often it comes, beside the others. `bound_seconds`: all sessions are open that
    long after its end.

    `fewest`: in a smaller fleet it does not come.
    """

    name: str
    weight: int
    draw: Callable[[Rng, int], Hit]
    about: str
    bound_seconds: float = 60.0
    promise: Promise = Promise.HEALS
    fewest: int = 1


# --- how parameters are drawn ---------------------------------------------------------------------


def seconds(rng: Rng, least: float, most: float) -> float:
    """A time, written short enough to be read."""
    return round(rng.uniform(least, most), 2)


def nobody(_rng: Rng, _sessions: int) -> Hit:
    """It is about no session in particular."""
    return Hit()


def one(rng: Rng, sessions: int) -> Hit:
    """One session."""
    return Hit((rng.randrange(sessions),))


def everybody(_rng: Rng, sessions: int) -> Hit:
    """All sessions."""
    return Hit(tuple(range(sessions)))


def by_proxy(sessions: int) -> tuple[int, ...]:
    """Who goes through the campaign's own proxy: every second one, and nobody who is alone."""
    return tuple(range(1, sessions, 2))


def all_by_proxy(_rng: Rng, sessions: int) -> Hit:
    """Who goes through the proxy."""
    return Hit(by_proxy(sessions))


def all_by_name(_rng: Rng, sessions: int) -> Hit:
    """Who looks WhatsApp's name up himself: of the others, the proxy does it."""
    return Hit(tuple(range(0, sessions, 2)))


def one_or_all(rng: Rng, sessions: int) -> Hit:
    """One session, or, one time in four, all."""
    return everybody(rng, sessions) if rng.random() < 0.25 else one(rng, sessions)


def _with(
    whom: Callable[[Rng, int], Hit], **draws: Callable[[Rng], Any]
) -> Callable[[Rng, int], Hit]:
    """Victims drawn so, and parameters drawn by these."""

    def draw(rng: Rng, sessions: int) -> Hit:
        victims = whom(rng, sessions).victims
        return Hit(victims, {name: of(rng) for name, of in draws.items()})

    return draw


def _of(*choices: Any) -> Callable[[Rng], Any]:
    return lambda rng: rng.choice(choices)


def _between(least: float, most: float) -> Callable[[Rng], float]:
    return lambda rng: seconds(rng, least, most)


def _sometimes_none(draw: Callable[[Rng], Any]) -> Callable[[Rng], Any]:
    """One time in three nothing: the fault is never taken back."""
    return lambda rng: None if rng.random() < 1 / 3 else draw(rng)


# --- the table ------------------------------------------------------------------------------------

UNNOTICED: Final = Promise.UNNOTICED
OUTAGE_SECONDS: Final = (20.0, 60.0)
"""Long enough that every session has tried, and would have been charged."""

FAULTS: Final[Sequence[Fault]] = (
    Fault(name="worker-kill", weight=6, draw=one, about="kill -9 of a worker"),
    Fault(
        name="worker-stop",
        weight=5,
        draw=_with(one, seconds=_sometimes_none(_between(0.2, 8))),
        about="SIGSTOP of a worker; SIGCONT later, or never",
    ),
    Fault(name="worker-flood", weight=3, draw=one, about="a worker floods its line with frames"),
    Fault(
        name="all-workers-kill", weight=2, draw=everybody, about="kill -9 of all workers at once"
    ),
    Fault(
        name="supervisor-kill",
        weight=8,
        draw=_with(nobody, down=_between(0.2, 3)),
        about="kill -9 of the supervisor, and its start",
        promise=UNNOTICED,
    ),
    Fault(
        name="supervisor-restart",
        weight=3,
        draw=_with(nobody, down=_between(0.0, 1)),
        about="SIGTERM of the supervisor (detached), and its start",
        promise=UNNOTICED,
    ),
    Fault(
        name="supervisor-stop",
        weight=5,
        draw=_with(nobody, seconds=_between(1, 8)),
        about="SIGSTOP of the supervisor, then SIGCONT",
        promise=UNNOTICED,
    ),
    Fault(
        name="both-kill",
        weight=5,
        draw=_with(one, first=_of("worker", "supervisor"), down=_between(0.2, 3)),
        about="kill -9 of the supervisor and a worker at once",
    ),
    Fault(
        name="both-stop",
        weight=3,
        draw=_with(one, seconds=_between(0.5, 8), worker_seconds=_sometimes_none(_between(0.0, 8))),
        about="SIGSTOP of the supervisor and a worker at once",
    ),
    Fault(
        name="drop",
        weight=6,
        draw=_with(one_or_all, how=_of("fin", "reset")),
        about="the TCP connection ends",
    ),
    Fault(
        name="blackhole",
        weight=4,
        draw=one_or_all,
        about="nothing is read or answered, the connection stays",
    ),
    Fault(
        name="stream-error",
        weight=6,
        draw=_with(one_or_all, code=_of(428, 500, 503, 515, None)),
        about="a stream error of the server",
    ),
    Fault(
        name="bad-frame",
        weight=3,
        draw=one_or_all,
        about="a frame from the server that does not decrypt",
    ),
    Fault(
        name="truncated-frame",
        weight=3,
        draw=one_or_all,
        about="a websocket frame cut in the middle, then the end of TCP",
    ),
    Fault(
        name="door-shut",
        weight=2,
        draw=_with(everybody, how=_of("503", "reset", "away"), seconds=_between(*OUTAGE_SECONDS)),
        about=(
            "everything drops, and WhatsApp's front door refuses: by HTTP, by a reset, or nobody"
            " listens"
        ),
        promise=Promise.OUTAGE,
    ),
    Fault(
        name="proxy-away",
        weight=2,
        draw=_with(all_by_proxy, seconds=_between(*OUTAGE_SECONDS)),
        about="the proxy of every second session is away",
        promise=Promise.OUTAGE,
        fewest=2,
    ),
    Fault(
        name="dns-away",
        weight=2,
        draw=_with(all_by_name, seconds=_between(*OUTAGE_SECONDS)),
        about="everything that needs it drops, and WhatsApp's name is unknown",
        promise=Promise.OUTAGE,
    ),
    Fault(
        name="garbage",
        weight=4,
        draw=_with(
            nobody,
            kind=_of("bytes", "half-frame", "wrong-token", "long-line", "silence"),
            size=lambda rng: rng.randrange(100, 400),
        ),
        about="garbage on the supervisor's Unix socket",
        promise=UNNOTICED,
    ),
    Fault(
        name="impostor",
        weight=2,
        draw=_with(nobody, kind=_of("bytes", "half-frame", "silence"), seconds=_between(0.5, 3)),
        about="the supervisor is killed, and somebody else listens on its socket for a while",
    ),
    Fault(
        name="disk-full",
        weight=4,
        draw=_with(nobody, seconds=_between(1, 5)),
        about="no file of the supervisor may grow",
        promise=UNNOTICED,
    ),
    Fault(
        name="store-locked",
        weight=4,
        draw=_with(nobody, seconds=_between(1, 12)),
        about="another process holds the database's lock",
        promise=UNNOTICED,
    ),
    Fault(
        name="clock-step",
        weight=4,
        draw=_with(
            nobody,
            offset=_of(-86_400, -3_600, 3_600, 86_400),
            back_after=_sometimes_none(_between(0.5, 5)),
        ),
        about="the supervisor's wall clock jumps by an hour or a day",
        promise=UNNOTICED,
    ),
    Fault(
        name="flood",
        weight=3,
        draw=_with(one, texts=lambda rng: rng.randrange(200, 501)),
        about="hundreds of texts at once to a session",
        bound_seconds=90.0,
        promise=UNNOTICED,
    ),
    Fault(
        name="no-forks",
        weight=3,
        draw=_with(one_or_all, seconds=_between(1, 8)),
        about="workers are killed while the machine refuses new processes",
    ),
    Fault(
        name="no-descriptors",
        weight=3,
        draw=_with(one_or_all, seconds=_between(1, 8)),
        about="workers are killed while the supervisor's descriptors are used up",
    ),
    Fault(
        name="unkillable",
        weight=3,
        draw=_with(one, seconds=_between(5, 20)),
        about=(
            "a worker is killed and does not end: it keeps its socket, and nobody else may log in"
        ),
    ),
    Fault(
        name="failing-looks",
        weight=2,
        draw=_with(nobody, seconds=_between(4, 12)),
        about="a task that runs for ever throws at each turn",
        promise=UNNOTICED,
    ),
    Fault(
        name="api-flood",
        weight=2,
        draw=_with(nobody, calls=lambda rng: rng.randrange(200, 801)),
        about="hundreds of API calls at once, good and bad",
        promise=UNNOTICED,
    ),
    Fault(
        name="monitor-hung",
        weight=2,
        draw=nobody,
        about=(
            "cron's monitor meets an API that hangs and a pm2 that cures nothing: it has to say so,"
            " and to end"
        ),
        promise=UNNOTICED,
    ),
)

BY_NAME: Final[Mapping[str, Fault]] = {fault.name: fault for fault in FAULTS}


def plan(seed: int, steps: int, sessions: int, only: Sequence[str] = ()) -> list[Step]:
    """The steps 1 to `steps`, of all faults or only of some."""
    table = [
        fault for fault in FAULTS if sessions >= fault.fewest and (not only or fault.name in only)
    ]
    return [_step(seed, number, sessions, table) for number in range(1, steps + 1)]


def _step(seed: int, number: int, sessions: int, table: Sequence[Fault]) -> Step:
    rng = Rng(f"{seed}/{number}")
    (fault,) = rng.choices(table, weights=[fault.weight for fault in table])
    return Step(number, fault.name, fault.draw(rng, sessions), seconds(rng, 0.0, MAX_PAUSE_SECONDS))
