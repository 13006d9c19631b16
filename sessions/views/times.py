"""Times and durations as people read them. Pure, and quick to load: every command needs it."""

from datetime import UTC, datetime
from typing import Final

FRACTIONS_BELOW_SECONDS: Final = 10.0
"""Above, tenths of a second say nothing to a human."""


def duration(seconds: float) -> str:
    """Seconds in words: 0.3 s, 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    whole = max(0, round(seconds))
    if seconds < FRACTIONS_BELOW_SECONDS:
        return f"{max(0.0, round(seconds, 1)):g} s"
    if whole < 60:
        return f"{whole} s"
    for name, below, unit, small in (
        ("min", 3600, 60, "s"),
        ("h", 86400, 3600, "min"),
        ("d", None, 86400, "h"),
    ):
        if below is None or whole < below:
            rest = whole % unit // {"s": 1, "min": 60, "h": 3600}[small]
            return f"{whole // unit} {name}" + (f" {rest} {small}" if rest else "")
    raise AssertionError("a day has no end")


def iso(wall_seconds: float) -> str:
    """Seconds of wall clock as ISO 8601, UTC, with milliseconds."""
    at = datetime.fromtimestamp(wall_seconds, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def minute(wall_seconds: float) -> str:
    """Seconds of wall clock as a date and a time of day, UTC, for a sentence."""
    return datetime.fromtimestamp(wall_seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def wall_seconds(time: str) -> float:
    """An ISO time of ours as seconds of wall clock."""
    return datetime.fromisoformat(time.replace("Z", "+00:00")).astimezone(UTC).timestamp()
