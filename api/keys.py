"""What handlers fetch from the application, by typed keys."""

import asyncio

from aiohttp import web

from api.fences import Places
from sessions.forever import Forever
from sessions.store import Store
from sessions.workers import Workers
from supervisor.alerts import Alerts
from supervisor.feed import Feed
from supervisor.fleet import Fleet
from supervisor.forecasting import Forecaster
from supervisor.host_watch import HostWatch
from supervisor.pairing_budget import PairingBudget
from supervisor.performance import Thresholds
from supervisor.policy_file import LivePolicy
from supervisor.roll import Roll

FLEET = web.AppKey("fleet", Fleet)
FEED = web.AppKey("feed", Feed)
ALERTS = web.AppKey("alerts", Alerts)
FORECASTER = web.AppKey("forecaster", Forecaster)
FOREVER = web.AppKey("forever", Forever)
HOST = web.AppKey("host", HostWatch)
STORE = web.AppKey("store", Store)
ROLL = web.AppKey("roll", Roll)
POLICY = web.AppKey("policy", LivePolicy)
WORKERS = web.AppKey("workers", Workers)
THRESHOLDS = web.AppKey("thresholds", Thresholds)
WAITERS = web.AppKey("waiters", Places)
CONNECTIONS = web.AppKey("connections", int)
PAIRING = web.AppKey("pairing", PairingBudget)
IMPORTS = web.AppKey("imports", Places)
IMPORTING = web.AppKey("importing", asyncio.Lock)
