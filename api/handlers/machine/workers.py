"""Workers: which there are and what they run, and rolling them over to the
installed code.
"""

from typing import Annotated

import msgspec
from aiohttp import web

from api.gatehouse.once import keyed
from api.paging import PageQuery, page
from api.parts import FLEET, ROLL, WORKERS
from api.responses import json, query
from sessions.lifecycle.session import Session
from sessions.model import SessionId, SessionState
from sessions.ports import WorkerHandle
from supervisor.fleet.roll import RollView


class WorkerView(msgspec.Struct, frozen=True, rename="camel"):
    """A session's worker.

    `code`: what it runs; `outdated`: that is not what is installed. None: it has not told yet.
    """

    id: str
    session: SessionId
    state: SessionState
    pid: int
    code: str
    outdated: bool
    memory_bytes: int | None
    lag_ms: float | None


class AbandonedWorker(msgspec.Struct, frozen=True, rename="camel"):
    """A worker that cannot be ended, not even by SIGKILL."""

    id: str
    session: str | None
    pid: int


class WorkerList(msgspec.Struct, frozen=True, rename="camel"):
    """The workers, those of the oldest sessions first.

    `next`: the `after` of the next page; None: there is none. `code`: what is installed;
    `outdated`: how many run other code.
    """

    code: str
    outdated: int
    workers: list[WorkerView]
    next: str | None
    abandoned: list[AbandonedWorker]
    roll: RollView


class RollQuery(msgspec.Struct, forbid_unknown_fields=True):
    """What may be asked."""

    all: Annotated[
        bool, msgspec.Meta(description="Every worker, not only those of older code.")
    ] = False


class RollBegun(msgspec.Struct, frozen=True):
    """The roll that has begun."""

    roll: RollView


async def list_workers(request: web.Request) -> web.Response:
    """The workers of all sessions, those that cannot be ended (`abandoned`), the code that is
    installed, and the roll under way.
    """
    roll = request.app[ROLL]
    sessions, following = page(
        [session for session in request.app[FLEET].sessions() if session.worker is not None],
        lambda session: (session.row().created_at, session.id),
        tuple[float, str],
        query(request, PageQuery),
    )
    workers = [
        _shown(session, session.worker, roll.code)
        for session in sessions
        if session.worker is not None
    ]
    abandoned = [
        AbandonedWorker(worker.id, worker.session, worker.pid)
        for worker in request.app[WORKERS].abandoned
    ]
    outdated = len(roll.outdated())
    return json(WorkerList(roll.code, outdated, workers, following, abandoned, roll.view()))


@keyed
async def roll_workers(request: web.Request) -> web.Response:
    """Replace the workers that run older code, one at a time; `?all=true`: every worker."""
    everybody = query(request, RollQuery).all
    return json(RollBegun(request.app[ROLL].begin(everybody)), 202)


def _shown(session: Session, worker: WorkerHandle, code: str) -> WorkerView:
    return WorkerView(
        id=worker.id,
        session=session.id,
        state=session.state,
        pid=worker.pid,
        code=worker.code,
        outdated=worker.code != code,
        memory_bytes=worker.beat.rss_bytes if worker.beat else None,
        lag_ms=worker.beat.lag_ms if worker.beat else None,
    )
