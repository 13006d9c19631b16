"""What must hold after every step, whatever goes wrong.

Where it can, it is judged by books of its own, not by the program's.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from scripts.simulation.fleet import Parts, SimulatedFleet
from scripts.simulation.server import SHUT, Client, Front, Passerby, Server, Weather
from scripts.simulation.workers import Login
from sessions import policy
from sessions.lifecycle.actor.core import Core, Life
from sessions.lifecycle.inbox import Command
from sessions.model import AlertChange, EventData
from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from sessions.policy import Decision
from supervisor.gate.bucket import TokenBucket
from supervisor.gate.view import OutageBegan, OutageEnded
from supervisor.gate.way import LOOK_SECONDS

SLACK: Final = 0.01
"""Of a token, or of a second: what rounding may do."""
LONGEST_WAIT_SECONDS: Final = 990.0
"""The long tail with its jitter; no wait but that for the end of a ban is longer."""
LONGEST_OUTDATED_WAIT_SECONDS: Final = 1990.0
"""Of a lone session whose version is rejected: half an hour, with its jitter."""
CONNECTING_SECONDS: Final = 120.0
"""A worker's deadline and its grace, and the same once more for a worker that hangs."""
STARTING_SECONDS: Final = 60.0
CALM_UNTIL_NOBODY_IS_HELD_SECONDS: Final = 45 * 60.0
"""The slowest canary of a 405 (33 minutes) and the line after it."""
CALM_UNTIL_ALL_ARE_BACK_SECONDS: Final = 2.5 * 3600.0
LOGINS_IN_AN_HOUR: Final = 60
"""No session is hammered: the steps of the policy make about a third of it."""
CANARY_APART_SECONDS: Final = {True: 0.75, False: 200.0}
"""The least between two canaries: of an outage, and of a 405."""
CANARY_OVERDUE_SECONDS: Final = {True: 120.0, False: 2300.0}
"""The most while somebody waits: the slowest pace with its jitter, and the deadline of the one
before.
"""
BREAKER_SECONDS: Final = 600.0
BREAKER_THRESHOLD: Final = 5
REPLACED_SECONDS: Final = 30.0
REPLACED_LOGINS: Final = 2
"""After an eviction: so many tries until the session has been stably open again, or an operator has
looked.
"""

COUNTS: Final[Mapping[R, int]] = {
    R.CONNECTION_CLOSED: 1,
    R.CONNECTION_LOST: 1,
    R.NETWORK_UNREACHABLE: 1,
    R.DNS: 1,
    R.TLS_UNTRUSTED: 1,
    R.PROXY: 1,
    R.ATTEMPT_TIMED_OUT: 1,
    R.UNDECRYPTABLE_FRAME: 1,
    R.UPGRADE_REFUSED: 1,
    R.SERVER_ERROR: 1,
    R.UNAVAILABLE: 1,
    R.RATE_LIMITED: 2,
    R.REPLACED: 1,
    R.REPAIR_NEEDED: 1,
    R.UNKNOWN_FAILURE: 1,
}
"""What a close costs, written down a second time: not read from the program's table."""
BACK_SECONDS: Final = 20.0
"""After an outage's end the first session is open within so long, whatever the size of the
fleet.
"""
STABLE_SECONDS: Final = 60.0
LOGINS_IN_AN_OUTAGE: Final = 3
"""Of one session, while nobody can come through."""
SMALL: Final = 5
"""Fewer sessions have always been too few for the number of closes to tell."""
FOR_GOOD: Final = frozenset({R.LOGGED_OUT, R.LOCKED, R.BANNED})


class Broken(Exception):
    """An invariant does not hold."""


@dataclass(slots=True)
class Books:
    """What is known of a session, apart from what the program knows."""

    state: S = S.STOPPED
    since: float = 0.0
    parked_until: float | None = None
    """When parked: until when; infinite: until an operator comes."""
    told_for_good: bool = False
    helped: bool = False
    """An operator has asked for the next login, breaker or not."""
    failures: int = 0
    breaker_until: float | None = None
    trial: bool = False
    baseline: tuple[int, float | None] = (0, None)
    """Failures and breaker when it was last open."""
    evictions: int = 0
    evicted_at: float = -1e9
    logins: deque[float] = field(default_factory=lambda: deque(maxlen=LOGINS_IN_AN_HOUR))
    lost_at: float | None = None
    """Since when it is open here, but not at the server."""


@dataclass(slots=True, eq=False)
class Shut:
    """A front that lets nobody through, over sessions that had all been stably open, and nothing
    else wrong: what becomes of them.
    """

    faults: int
    sessions: frozenset[str]
    closed: dict[str, float] = field(default_factory=dict)
    """When each of them was closed, at last."""
    ended_at: float = float("inf")
    logins: Counter[str] = field(default_factory=Counter)


class Invariants:
    """Looks at every step, and raises Broken through `broken`."""

    def __init__(self, sessions: Mapping[str, str], parts: Parts) -> None:
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.steps = 0
        self.logins = 0
        self.server: Server
        self.fleet: SimulatedFleet
        self.disturbed_until = 0.0
        self._now = asyncio.get_running_loop().time
        self._books = {session: Books() for session in sessions}
        self._egress_of = sessions
        config = parts.gate_config
        self._bucket = TokenBucket.full(config.rate_per_second, config.burst, 0.0)
        self._egress_buckets = {
            egress: TokenBucket.full(
                config.egress_rate_per_second or config.rate_per_second,
                config.egress_burst or config.burst,
                0.0,
            )
            for egress in set(sessions.values())
        }
        self._faults = 0
        self._calm_before = True
        self._shut: dict[Front, Shut] = {}
        self._open_since: dict[str, float] = {}
        self._hold: tuple[str, float] | None = None
        """The fleet's hold: its reason, since when."""
        self._canary: tuple[str, float] | None = None
        self._no_canary_since = 0.0

    # --- told by the server -----------------------------------------------------------------------

    def on_server(self, what: str, client: Client) -> None:
        """A connect, a login, an open or a close, as the server sees it."""
        books = self._books[client.session]
        match what:
            case "connect":
                self._one_owner(client)
                self._parked_stays_parked(client.session, books)
                self._breaker_lets_one_through(client.session, books)
                self._no_fight(client.session, books)
                self._only_canaries(client.session, books)
                books.helped = False
            case "login":
                self.logins += 1
                for shut in self._shut.values():
                    shut.logins[client.session] += 1
                self._rate(client)
                self._not_hammered(client.session, books)
            case "close":
                self._open_since.pop(client.session, None)
                for shut in self._shut.values():
                    shut.closed[client.session] = self._now()
            case "open":
                self._open_since[client.session] = self._now()
                if books.trial:
                    books.trial, books.breaker_until, books.failures = (
                        False,
                        None,
                        BREAKER_THRESHOLD - 1,
                    )
                books.baseline = (books.failures, books.breaker_until)

    def _one_owner(self, client: Client) -> None:
        others = [
            worker.id
            for worker in self.fleet.workers.of(client.session)
            if worker.socket is not None
        ]
        own = client.worker.id if isinstance(client, Login) else None
        if any(other != own for other in others):
            self._break(f"{client.session} has two sockets, of {own} and of {', '.join(others)}")
        if self.fleet.workers.breaches:
            self._break(self.fleet.workers.breaches[0])

    def _rate(self, client: Client) -> None:
        now = self._now()
        for name, bucket in (
            ("the fleet", self._bucket),
            (client.egress, self._egress_buckets[client.egress]),
        ):
            if bucket.available(now) < 1 - SLACK:
                self._break(
                    f"{client.session}: more logins than {bucket.rate:g}/s and a burst of"
                    f" {bucket.burst:g} of {name}"
                )
            bucket.take(now)

    def _parked_stays_parked(self, session: str, books: Books) -> None:
        if (
            books.parked_until is not None
            and self._now() < books.parked_until - SLACK
            and not books.helped
        ):
            self._break(f"{session} is parked, and tries")
        if books.told_for_good and not books.helped:
            self._break(
                f"{session} was told that it is unlinked, locked or banned, and tries again"
            )
        books.parked_until = None

    def _breaker_lets_one_through(self, session: str, books: Books) -> None:
        if books.breaker_until is None:
            return
        if books.trial and not books.helped:
            self._break(
                f"{session}: the breaker lets a second trial through before the first has an"
                " outcome"
            )
        if self._now() < books.breaker_until - SLACK and not books.helped:
            self._break(
                f"{session} tries although its breaker is open for"
                f" {books.breaker_until - self._now():.1f} s"
            )
        books.trial = True

    def _no_fight(self, session: str, books: Books) -> None:
        if not books.evictions or books.helped:
            return
        if books.evictions > REPLACED_LOGINS:
            self._break(f"{session} was evicted {books.evictions} times in a row, and tries again")
        if self._now() - books.evicted_at < REPLACED_SECONDS - SLACK:
            self._break(
                f"{session} tries {self._now() - books.evicted_at:.1f} s after it was evicted"
            )

    def _only_canaries(self, session: str, books: Books) -> None:
        if self._hold is None or books.helped or self._now() <= self._hold[1] + 2 * SLACK:
            return  # who was let through in the instant before it began may still go
        now, outage = self._now(), self._is_outage
        if self._canary is not None:
            last, at = self._canary
            if now - at < CANARY_APART_SECONDS[outage]:
                self._break(
                    f"{session} tries {now - at:.2f} s after {last}, although the fleet is held:"
                    f" {self._hold[0]}"
                )
            if last == session and self._held(now) >= 5:
                self._break(f"{session} is the canary twice in a row, although others wait")
        self._canary, self._no_canary_since = (session, now), now

    def _not_hammered(self, session: str, books: Books) -> None:
        now = self._now()
        if self._hold is not None and len(self._books) >= SMALL:
            # canaries have a pace of their own; where they are few, it is always the same ones
            return
        if len(books.logins) == LOGINS_IN_AN_HOUR and books.logins[0] > now - 3600:
            self._break(
                f"{session} has logged in more than {LOGINS_IN_AN_HOUR} times within an hour"
            )
        books.logins.append(now)

    # --- told by actors ---------------------------------------------------------------------------

    def begun(self, fleet: SimulatedFleet) -> None:
        """A supervisor has taken the fleet up: what its predecessor had under way has no outcome
        any more, and no hold outlives it.
        """
        for books in self._books.values():
            books.trial, books.state, books.since = False, S.STOPPED, self._now()
        self._hold = self._canary = None

    def judged(self, session: str, reason: R, decision: Decision) -> None:
        """A close has been judged."""
        books, now = self._books[session], self._now()
        if not decision.covered:
            self._charge(books, reason, decision, now)
        books.trial = False
        if reason is R.REPLACED:
            books.evictions += 1
            books.evicted_at = now
        books.told_for_good = books.told_for_good or reason in FOR_GOOD
        wait = decision.wait_seconds
        if decision.action is policy.Action.RETRY and not (
            wait is not None and 0 <= wait <= LONGEST_WAIT_SECONDS
        ):
            self._break(f"{session} waits {wait} s after {reason}: {decision.rule}")

    def _charge(self, books: Books, reason: R, decision: Decision, now: float) -> None:
        count = COUNTS.get(reason, 0)
        books.failures += count
        if count and (
            books.trial or (books.failures >= BREAKER_THRESHOLD and books.breaker_until is None)
        ):
            books.breaker_until = now + BREAKER_SECONDS
        if reason is R.REPLACED and decision.action is policy.Action.PARK:
            books.breaker_until = now + BREAKER_SECONDS

    def uncharged(self, session: str) -> None:
        """What an outage had charged it was taken back."""
        books = self._books[session]
        books.failures, books.breaker_until = books.baseline
        books.trial = False

    def stable(self, session: str) -> None:
        """It has been open for a minute."""
        books = self._books[session]
        books.failures, books.breaker_until, books.evictions, books.trial = 0, None, 0, False
        books.baseline = (0, None)

    def failed(self, session: str, why: str) -> None:
        """An error of the program's own."""
        self._break(f"{session}: {why}")

    def published(self, told: EventData | AlertChange) -> None:
        """Holds of the fleet begin and end."""
        if isinstance(told, OutageBegan) and told.scope == "fleet":
            self._hold, self._canary, self._no_canary_since = (
                (told.reason, self._now()),
                None,
                self._now(),
            )
        elif isinstance(told, OutageEnded) and told.scope == "fleet":
            self._hold = None

    def stepped(self, core: Core) -> None:
        """An actor has dealt with an event."""
        self.steps += 1
        books = self._books[core.id]
        if core.state is not books.state:
            books.state, books.since = core.state, self._now()
            if core.state is S.CONNECTING:  # the server never hears of a canary whose worker hangs
                self._no_canary_since = self._now()
            if core.state is S.PARKED:
                books.parked_until = (
                    core.next_attempt_at if core.next_attempt_at is not None else float("inf")
                )
        if core.life is Life.RUNNING:
            self._not_forgotten(core, books)

    def _not_forgotten(self, core: Core, books: Books) -> None:
        now, due = self._now(), core.next_attempt_at
        match core.state:
            case S.STARTING | S.HELD:
                well = not core.pending.idle
            case S.CONNECTING | S.QR:
                well = core.attempt is not None and (
                    core.pending.owes or not core.inbox.empty() or self._dying(core)
                )
            case S.OPEN:
                well = core.attempt is not None
            case S.WAITING:
                alone = core.reconnection().close_reason is R.CLIENT_OUTDATED
                longest = LONGEST_OUTDATED_WAIT_SECONDS if alone else LONGEST_WAIT_SECONDS
                well = not core.pending.idle and due is not None and due <= now + longest
            case S.PARKED:
                well = core.reconnection().close_reason is not None and (
                    due is None or not core.pending.idle
                )
            case _:
                well = True
        if not well:
            self._break(
                f"{core.id} is forgotten: {core.state}, next try {due}, a step under way:"
                f" {not core.pending.idle}"
            )

    @staticmethod
    def _dying(core: Core) -> bool:
        return core.attempt is not None and core.attempt.verdict is not None

    # --- told by operators, and looked at from time to time ---------------------------------------

    def helped(self, session: str, command: Command) -> None:
        """An operator takes care of it."""
        books = self._books[session]
        books.helped = True
        if command is not Command.RESET_BREAKER:
            # that forgets failures, and nothing that the server has answered
            books.evictions = 0
        if command is Command.START:
            books.parked_until, books.told_for_good = None, False
        if command is Command.RESET_BREAKER:
            books.failures = 0
            books.breaker_until, books.baseline = None, (0, None)

    def disturbed(self, until: float) -> None:
        """A fault may do something until then."""
        self._faults += 1
        self._calm_before = self._now() >= self.disturbed_until
        self.disturbed_until = max(self.disturbed_until, until)

    def weather(self, front: Front, begins: bool) -> None:
        """A front begins or ends."""
        if not begins:
            shut = self._shut.pop(front, None)
            if shut is not None:
                shut.ended_at = self._now()
                asyncio.get_running_loop().call_later(BACK_SECONDS, self._are_back, shut)
            return
        if not self._calm_before or (
            front.weather is not Weather.BLACKHOLED and front.weather not in SHUT
        ):
            return
        under = frozenset(
            session
            for session in self._books
            if front.over(Passerby(session, self._egress_of[session]))
        )
        now = self._now()
        if self.fleet.alive and all(
            now - self._open_since.get(s, now) >= STABLE_SECONDS for s in self._books
        ):
            self._shut[front] = Shut(self._faults, under)

    def _are_back(self, shut: Shut) -> None:
        if shut.faults != self._faults or not self.fleet.alive:
            return  # something else has gone wrong since
        down = sorted(shut.closed.keys() & shut.sessions)
        if down and not any(session in self.server.open for session in down):
            self._break(
                f"{BACK_SECONDS:g} s after the end of an outage none of those whom it closed is"
                f" open: {', '.join(down[:5])}"
            )
        for session in down:
            books = self._books[session]
            # One failure is charged to whom it closed in its last seconds, if no look has found the
            # way closed since: the first look after that finds it open again, and nobody can tell
            # this session from one that was closed alone.
            closed_at = shut.closed[session]
            seen_at = self.server.found_closed.get(self._egress_of[session], float("-inf"))
            unseen = int(seen_at < closed_at >= shut.ended_at - LOOK_SECONDS)
            if books.breaker_until is not None or books.failures > unseen:
                self._break(
                    f"{session}: an outage was charged to its breaker ({books.failures} failures)"
                )
            if shut.logins[session] > LOGINS_IN_AN_OUTAGE:
                self._break(
                    f"{session} has logged in {shut.logins[session]} times in an outage in which"
                    " nobody could"
                )

    def sweep(self) -> None:
        """Look at all sessions: nobody stays anywhere for ever."""
        if not self.fleet.alive:
            return
        now = self._now()
        calm = max(0.0, now - self.disturbed_until) if self.server.calm else 0.0
        for actor in self.fleet.actors.values():
            self._overdue(actor.core, self._books[actor.core.id], now, calm)
        if (
            self._hold is not None
            and self._held(now)
            and now - self._no_canary_since > CANARY_OVERDUE_SECONDS[self._is_outage]
        ):
            self._break(
                "the fleet is held, and no canary has tried for"
                f" {now - self._no_canary_since:.0f} s"
            )

    def _overdue(self, core: Core, books: Books, now: float, calm: float) -> None:
        for_seconds = now - books.since
        match core.state:
            case S.CONNECTING if for_seconds > CONNECTING_SECONDS:
                self._break(f"{core.id} has been connecting for {for_seconds:.0f} s")
            case S.STARTING if for_seconds > STARTING_SECONDS:
                self._break(f"{core.id} has been starting for {for_seconds:.0f} s")
            case S.WAITING if core.next_attempt_at is None or core.next_attempt_at < now - SLACK:
                self._break(f"{core.id} waits, but not for a time to come: {core.next_attempt_at}")
            case S.HELD if min(calm, for_seconds) > CALM_UNTIL_NOBODY_IS_HELD_SECONDS:
                self._break(
                    f"{core.id} is held for {for_seconds:.0f} s, {calm:.0f} of them without a cause"
                )
            case S.OPEN:
                self._open_at_the_server(core, books, now)
            case S.PARKED | S.STOPPED:
                return
            case _ if calm > CALM_UNTIL_ALL_ARE_BACK_SECONDS:
                self._break(
                    f"{core.id} is {core.state} although nothing has been wrong for {calm:.0f} s"
                )
            case _:
                return

    def _open_at_the_server(self, core: Core, books: Books, now: float) -> None:
        if core.id in self.server.open:
            books.lost_at = None
        elif books.lost_at is None:
            books.lost_at = now
        elif now - books.lost_at > CONNECTING_SECONDS:
            self._break(
                f"{core.id} shows open, and the server has known nothing of it for"
                f" {now - books.lost_at:.0f} s"
            )

    @property
    def _is_outage(self) -> bool:
        return self._hold is not None and self._hold[0] != R.CLIENT_OUTDATED

    def _held(self, now: float) -> int:
        """Sessions that have been held long enough to be the canary."""
        return sum(
            books.state is S.HELD and now - books.since > 1 for books in self._books.values()
        )

    def _break(self, what: str) -> None:
        if not self.broken.done():
            self.broken.set_exception(Broken(f"{self._now() / 3600:.4f} h: {what}"))
