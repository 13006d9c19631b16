"""What is wrong here, why, and what to do about it: the doctor's checks, and the services' analyses
that they rest on.
"""

from typing import Annotated

import msgspec
from aiohttp import web

from api.errors import BadRequest
from api.gatehouse.guard import PROXY_HEADERS
from api.gatehouse.principals import principal_of
from api.live.metrics import FeedFigures
from api.parts import DIAGNOSTICS, FEED_METRICS, FLEET
from api.responses import json, query
from sessions.records.stages import Stage, StageSummary, summaries
from sessions.views.times import iso
from supervisor.access.scopes import Scope
from supervisor.watch.diagnostics.checks import NAMES, unknown
from supervisor.watch.diagnostics.connections import (
    ClosureAnalysis,
    ConfigValidation,
    ConnectionDiagnosticService,
    HandshakeIssue,
)
from supervisor.watch.diagnostics.resources import (
    MemoryAnalysis,
    NetworkStatus,
    ResourceDiagnosticService,
    ResourceStatus,
)
from supervisor.watch.diagnostics.results import DiagnosticResult
from supervisor.watch.diagnostics.tokens import (
    CARRIERS,
    OTHER,
    SCHEMES,
    Carriers,
    TokenIssue,
    service_of,
)


class DiagnosticsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """What may be asked."""

    check: Annotated[
        str, msgspec.Meta(description="Only these checks, by name, comma-separated.")
    ] = ""


class ResourceDiagnostics(msgspec.Struct, frozen=True):
    """What the fleet uses up of this machine."""

    connections: ResourceStatus
    memory: MemoryAnalysis
    network: NetworkStatus


class ConnectionDiagnostics(msgspec.Struct, frozen=True):
    """The connections to WhatsApp: how they fail, what each stage of the last logins took, how they
    end, how they are set up. `live_feed`: those of the live feed's clients.
    """

    handshakes: list[HandshakeIssue]
    stages: dict[Stage, StageSummary]
    closures: ClosureAnalysis
    config: ConfigValidation
    live_feed: FeedFigures = msgspec.field(name="liveFeed")


class TokenDiagnostics(msgspec.Struct, frozen=True, rename="camel"):
    """The caller's own token: by which way it came, and who he is by it; never its value.

    `generation`, `refusals`: whether tokens work, and why calls were refused; for who may operate
    all sessions.
    """

    carriers: Carriers
    name: str
    scope: Scope
    expires_at: str | None
    transmission: DiagnosticResult
    generation: DiagnosticResult | None
    refusals: list[TokenIssue]


async def get_diagnostics(request: web.Request) -> web.Response:
    """The checks of `wasup doctor`, from within: what is wrong, the most important cause first.

    A check is carried out every 15 seconds at the most; the answer may take as long.
    """
    asked = query(request, DiagnosticsQuery).check
    names = [name.strip() for name in asked.split(",") if name.strip()]
    if strange := unknown(names):
        raise BadRequest(
            f"There is no check {', '.join(name[:40] for name in strange)}.",
            f"There are: {', '.join(NAMES)}.",
        )
    return json(await request.app[DIAGNOSTICS].examination(names))


async def get_token_diagnostics(request: web.Request) -> web.Response:
    """By which way the caller's token has come (header, query, cookie), and whether tokens work."""
    service = service_of(request.app[DIAGNOSTICS].subject())
    principal, carriers = principal_of(request), _carriers(request)
    operates = principal.may(Scope.OPERATE) and principal.sees(None)
    return json(
        TokenDiagnostics(
            carriers=carriers,
            name=principal.name,
            scope=principal.scope,
            expires_at=None if principal.expires_at is None else iso(principal.expires_at),
            transmission=await service.check_token_transmission(carriers),
            generation=await service.validate_token_generation() if operates else None,
            refusals=await service.diagnose_empty_tokens() if operates else [],
        )
    )


def _carriers(request: web.Request) -> Carriers:
    """How the call carried credentials: names alone."""
    header = request.headers.get("Authorization")
    scheme, _, given = (header or "").partition(" ")
    # who leaves the scheme out has put the token in its place
    known = scheme.lower() if scheme.lower() in SCHEMES else OTHER
    return Carriers(
        scheme=None if header is None else known,
        empty=known != OTHER and not given.strip(),
        query=tuple(sorted({name.lower() for name in request.query} & CARRIERS)),
        cookies=tuple(sorted({name.lower() for name in request.cookies} & CARRIERS)),
        through_proxy=any(PROXY_HEADERS.fullmatch(name) for name in request.headers),
    )


async def get_resource_diagnostics(request: web.Request) -> web.Response:
    """Limits of connections, memory by connection, and the network."""
    service = ResourceDiagnosticService(request.app[DIAGNOSTICS].subject())
    return json(
        ResourceDiagnostics(
            connections=await service.check_connection_limits(),
            memory=await service.analyze_memory_usage(),
            network=await service.check_network_resources(),
        )
    )


async def get_connection_diagnostics(request: web.Request) -> web.Response:
    """Failed handshakes, closes and settings of the connections to WhatsApp, of the last day."""
    service = ConnectionDiagnosticService(request.app[DIAGNOSTICS].subject())
    logins = (session.performance().handshake for session in request.app[FLEET].sessions())
    return json(
        ConnectionDiagnostics(
            handshakes=await service.analyze_handshake_failures(),
            stages=summaries(one for one in logins if one is not None),
            closures=await service.check_premature_closures(),
            config=await service.validate_websocket_config(),
            live_feed=request.app[FEED_METRICS].figures(),
        )
    )
