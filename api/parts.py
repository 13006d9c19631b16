"""What handlers fetch from the application, by typed keys."""

import asyncio

from aiohttp import web

from api.gatehouse.fences import Places
from api.gatehouse.pairing_budget import PairingBudget
from api.gatehouse.streams import Streams
from api.live.metrics import MetricsCollector
from sessions.forever import Forever
from sessions.store import Store
from sessions.workers.pool import Workers
from supervisor.access.access import Access
from supervisor.access.keys import Keys
from supervisor.alerts.alerts import Alerts
from supervisor.alerts.channels.live_alerts_file import LiveAlertsFile
from supervisor.alerts.judging.thresholds import Thresholds
from supervisor.alerts.notifier import Notifier
from supervisor.delivery.webhook_registry import Webhooks
from supervisor.fleet.feed import Feed
from supervisor.fleet.fleet import Fleet
from supervisor.fleet.policy_file import LivePolicy
from supervisor.fleet.roll import Roll
from supervisor.history.history import History
from supervisor.history.outward.exposition import Exposition
from supervisor.reports.reporter import Reporter
from supervisor.upkeep.upkeep import Upkeep
from supervisor.watch.diagnostics.checks import Diagnostics
from supervisor.watch.forecasting import Forecaster
from supervisor.watch.host_watch import HostWatch
from supervisor.watch.memory_growth import MemoryWatch
from supervisor.watch.memory_tracing import MemoryTracer
from supervisor.watch.shedding import Shedding

ACCESS = web.AppKey("access", Access)
KEYS = web.AppKey("keys", Keys)
FLEET = web.AppKey("fleet", Fleet)
FEED = web.AppKey("feed", Feed)
ALERTS = web.AppKey("alerts", Alerts)
ALERTS_FILE = web.AppKey("alerts_file", LiveAlertsFile)
NOTIFIER = web.AppKey("notifier", Notifier)
FORECASTER = web.AppKey("forecaster", Forecaster)
FOREVER = web.AppKey("forever", Forever)
HISTORY = web.AppKey("history", History)
EXPOSITION = web.AppKey("exposition", Exposition)
HOST = web.AppKey("host", HostWatch)
STORE = web.AppKey("store", Store)
ROLL = web.AppKey("roll", Roll)
POLICY = web.AppKey("policy", LivePolicy)
WORKERS = web.AppKey("workers", Workers)
DIAGNOSTICS = web.AppKey("diagnostics", Diagnostics)
WEBHOOKS = web.AppKey("webhooks", Webhooks)
THRESHOLDS = web.AppKey("thresholds", Thresholds)
REPORTER = web.AppKey("reporter", Reporter)
TRACER = web.AppKey("tracer", MemoryTracer)
UPKEEP = web.AppKey("upkeep", Upkeep)
WAITERS = web.AppKey("waiters", Places)
MEMORY = web.AppKey("memory", MemoryWatch)
FEED_METRICS = web.AppKey("feed_metrics", MetricsCollector)
SHEDDING = web.AppKey("shedding", Shedding)
STREAMS = web.AppKey("streams", Streams)
DESCRIPTION = web.AppKey("description", bytes)
CONNECTIONS = web.AppKey("connections", int)
PAIRING = web.AppKey("pairing", PairingBudget)
IMPORTS = web.AppKey("imports", Places)
IMPORTING = web.AppKey("importing", asyncio.Lock)
