"""A token bucket. Pure: times are arguments, in seconds of a monotonic clock."""

from dataclasses import dataclass


@dataclass(slots=True)
class TokenBucket:
    """Holds up to `burst` tokens, and gains `rate` tokens a second."""

    rate: float
    burst: float
    level: float
    at: float

    @classmethod
    def empty(cls, rate: float, burst: float, now: float) -> "TokenBucket":
        """A bucket that has just been emptied."""
        return cls(rate, burst, 0.0, now)

    @classmethod
    def full(cls, rate: float, burst: float, now: float) -> "TokenBucket":
        """A bucket that has been left alone for long."""
        return cls(rate, burst, burst, now)

    def available(self, now: float) -> float:
        """The tokens that it holds now."""
        return min(self.burst, self.level + max(0.0, now - self.at) * self.rate)

    def take(self, now: float) -> None:
        """Take one token. Who calls has looked whether there is one; if not (an attempt that another supervisor admitted), it is owed."""
        self.level, self.at = self.available(now) - 1.0, now

    def seconds_until(self, tokens: float, now: float) -> float:
        """How long until it holds so many tokens; infinite if it never will."""
        if tokens > self.burst:
            return float("inf")
        return max(0.0, (tokens - self.available(now)) / self.rate)
