"""What handlers fetch from the application, by typed keys."""

from aiohttp import web

from supervisor.feed import Feed
from supervisor.fleet import Fleet

FLEET = web.AppKey("fleet", Fleet)
FEED = web.AppKey("feed", Feed)
