"""What a login costs in CPU time on this host, and what an open session costs at rest: measured on
the way, from what the sessions tell.

Notified of every change of state; at `connecting` and at `open` it looks at the CPU time of the
session's worker. Nothing is asked of the workers.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Final

from sessions.model import SessionId, SessionState
from sessions.records.changes import Changes
from sessions.views.events import SessionDeleted, SessionMoved
from supervisor.host.needs.capacity import ASSUMED_LOGIN, ASSUMED_START, ASSUMED_WORKER_CPU, Figure

KEPT: Final = 200
"""The last so many logins, and starts, count."""
SETTLED_SECONDS: Final = 60.0
"""A session that has just opened still fetches and compiles: for so long it does not rest, and for
so long it is looked at until it is told.
"""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A worker's CPU time at a moment of the monotonic clock."""

    pid: int
    cpu_seconds: float
    at_seconds: float
    settled: bool = False
    """It had been open for a while by then."""


class LoginCosts:
    """Is notified of each session's states, and measures.

    `worker_pid`: a session's worker, if it has one; `cpu_seconds`: what a process has used (None:
    it is gone); `clock`: seconds of a monotonic clock; `later`: do it after so many seconds.
    """

    def __init__(
        self,
        worker_pid: Callable[[SessionId], int | None],
        cpu_seconds: Callable[[int], float | None],
        clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._worker_pid = worker_pid
        self._cpu_seconds = cpu_seconds
        self._clock = clock
        self._later = later
        self._connecting: dict[SessionId, _Mark] = {}
        self._open: dict[SessionId, _Mark] = {}
        self._seen: dict[SessionId, int] = {}
        """The worker of each session that has been open before."""
        self._paired: dict[SessionId, int] = {}
        """The worker of each session that has shown a QR since it was open: what it used until then
        is no login, and no start.
        """
        self._logins: deque[float] = deque(maxlen=KEPT)
        self._starts: deque[float] = deque(maxlen=KEPT)

    def login(self) -> Figure:
        """CPU seconds of a worker that ran already, from connect to open: the median."""
        return _median(self._logins, ASSUMED_LOGIN)

    def start(self) -> Figure:
        """CPU seconds of a worker from its start until it was open for the first time: the
        median.
        """
        return _median(self._starts, ASSUMED_START)

    def settled(self) -> Mapping[SessionId, int]:
        """The sessions that have been open for a while with one worker, and its pid."""
        return {
            session: mark.pid
            for session, mark in self._open.items()
            if mark.settled and self._worker_pid(session) == mark.pid
        }

    def at_rest(self, cpu_seconds: Mapping[SessionId, float]) -> Figure:
        """The share of a core that an open session takes: the median of these, whose workers have
        used so much CPU time by now.
        """
        now, shares = self._clock(), []
        for session, used in cpu_seconds.items():
            mark = self._open.get(session)
            if mark is not None and mark.settled and now - mark.at_seconds >= SETTLED_SECONDS:
                shares.append((used - mark.cpu_seconds) / (now - mark.at_seconds))
        return _median(shares, ASSUMED_WORKER_CPU)

    def on_changes(self, _session: SessionId | None, changes: Changes) -> None:
        """A session has come to another state."""
        if not isinstance(changes.event, SessionMoved):
            return
        session, state = changes.session, changes.event.state
        connecting = self._connecting.pop(session, None)
        self._open.pop(session, None)
        if state == SessionState.QR:
            pid = self._worker_pid(session)
            if pid is not None:
                self._paired[session] = pid
        elif state == SessionState.CONNECTING:
            mark = self._look(session)
            if mark is not None:
                self._connecting[session] = mark
        elif state == SessionState.OPEN:
            mark = self._look(session)
            if mark is not None:
                self._opened(session, connecting, mark)

    def on_deleted(self, session: SessionId | None, _deleted: SessionDeleted) -> None:
        """The session is gone: one that gets its name later has nothing to do with it."""
        if session is not None:
            self._connecting.pop(session, None)
            self._open.pop(session, None)
            self._seen.pop(session, None)
            self._paired.pop(session, None)

    def _opened(self, session: SessionId, connecting: _Mark | None, mark: _Mark) -> None:
        self._open[session] = mark
        self._later(SETTLED_SECONDS, partial(self._settle, session, mark))
        first = self._seen.get(session) != mark.pid
        self._seen[session] = mark.pid
        paired = self._paired.pop(session, None) == mark.pid
        if paired or connecting is None or connecting.pid != mark.pid:
            return  # paired, adopted, or another worker by now: what it has used is not one login
        if first:
            self._starts.append(mark.cpu_seconds)
        else:
            self._logins.append(mark.cpu_seconds - connecting.cpu_seconds)

    def _settle(self, session: SessionId, since: _Mark) -> None:
        """It has been open for a while, unless it has closed meanwhile: from here on it rests."""
        mark = self._look(session) if self._open.get(session) is since else None
        if mark is not None and mark.pid == since.pid:
            self._open[session] = replace(mark, settled=True)

    def _look(self, session: SessionId) -> _Mark | None:
        pid = self._worker_pid(session)
        try:
            used = None if pid is None else self._cpu_seconds(pid)
        except (
            OSError
            # no descriptor is free for /proc: a figure less, and no error of the session whose
            # event this is
        ):
            used = None
        return None if pid is None or used is None else _Mark(pid, used, self._clock())


def _median(values: "deque[float] | list[float]", assumed: Figure) -> Figure:
    return Figure(value=median(values), samples=len(values)) if values else assumed
