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
        """Take one token.

        Who calls has looked whether there is one; if not (an attempt that another supervisor
        admitted), it is owed.
        """
        self.level, self.at = self.available(now) - 1.0, now

    def seconds_until(self, tokens: float, now: float) -> float:
        """How long until it holds so many tokens; infinite if it never will."""
        if tokens > self.burst:
            return float("inf")
        return max(0.0, (tokens - self.available(now)) / self.rate)


@dataclass(slots=True)
class Allowance:
    """A bucket whose tokens are reserved when an attempt is admitted, and taken when its login is
    on the wire.
    """

    bucket: TokenBucket
    reserved: int = 0

    def available(self, now: float) -> float:
        """The tokens that it holds now, reserved ones among them."""
        return self.bucket.available(now)

    def seconds_until_free(self, now: float) -> float:
        """How long until there is a token that nobody has reserved; infinite if a login has to land
        first.
        """
        return self.bucket.seconds_until(self.reserved + 1, now)

    def is_whole(self, now: float) -> bool:
        """Whether it is as good as a new one: all tokens are there, and none is reserved."""
        return not self.reserved and self.available(now) >= self.bucket.burst

    def reserve(self) -> None:
        """An attempt is admitted."""
        self.reserved += 1

    def take(self, now: float) -> None:
        """Its login is on the wire, or it has ended without one."""
        self.reserved -= 1
        self.bucket.take(now)
