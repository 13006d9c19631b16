"""What is wrong here, why, and what to do about it: the doctor's checks, and the services' analyses
that they rest on.
"""

from typing import Annotated

import msgspec
from aiohttp import web

from api.errors import BadRequest
from api.parts import DIAGNOSTICS
from api.responses import json, query
from supervisor.watch.diagnostics.connections import (
    ClosureAnalysis,
    ConfigValidation,
    ConnectionDiagnosticService,
    HandshakeIssue,
)
from supervisor.watch.diagnostics.examining import NAMES, unknown
from supervisor.watch.diagnostics.resources import (
    MemoryAnalysis,
    NetworkStatus,
    ResourceDiagnosticService,
    ResourceStatus,
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
    """The connections to WhatsApp: how they fail, how they end, how they are set up."""

    handshakes: list[HandshakeIssue]
    closures: ClosureAnalysis
    config: ConfigValidation


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
    return json(
        ConnectionDiagnostics(
            handshakes=await service.analyze_handshake_failures(),
            closures=await service.check_premature_closures(),
            config=await service.validate_websocket_config(),
        )
    )
