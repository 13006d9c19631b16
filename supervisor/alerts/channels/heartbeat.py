"""A sign of life to an outside watcher (healthchecks and the like): a supervisor that is dead tells
nobody, so somebody else has to miss it.

It is left out while no channel works: then the watcher is the last one who can tell.
"""

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Final

import structlog

from sessions.forever import describe
from supervisor.process.daemon_threads import in_thread

SECONDS: Final = 15.0

log = structlog.get_logger("alerts")


class HeartbeatFailed(Exception):
    """The watcher was not reached."""


class Heartbeat:
    """Asks for the watcher's URL, which is a secret. `withheld`: whether it is to be left out."""

    def __init__(self, url: str, withheld: Callable[[], bool]) -> None:
        self._url = url
        self._withheld = withheld
        self._failing = False

    async def look(self) -> None:
        """Give a sign of life. It never raises: who misses it, tells."""
        if self._withheld():
            log.warning("no channel works: no sign of life is given", action="heartbeat_withheld")
            return
        try:
            # a watcher that answers a letter at a time is waited for by no thread of the loop's few
            await in_thread(lambda: _ask(self._url))
        except (HeartbeatFailed, OSError) as error:
            if not self._failing:
                log.warning(
                    f"the outside watcher was not reached: {error or describe(error)}",
                    action="heartbeat_failed",
                )
            self._failing = True
            return
        if self._failing:
            log.info("the outside watcher is reached again", action="heartbeat_works")
        self._failing = False


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Nobody is followed to where the operator has not sent us."""


def _ask(url: str) -> None:
    """Raises HeartbeatFailed, which does not quote the URL."""
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        with opener.open(url, timeout=SECONDS) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        error.close()
        raise HeartbeatFailed(f"it answers HTTP {error.code}") from None
    except urllib.error.URLError as error:
        reason = error.reason
        words = reason.strerror if isinstance(reason, OSError) else None
        raise HeartbeatFailed(words or type(reason).__name__) from None
    except (http.client.HTTPException, ValueError) as error:  # their words quote what was asked for
        raise HeartbeatFailed(type(error).__name__) from None
