"""What handlers fetch from the application, by typed keys."""

from aiohttp import web

from sessions.store import Store
from supervisor.feed import Feed
from supervisor.fleet import Fleet
from supervisor.policy_file import LivePolicy
from supervisor.roll import Roll

FLEET = web.AppKey("fleet", Fleet)
FEED = web.AppKey("feed", Feed)
STORE = web.AppKey("store", Store)
ROLL = web.AppKey("roll", Roll)
POLICY = web.AppKey("policy", LivePolicy)
