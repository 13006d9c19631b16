"""Looking into the supervisor itself while it runs."""

from typing import Annotated

import msgspec
from aiohttp import web

from api.errors import BadRequest, Busy
from api.parts import TRACER
from api.responses import accepted, json, query, whole_body
from supervisor.watch.memory_tracing import MOST_SECONDS


class TraceQuery(msgspec.Struct, forbid_unknown_fields=True):
    """How long is to be traced."""

    seconds: Annotated[
        float, msgspec.Meta(gt=0, le=MOST_SECONDS, description="For how long to trace.")
    ] = 10.0


async def trace_memory(request: web.Request) -> web.Response:
    """Trace for some seconds where the supervisor allocates memory, and answer with the lines that
    hold most of it. One at a time, and all else is slower meanwhile.
    """
    seconds, tracer = query(request, TraceQuery).seconds, request.app[TRACER]
    if (await whole_body(request)).strip() not in (b"", b"{}"):
        raise BadRequest(
            "A body is not read here.", f"Say it in the query: {accepted(TraceQuery)}."
        )
    if tracer.traces:
        raise Busy("Memory is being traced already.")
    return json(await tracer.trace(seconds))
