"""WhatsApp, played: what it says to whom, what it has seen, and the network between.

A *front* is a stretch of bad weather over some sessions: while it lasts, it decides what becomes of
their connects, logins and open sockets. Round trips are drawn from ranges that are plausible on the
Internet; nobody has measured them for us, and they are the same for everybody who is compared.
"""

import asyncio
import enum
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from weakref import WeakSet

from sessions.model import CloseReason as R
from supervisor.gate.way import LOOK_SECONDS, Look

REACH_SECONDS: Final = (0.05, 0.2)
"""From `connect` to the login on the wire: TCP, TLS, WebSocket, noise."""
ANSWER_SECONDS: Final = (0.1, 0.3)
"""From the login to its answer."""
SYN_SECONDS: Final = (1.0, 3.0, 7.0, 15.0)
"""When a connect that nobody answers is tried again by the kernel (Linux: tcp_syn_retries, doubling
from 1 s).
"""
HANDSHAKE_SECONDS: Final = 20.0
"""And when a client gives it up: Baileys' connectTimeoutMs, whatsmeow's too."""
REFUSED_SECONDS: Final = (0.15, 0.35)
"""Until a connect that is refused says so."""
SLOW_REACH_SECONDS: Final = (0.5, 6.0)
SLOW_ANSWER_SECONDS: Final = (1.0, 40.0)
NOTICED_SECONDS: Final = (5.0, 35.0)
"""Until an open socket that died without a word is noticed: wasup's probe interval and deadline
(plain Baileys takes 60 to 90 s).
"""
RESET_SECONDS: Final = (0.0, 2.0)
"""The sockets of a network that fails loudly end within so long."""
EVICTED_SECONDS: Final = (5.0, 50.0)
"""How long after our login the other holder of a device's keys logs in again, or a flapping session
is dropped again.
"""


class Going(Protocol):
    """Whoever goes to the server: whose way, and which."""

    session: str
    egress: str


@dataclass(slots=True)
class Passerby:
    """A look: it goes no further than the door."""

    session: str
    egress: str


class Client(Going, Protocol):
    """One attempt of a session, and the socket after it."""

    @property
    def ended(self) -> bool:
        """Whether nobody is there any more to be told anything."""

    def on_login(self) -> None:
        """The login is on the wire."""

    def on_open(self) -> None:
        """It is accepted."""

    def on_close(self, reason: R, data: dict[str, str] | None = None) -> None:
        """It has ended."""


class Weather(enum.Enum):
    """What a front does."""

    REFUSED = "connects are refused"
    NAMELESS = "the name cannot be looked up"
    PROXYLESS = "the proxy is away"
    DOOR_SHUT = "the upgrade is answered with 503"
    BLACKHOLED = "connects and open sockets meet silence"
    SLOW = "answers take long"
    TURNED_AWAY = "logins are turned away"
    DROPPED = "open sockets are closed again soon after"


@dataclass(frozen=True, slots=True)
class Front:
    """A stretch of weather over some sessions (None: over all) or one egress (None: any).

    `reason`: what turns away and drops.
    """

    weather: Weather
    reason: R = R.CONNECTION_CLOSED
    sessions: frozenset[str] | None = None
    egress: str | None = None
    data: tuple[tuple[str, str], ...] = ()

    def over(self, client: Going) -> bool:
        """Whether the client is under it."""
        return (self.sessions is None or client.session in self.sessions) and self.egress in {
            None,
            client.egress,
        }


SHUT: Final[Mapping[Weather, R]] = {
    Weather.REFUSED: R.NETWORK_UNREACHABLE,
    Weather.NAMELESS: R.DNS,
    Weather.PROXYLESS: R.PROXY,
    Weather.DOOR_SHUT: R.UNAVAILABLE,
}
"""Weather in which no attempt comes as far as its login, and what it is told."""

Watcher = Callable[[str, Client], None]
"""Told of each `connect`, `login`, `open` and `close`, before the client is."""


class Server:
    """The server, and the network in front of it."""

    def __init__(self, rng: random.Random, watch: Watcher) -> None:
        self.open: dict[str, Client] = {}
        """Logged in, by session."""
        self.said: dict[str, R] = {}
        """What the server has told a session of itself for good (unlinked, banned ...), until
        somebody mends it.
        """
        self.found_closed: dict[str, float] = {}
        """When a look has last found the way of an egress closed."""
        self._fronts: list[Front] = []
        self._reached: WeakSet[Client] = WeakSet()
        """Whose connect was answered."""
        self._rng = rng
        self._watch = watch
        self._loop = asyncio.get_running_loop()

    # --- weather ----------------------------------------------------------------------------------

    def begin(self, front: Front) -> None:
        """Bad weather comes up.

        What it does to sockets that are open by then is the fault's to say.
        """
        self._fronts.append(front)

    def end(self, front: Front) -> None:
        """It is over."""
        if front in self._fronts:
            self._fronts.remove(front)

    @property
    def calm(self) -> bool:
        """Whether there is no bad weather."""
        return not self._fronts

    def drop(
        self,
        sessions: Collection[str] | None,
        reason: R,
        within: tuple[float, float],
        egress: str | None = None,
    ) -> None:
        """The open sockets of these sessions (None: of all) end within so many seconds."""
        for session in sorted(self.open if sessions is None else set(sessions) & self.open.keys()):
            client = self.open[session]
            if egress in {None, client.egress}:
                self._later(within, self._close, client, reason)

    def condemn(self, session: str, reason: R, data: dict[str, str] | None = None) -> None:
        """The server has this to say to a session, now if it is open, and at each login until it is
        mended.
        """
        self.said[session] = reason
        if session in self.open:
            self._close(self.open[session], reason, data)

    # --- what clients do --------------------------------------------------------------------------

    def connect(self, client: Client) -> None:
        """A client begins an attempt."""
        self._watch("connect", client)
        if self._under(client, Weather.BLACKHOLED):
            for again in SYN_SECONDS:
                self._loop.call_later(again, self._knock, client)
            self._loop.call_later(HANDSHAKE_SECONDS, self._give_up, client)
            return
        self._reach(client)

    def _knock(self, client: Client) -> None:
        """The kernel sends its SYN again."""
        if (
            not client.ended
            and client not in self._reached
            and not self._under(client, Weather.BLACKHOLED)
        ):
            self._reach(client)

    def _give_up(self, client: Client) -> None:
        if client not in self._reached:
            self._close(client, R.NETWORK_UNREACHABLE)
        self._reached.discard(client)

    def _reach(self, client: Client) -> None:
        self._reached.add(client)
        shut = self._shut(client)
        if shut is not None:
            self._later(REFUSED_SECONDS, self._close, client, shut)
            return
        slow = self._under(client, Weather.SLOW)
        self._later(SLOW_REACH_SECONDS if slow else REACH_SECONDS, self._login, client)

    async def look(self, session: str, egress: str) -> Look:
        """The way as far as the upgrade, as supervisor/gate/way_probe.py goes it."""
        going = Passerby(session, egress)
        began = self._loop.time()
        for again in (*SYN_SECONDS, LOOK_SECONDS):
            if not self._under(going, Weather.BLACKHOLED):
                break
            await asyncio.sleep(min(began + again, began + LOOK_SECONDS) - self._loop.time())
            if self._loop.time() >= began + LOOK_SECONDS:
                self.found_closed[egress] = self._loop.time()
                return Look("closed", "no answer", R.NETWORK_UNREACHABLE)
        shut = self._shut(going)
        if shut is not None:
            await asyncio.sleep(self._rng.uniform(*REFUSED_SECONDS))
            self.found_closed[egress] = self._loop.time()
            return Look("closed", shut.value, shut)
        slow = self._under(going, Weather.SLOW)
        await asyncio.sleep(self._rng.uniform(*(SLOW_REACH_SECONDS if slow else REACH_SECONDS)))
        return Look("open", "WhatsApp can be reached")

    def gone(self, client: Client) -> None:
        """The client's side of the socket is closed."""
        if self.open.get(client.session) is client:
            del self.open[client.session]
            self._watch("close", client)

    def _login(self, client: Client) -> None:
        if client.ended or self._fell_silent(client):
            return
        self._watch("login", client)
        client.on_login()
        slow = self._under(client, Weather.SLOW)
        self._later(SLOW_ANSWER_SECONDS if slow else ANSWER_SECONDS, self._answer, client)

    def _answer(self, client: Client) -> None:
        if client.ended or self._fell_silent(client):
            return
        condemned = self.said.get(client.session)
        if condemned is not None:
            self._close(
                client, condemned, {"expire": "3600"} if condemned is R.TEMPORARILY_BANNED else None
            )
        elif (turned_away := self._under(client, Weather.TURNED_AWAY)) is not None:
            self._close(client, turned_away.reason)
        else:
            self.open[client.session] = client
            self._watch("open", client)
            client.on_open()
            dropping = self._under(client, Weather.DROPPED)
            if dropping is not None:
                self._later(EVICTED_SECONDS, self._close, client, dropping.reason)

    def _fell_silent(self, client: Client) -> bool:
        """Whether the network went away under an attempt."""
        if self._under(client, Weather.REFUSED):
            self._close(client, R.NETWORK_UNREACHABLE)
            return True
        return self._under(client, Weather.BLACKHOLED) is not None

    def _close(self, client: Client, reason: R, data: dict[str, str] | None = None) -> None:
        if not client.ended:
            self.gone(client)
            client.on_close(reason, data)

    def _shut(self, going: Going) -> R | None:
        """What an attempt is told before its login, if it is told anything."""
        if not self._fronts:
            return None
        return next(
            (
                SHUT[front.weather]
                for front in self._fronts
                if front.weather in SHUT and front.over(going)
            ),
            None,
        )

    def _under(self, client: Going, weather: Weather) -> Front | None:
        if not self._fronts:
            return None
        return next(
            (front for front in self._fronts if front.weather is weather and front.over(client)),
            None,
        )

    def _later(self, between: tuple[float, float], act: Callable[..., None], *args: object) -> None:
        self._loop.call_later(self._rng.uniform(*between), act, *args)
