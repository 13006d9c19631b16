"""What the API was asked and how long it took: figures by route and by caller, and `requests.log`.

A call that waits or takes long on purpose (a long poll, a stream, a QR, a report) is counted, and
is no part of how long calls take.
"""

import time
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sessions.records.distribution import Distribution
from sessions.views.times import iso
from supervisor.history.series import Key, buckets_of
from supervisor.history.tiers import DAY
from supervisor.process.log_files import LogFile

SERVICE: Final = "wasup"
MOST_CALLERS: Final = 1_000
"""Callers with figures of their own; those of further ones are summed up as `OTHERS`."""
FORGOTTEN_SECONDS: Final = DAY
"""Who has not called for so long has no figures any more, and leaves its place to another."""
OTHERS: Final = "(others)"
LONGEST_AGENT: Final = 200
"""Characters of a User-Agent."""
KNOWN_AGENTS: Final = 64
"""So many are looked through for secrets once."""


class Served(NamedTuple):
    """A call that has been answered.

    `path`: as the URL table has it, never what was asked for: that may hold a secret. `caller`: its
    id and its name; None: it was not let in, or the call is open to all. `waited`: it was a call
    that waits, or takes long on purpose.
    """

    method: str
    path: str
    caller: tuple[str, str] | None
    status: int
    seconds: float
    waited: bool
    agent: str | None
    address: str | None


class Requests:
    """Counts calls, and writes them down. `file`: requests.log; None: it is not written.

    `hide`: cuts secrets out of what a caller says of itself. `clock`: seconds.
    """

    def __init__(
        self,
        file: LogFile | None,
        hide: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._clock = clock
        self._hide = lru_cache(KNOWN_AGENTS)(hide)
        self._routes: dict[str, _Counted] = {}
        self._callers: dict[str, _Counted] = {}
        self._called: dict[str, float] = {}
        """When each caller did so last."""

    def served(self, call: Served) -> None:
        """A call has been answered."""
        # A stranger may ask for what there is not, by whatever method: that is one route.
        route = f"{call.method} {call.path}" if call.path.startswith("/") else call.path
        _of(self._routes, route).add(call)
        if call.caller is not None:
            who = call.caller[0]
            if who not in self._callers and len(self._callers) >= MOST_CALLERS:
                who = OTHERS
            _of(self._callers, who).add(call)
            self._called[who] = self._clock()
        if self._file is not None:
            self._file.write(self._line(call))

    def figures(self) -> dict[Key, float]:
        """The totals since the supervisor started (a Source)."""
        self._forget()
        figures: dict[Key, float] = {}
        whole = Counter[int]()
        for route, counted in self._routes.items():
            figures |= counted.figures("route", route)
            figures |= buckets_of("route.response_ms", route, counted.took.counts)
            whole += counted.took.counts
        figures |= buckets_of("api.response_ms", None, whole)
        for caller, counted in self._callers.items():
            figures |= counted.figures("key", caller)
        return figures

    def _forget(self) -> None:
        """Those who have not called for long."""
        before = self._clock() - FORGOTTEN_SECONDS
        for caller in [one for one, at in self._called.items() if at < before]:
            del self._called[caller], self._callers[caller]

    def _line(self, call: Served) -> dict[str, Any]:
        line: dict[str, Any] = {
            "timestamp": iso(time.time()),
            "level": "INFO" if call.status < 400 else "WARNING" if call.status < 500 else "ERROR",
            "service": SERVICE,
            "method": call.method,
            "endpoint": call.path,
            "user_id": None if call.caller is None else call.caller[1],
            "response_time": round(call.seconds, 6),
            "status_code": call.status,
            "user_agent": None if call.agent is None else self._hide(call.agent[:LONGEST_AGENT]),
            "ip_address": call.address,
        }
        if call.waited:
            line["waited"] = True
        return line


class _Counted:
    """Calls of one route, or of one caller."""

    __slots__ = ("errors", "refused", "requests", "seconds", "took")

    def __init__(self) -> None:
        self.requests = self.refused = self.errors = 0
        self.seconds = 0.0
        self.took = Distribution()

    def add(self, call: Served) -> None:
        """One more."""
        self.requests += 1
        if call.status >= 500:
            self.errors += 1
        elif call.status >= 400:
            self.refused += 1
        if not call.waited:
            self.seconds += call.seconds
            self.took.add(1000 * call.seconds)

    def figures(self, subject: str, name: str) -> dict[Key, float]:
        """The same as figures of that kind of subject."""
        return {
            (f"{subject}.requests", name): self.requests,
            (f"{subject}.refused", name): self.refused,
            (f"{subject}.errors", name): self.errors,
            (f"{subject}.seconds", name): self.seconds,
        }


def _of(counted: dict[str, _Counted], name: str) -> _Counted:
    found = counted.get(name)
    if found is None:
        found = counted[name] = _Counted()
    return found
