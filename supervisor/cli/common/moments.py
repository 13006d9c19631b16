"""Moments as operators write them: so long from now, or a date."""

import re
import time
from datetime import UTC, datetime
from typing import Final

_SPAN: Final = re.compile(r"(?P<count>[1-9][0-9]{0,5})(?P<unit>[mhd])")
_UNIT_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400}
FORMS: Final = "30d, 12h, 90m, or a date such as 2027-01-31 (its first moment, UTC)"


def seconds_away(text: str) -> float:
    """How far a moment is from now: a span as it stands, a date by the clock (what is over: less
    than 0).

    Raises ValueError.
    """
    if (span := _SPAN.fullmatch(text)) is not None:
        return float(span["count"]) * _UNIT_SECONDS[span["unit"]]
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - time.time()


def seconds_ago(text: str) -> float:
    """The same for what has been: a span back from now, or a date. Raises ValueError."""
    away = seconds_away(text)
    return away if _SPAN.fullmatch(text) else -away
