"""The URL table, on one screen."""

from typing import Final

from aiohttp import web

from api.handlers import (
    capacity as capacity_handlers,
)
from api.handlers import (
    credentials as credential_handlers,
)
from api.handlers import (
    host as host_handlers,
)
from api.handlers import (
    incidents as incident_handlers,
)
from api.handlers import (
    policy as policy_handlers,
)
from api.handlers import (
    sessions as handlers,
)
from api.handlers import (
    workers as worker_handlers,
)

ROUTES: Final = (
    web.get("/performance-metrics", handlers.performance_metrics),
    web.get("/reconnection-status", handlers.reconnection_status),
    web.post("/force-reconnection/{id}", handlers.force_reconnection),
    web.post("/reset-circuit-breaker/{id}", handlers.reset_circuit_breaker),
    web.get("/sessions", handlers.list_sessions),
    web.post("/sessions", handlers.create_session),
    web.get("/sessions/{id}", handlers.get_session),
    web.delete("/sessions/{id}", handlers.delete_session),
    web.put("/sessions/{id}/proxy", handlers.set_proxy),
    web.post("/sessions/{id}/start", handlers.start_session),
    web.post("/sessions/{id}/stop", handlers.stop_session),
    web.post("/sessions/{id}/logout", handlers.logout_session),
    web.get("/sessions/{id}/qr", handlers.session_qr),
    web.post("/sessions/{id}/pairing-code", handlers.pairing_code),
    web.post("/sessions/{id}/messages", handlers.send_message),
    web.post("/sessions/{id}/import", credential_handlers.import_session),
    web.get("/sessions/{id}/archives", credential_handlers.session_archives),
    web.post("/sessions/{id}/restore", credential_handlers.restore_session),
    web.get("/sessions/{id}/explain", incident_handlers.explain_session),
    web.get("/incidents", incident_handlers.list_incidents),
    web.get("/workers", worker_handlers.list_workers),
    web.post("/workers/roll", worker_handlers.roll_workers),
    web.get("/host", host_handlers.get_host),
    web.get("/capacity", capacity_handlers.get_capacity),
    web.get("/policy", policy_handlers.get_policy),
    web.post("/policy/reload", policy_handlers.reload_policy),
    web.get("/alerts", handlers.alerts),
    web.get("/events", handlers.events),
    web.get("/healthz", handlers.healthz),
    web.get("/readyz", handlers.readyz),
)
