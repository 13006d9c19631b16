"""The URL table: every call, what it takes and every answer that it gives."""

from typing import Any, Final

from api.errors import Gone, NotInstalled, TooSoon
from api.handlers import (
    credentials,
    docs,
    health,
    incidents,
    policy,
    qr,
    sessions,
    watching,
    webhooks,
)
from api.handlers.event_log import events, stream
from api.handlers.machine import capacity, diagnostics, host, workers
from api.paging import PageQuery
from api.responses import JSON
from api.route import ASKED, STORE, Forms, Route, from_worker
from sessions.credentials.import_process import Import
from sessions.messages.numbers import InvalidRecipient
from sessions.model import (
    BadPolicy,
    CloseReason,
    InvalidProxy,
    InvalidSessionId,
    NoArchive,
    SameDevice,
    SessionExists,
    UnreadableValue,
    UnstorableValue,
)
from sessions.policy import RULES
from sessions.policy.rules import Mend
from sessions.views.explanations import Explanation
from sessions.views.session_view import SessionView
from supervisor.delivery.sender import Outcome
from supervisor.delivery.views import WebhookSecretView, WebhookView
from supervisor.delivery.webhook import (
    InvalidWebhook,
    NewWebhook,
    WebhookChange,
    WebhookNotFound,
)
from supervisor.delivery.webhooks import TooManyWebhooks
from supervisor.fleet.event_filter import InvalidEventFilter
from supervisor.fleet.policy_file import PolicyView
from supervisor.watch.diagnostics.doctor import Examination

VAIN: Final = tuple(
    (409, reason.value) for reason in CloseReason if RULES[reason].mend is not Mend.RECONNECT
)
"""A session that was parked for one of these is not helped by a reconnection."""

ROUTES: Final = (
    Route(
        "GET",
        "/performance-metrics",
        watching.performance_metrics,
        answers={200: watching.PerformanceMetrics},
    ),
    Route(
        "GET",
        "/reconnection-status",
        watching.reconnection_status,
        answers={200: watching.ReconnectionStatus},
    ),
    Route(
        "POST",
        "/force-reconnection/{id}",
        sessions.force_reconnection,
        keyed=True,
        answers={202: sessions.Forced},
        errors=(*ASKED, (409, "stopped"), (409, "quarantined"), (409, "qr"), *VAIN),
    ),
    Route(
        "POST",
        "/reset-circuit-breaker/{id}",
        sessions.reset_circuit_breaker,
        answers={200: sessions.BreakerReset},
        errors=ASKED,
    ),
    Route(
        "GET",
        "/sessions",
        sessions.list_sessions,
        query=sessions.SessionsQuery,
        answers={200: sessions.SessionList},
    ),
    Route(
        "POST",
        "/sessions",
        sessions.create_session,
        keyed=True,
        body=sessions.NewSession,
        answers={201: SessionView},
        errors=(*STORE, InvalidSessionId, InvalidProxy, SessionExists),
    ),
    Route("GET", "/sessions/{id}", sessions.get_session, answers={200: SessionView}),
    Route(
        "DELETE",
        "/sessions/{id}",
        sessions.delete_session,
        query=sessions.Deletion,
        answers={200: sessions.Deleted},
        errors=ASKED,
    ),
    Route(
        "PUT",
        "/sessions/{id}/proxy",
        sessions.set_proxy,
        body=sessions.ProxyChoice,
        answers={200: SessionView},
        errors=(*ASKED, InvalidProxy, (409, "in_use")),
    ),
    Route(
        "POST",
        "/sessions/{id}/start",
        sessions.start_session,
        answers={202: SessionView},
        errors=(*ASKED, (409, "origin_runs")),
    ),
    Route(
        "POST",
        "/sessions/{id}/stop",
        sessions.stop_session,
        answers={202: SessionView},
        errors=ASKED,
    ),
    Route(
        "POST",
        "/sessions/{id}/logout",
        sessions.logout_session,
        answers={202: SessionView},
        errors=(*ASKED, (409, "not_open")),
    ),
    Route(
        "GET",
        "/sessions/{id}/qr",
        sessions.session_qr,
        query=sessions.QrQuery,
        answers={
            200: Forms(json=qr.QrView, others=tuple(form for form in qr.FORMS if form != JSON)),
            409: Forms(others=(qr.PAGE,)),
        },
        errors=((406, "not_acceptable"), (409, "no_qr")),
    ),
    Route(
        "POST",
        "/sessions/{id}/pairing-code",
        sessions.pairing_code,
        keyed=True,
        body=sessions.Phone,
        answers={200: sessions.ShownCode},
        errors=(
            *ASKED,
            *from_worker("already_paired", "invalid_recipient"),
            (409, "not_pairing"),
            TooSoon,
        ),
    ),
    Route(
        "POST",
        "/sessions/{id}/messages",
        sessions.send_message,
        keyed=True,
        body=sessions.Text,
        answers={200: sessions.Sent},
        errors=(*ASKED, *from_worker("no_whatsapp"), InvalidRecipient),
    ),
    Route(
        "POST",
        "/sessions/{id}/import",
        credentials.import_session,
        keyed=True,
        body=Import,
        answers={201: SessionView},
        errors=(*STORE, InvalidSessionId, InvalidProxy, SessionExists, SameDevice, UnstorableValue),
    ),
    Route(
        "GET",
        "/sessions/{id}/archives",
        credentials.session_archives,
        query=PageQuery,
        answers={200: credentials.ArchiveList},
        errors=STORE,
    ),
    Route(
        "POST",
        "/sessions/{id}/restore",
        credentials.restore_session,
        keyed=True,
        body=credentials.Restoration,
        body_may_be_empty=True,
        answers={202: credentials.Restored},
        errors=(*ASKED, NoArchive, SameDevice, UnreadableValue, (409, "in_use")),
    ),
    Route(
        "GET",
        "/sessions/{id}/explain",
        incidents.explain_session,
        answers={200: Explanation},
        errors=STORE,
    ),
    Route(
        "GET",
        "/incidents",
        incidents.list_incidents,
        query=incidents.IncidentsQuery,
        answers={200: incidents.IncidentPage},
        errors=(*STORE, InvalidSessionId),
    ),
    Route(
        "GET",
        "/workers",
        workers.list_workers,
        query=PageQuery,
        answers={200: workers.WorkerList},
    ),
    Route(
        "POST",
        "/workers/roll",
        workers.roll_workers,
        keyed=True,
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
    Route(
        "GET",
        "/diagnostics",
        diagnostics.get_diagnostics,
        query=diagnostics.DiagnosticsQuery,
        answers={200: Examination},
    ),
    Route(
        "GET",
        "/diagnostics/resources",
        diagnostics.get_resource_diagnostics,
        answers={200: diagnostics.ResourceDiagnostics},
    ),
    Route(
        "GET",
        "/diagnostics/connections",
        diagnostics.get_connection_diagnostics,
        answers={200: diagnostics.ConnectionDiagnostics},
        errors=STORE,
    ),
    Route("GET", "/policy", policy.get_policy, answers={200: PolicyView}),
    Route(
        "POST",
        "/policy/reload",
        policy.reload_policy,
        answers={200: policy.PolicyReloaded},
        errors=(BadPolicy,),
    ),
    Route(
        "GET",
        "/alerts",
        watching.alerts,
        query=PageQuery,
        answers={200: watching.AlertsView},
    ),
    Route(
        "GET",
        "/events",
        events.events,
        query=events.EventsQuery,
        answers={200: Forms(json=events.EventPage, others=(stream.EVENT_STREAM,))},
        errors=(*STORE, Gone, InvalidEventFilter, InvalidSessionId, (406, "not_acceptable")),
    ),
    Route(
        "GET",
        "/webhooks",
        webhooks.list_webhooks,
        query=PageQuery,
        answers={200: webhooks.WebhookList},
        errors=STORE,
    ),
    Route(
        "POST",
        "/webhooks",
        webhooks.create_webhook,
        keyed=True,
        body=NewWebhook,
        answers={201: WebhookSecretView},
        errors=(InvalidWebhook, TooManyWebhooks, *STORE),
    ),
    Route(
        "GET",
        "/webhooks/{webhook}",
        webhooks.get_webhook,
        answers={200: WebhookView},
        errors=(WebhookNotFound, *STORE),
    ),
    Route(
        "PATCH",
        "/webhooks/{webhook}",
        webhooks.change_webhook,
        body=WebhookChange,
        answers={200: WebhookView},
        errors=(WebhookNotFound, InvalidWebhook, *STORE),
    ),
    Route(
        "DELETE",
        "/webhooks/{webhook}",
        webhooks.delete_webhook,
        answers={200: webhooks.WebhookDeleted},
        errors=(WebhookNotFound, *STORE),
    ),
    Route(
        "POST",
        "/webhooks/{webhook}/secret",
        webhooks.rotate_webhook_secret,
        keyed=True,
        body=webhooks.NewSecret,
        body_may_be_empty=True,
        answers={200: WebhookSecretView},
        errors=(WebhookNotFound, InvalidWebhook, *STORE),
    ),
    Route(
        "POST",
        "/webhooks/{webhook}/test",
        webhooks.test_webhook,
        keyed=True,
        answers={200: Outcome},
        errors=(WebhookNotFound,),
    ),
    Route(
        "GET",
        "/webhooks/{webhook}/deliveries",
        webhooks.list_deliveries,
        query=webhooks.DeliveryQuery,
        answers={200: webhooks.DeliveryList},
        errors=(WebhookNotFound, *STORE),
    ),
    Route(
        "POST",
        "/webhooks/{webhook}/redrive",
        webhooks.redrive_webhook,
        keyed=True,
        body=webhooks.Redrive,
        answers={202: webhooks.Redriven},
        errors=(WebhookNotFound, *STORE),
    ),
    Route(
        "POST",
        "/webhooks/{webhook}/replay",
        webhooks.replay_webhook,
        keyed=True,
        body=webhooks.Replay,
        answers={202: WebhookView},
        errors=(WebhookNotFound, InvalidWebhook, *STORE),
    ),
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
        errors=(NotInstalled,),
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
