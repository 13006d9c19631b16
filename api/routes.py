"""The URL table, on one screen."""

from typing import Any, Final

from api.handlers import (
    capacity,
    credentials,
    docs,
    health,
    host,
    incidents,
    policy,
    sessions,
    workers,
)
from api.route import Forms, Route
from sessions.model import BadPolicy
from supervisor.fleet.policy_file import PolicyView

ROUTES: Final = (
    Route("GET", "/performance-metrics", sessions.performance_metrics),
    Route("GET", "/reconnection-status", sessions.reconnection_status),
    Route("POST", "/force-reconnection/{id}", sessions.force_reconnection),
    Route("POST", "/reset-circuit-breaker/{id}", sessions.reset_circuit_breaker),
    Route("GET", "/sessions", sessions.list_sessions),
    Route("POST", "/sessions", sessions.create_session),
    Route("GET", "/sessions/{id}", sessions.get_session),
    Route("DELETE", "/sessions/{id}", sessions.delete_session),
    Route("PUT", "/sessions/{id}/proxy", sessions.set_proxy),
    Route("POST", "/sessions/{id}/start", sessions.start_session),
    Route("POST", "/sessions/{id}/stop", sessions.stop_session),
    Route("POST", "/sessions/{id}/logout", sessions.logout_session),
    Route("GET", "/sessions/{id}/qr", sessions.session_qr),
    Route("POST", "/sessions/{id}/pairing-code", sessions.pairing_code),
    Route("POST", "/sessions/{id}/messages", sessions.send_message),
    Route("POST", "/sessions/{id}/import", credentials.import_session),
    Route("GET", "/sessions/{id}/archives", credentials.session_archives),
    Route("POST", "/sessions/{id}/restore", credentials.restore_session),
    Route("GET", "/sessions/{id}/explain", incidents.explain_session),
    Route("GET", "/incidents", incidents.list_incidents),
    Route("GET", "/workers", workers.list_workers, answers={200: workers.WorkerList}),
    Route(
        "POST",
        "/workers/roll",
        workers.roll_workers,
        query=workers.RollQuery,
        answers={202: workers.RollBegun},
        errors=((409, "rolling"),),
    ),
    Route("GET", "/host", host.get_host, answers={200: host.HostView}),
    Route(
        "GET",
        "/capacity",
        capacity.get_capacity,
        query=capacity.CapacityQuery,
        answers={200: capacity.CapacityView},
    ),
    Route("GET", "/policy", policy.get_policy, answers={200: PolicyView}),
    Route(
        "POST",
        "/policy/reload",
        policy.reload_policy,
        answers={200: policy.PolicyReloaded},
        errors=(BadPolicy,),
    ),
    Route("GET", "/alerts", sessions.alerts),
    Route("GET", "/events", sessions.events),
    Route(
        "GET",
        "/openapi.json",
        docs.openapi,
        answers={200: dict[str, Any]},
        needs_token=False,
    ),
    Route(
        "GET",
        "/docs",
        docs.page,
        answers={200: Forms(others=("text/html",))},
        needs_token=False,
    ),
    Route("GET", "/healthz", health.healthz, answers={200: health.Health}, needs_token=False),
    Route(
        "GET",
        "/readyz",
        health.readyz,
        answers={200: health.Readiness, 503: health.Readiness},
        needs_token=False,
    ),
)
