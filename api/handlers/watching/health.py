"""Health, for load balancers and other watchers: whether it lives, and whether it is ready."""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec
from aiohttp import web

from api.parts import FLEET, FOREVER, SHEDDING, STORE
from api.responses import json
from sessions.forever import TaskHealth, TaskState
from sessions.store.writing.health import State as StoreState
from supervisor.places.installation import version

_BADNESS: Final[tuple[TaskState, ...]] = ("ok", "failing", "ended")


class Health(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"]
    version: str


class Readiness(msgspec.Struct, frozen=True):
    """Whether the stored sessions have been taken up. `tasks`: how those are that run for ever.

    `shedding`: the host is critical, and calls that can wait are refused.
    """

    status: Literal["ready", "starting"]
    store: StoreState
    tasks: dict[str, TaskState]
    shedding: bool = False


async def healthz(_request: web.Request) -> web.Response:
    """The process lives and its loop turns; `version` is what it runs."""
    return json(Health("ok", version()))


async def readyz(request: web.Request) -> web.Response:
    """The stored sessions have been taken up.

    A store or a task in trouble is told, but the sessions go on, and so does the API.
    """
    ready = request.app[FLEET].ready
    tasks = shown(request.app[FOREVER].health())
    seen = Readiness(
        "ready" if ready else "starting",
        request.app[STORE].health.state,
        tasks,
        request.app[SHEDDING].on,
    )
    return json(seen, 200 if ready else 503)


_KINDS: Final = {"webhook wh_": "webhooks", "alerts to ": "alert channels"}
"""Tasks of which there is one for each of something that has a name, by how their names begin."""


def shown(tasks: Iterable[TaskHealth]) -> dict[str, TaskState]:
    """Their states by name, of the webhooks' tasks and of the alert channels' the worst one of each
    kind: whoever asks has shown no token, and what webhooks and channels there are is none of his
    business.
    """
    states = dict[str, TaskState]()
    for task in tasks:
        name = next((kind for of, kind in _KINDS.items() if task.name.startswith(of)), task.name)
        states[name] = max(states.get(name, "ok"), task.state, key=_BADNESS.index)
    return states
