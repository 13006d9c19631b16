"""Upkeep: the jobs, when each is due and what came of it; and running one now."""

import msgspec
from aiohttp import web

from api.gatehouse.once import keyed
from api.paging import PageQuery, page
from api.parts import UPKEEP
from api.responses import json, query
from supervisor.upkeep.backups.backups import BackupsView
from supervisor.upkeep.jobs import JobView


class UpkeepList(msgspec.Struct, frozen=True):
    """The jobs, by name. `next`: the `after` of the next page; None: there is none."""

    jobs: list[JobView]
    next: str | None
    backups: BackupsView


async def list_jobs(request: web.Request) -> web.Response:
    """What is done by the clock: when each job is due, and what came of its last runs; and which
    backups there are.
    """
    upkeep, asked = request.app[UPKEEP], query(request, PageQuery)
    jobs, following = page(upkeep.scheduler.jobs(), lambda job: (job.name,), tuple[str], asked)
    return json(UpkeepList(jobs, following, await upkeep.backups.view()))


@keyed
async def run_job(request: web.Request) -> web.Response:
    """Run a job now, whatever its schedule; `GET /upkeep` shows what comes of it."""
    return json(request.app[UPKEEP].scheduler.run(request.match_info["name"]), 202)
