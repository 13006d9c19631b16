"""The handlers about workers: which there are and what they run, and rolling them over to the
installed code.
"""

from aiohttp import web

from api.errors import BadRequest
from api.handlers.parts import FLEET, ROLL, WORKERS
from api.responses import json
from sessions.lifecycle.session import Session
from sessions.ports import WorkerHandle


async def list_workers(request: web.Request) -> web.Response:
    """The workers of all sessions, those that cannot be ended (`abandoned`), the code that is
    installed, and the roll under way.
    """
    roll = request.app[ROLL]
    workers = [
        _shown(session, session.worker, roll.code)
        for session in request.app[FLEET].sessions()
        if session.worker is not None
    ]
    abandoned = [
        {"id": worker.id, "session": worker.session, "pid": worker.pid}
        for worker in request.app[WORKERS].abandoned
    ]
    seen = {
        "code": roll.code,
        "outdated": len(roll.outdated()),
        "workers": workers,
        "abandoned": abandoned,
    }
    return json(seen | {"roll": roll.view()})


async def roll_workers(request: web.Request) -> web.Response:
    """Replace the workers that run older code, one at a time; `?all=true`: every worker."""
    everybody = request.query.get("all", "false").lower()
    if everybody not in {"true", "false"}:
        raise BadRequest(f"all is {everybody!r}.", "It accepts true or false.")
    return json({"roll": request.app[ROLL].begin(everybody == "true")}, 202)


def _shown(session: Session, worker: WorkerHandle, code: str) -> dict[str, object]:
    return {
        "id": worker.id,
        "session": session.id,
        "state": session.state,
        "pid": worker.pid,
        "code": worker.code,
        "outdated": worker.code != code,
        "memory": worker.beat.rss_bytes if worker.beat else None,
        "lag": worker.beat.lag_ms if worker.beat else None,
    }
