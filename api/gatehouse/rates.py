"""How often a key may call, and an address may come with what is no key. Pure: times are arguments,
in seconds of a monotonic clock.
"""

from collections import OrderedDict
from typing import Final

from supervisor.gate.bucket import TokenBucket

MOST_KNOWN: Final = 10_000
"""Callers, or addresses; of more, whoever has not been seen for longest is taken for a new one."""


class Rates:
    """A bucket for everybody. `per_minute`: what each may do; `burst`: at once, after a pause."""

    def __init__(self, per_minute: float, burst: float) -> None:
        self._per_second = per_minute / 60
        self._burst = float(burst)
        self._known: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, who: str, now: float) -> float:
        """Take one: 0. If there is none nothing is taken: the seconds until there is."""
        bucket = self._known.get(who)
        if bucket is None:
            bucket = self._known[who] = TokenBucket.full(self._per_second, self._burst, now)
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(who)
        wait = bucket.seconds_until(1, now)
        if wait <= 0:
            bucket.take(now)
        return wait

    def wait(self, who: str, now: float) -> float:
        """The seconds until it may take one; nothing is taken."""
        bucket = self._known.get(who)
        return 0.0 if bucket is None else bucket.seconds_until(1, now)
