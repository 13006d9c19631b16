"""Which time zone schedules and reports are meant in: the one that is named, or the host's."""

import os
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

LOCAL: Final = Path("/etc/localtime")
_FOLDER: Final = "zoneinfo/"
"""What stands before a zone's name in the path of its file."""
UTC: Final = "UTC"


def named(name: str) -> ZoneInfo:
    """The zone of that name. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder
        raise ValueError(
            "a name of the time zone database, such as America/Sao_Paulo or UTC (`timedatectl"
            " list-timezones`; where there is none: apt install tzdata)"
        ) from None


def of_host(local: Path = LOCAL) -> ZoneInfo:
    """The host's: what TZ says, or the file that `/etc/localtime` is a link to; UTC where neither
    names one.
    """
    given = os.environ.get("TZ", "").lstrip(":")
    for name in (given.rpartition(_FOLDER)[2], str(local.resolve()).rpartition(_FOLDER)[2]):
        try:
            return named(name)
        except ValueError:
            continue
    return ZoneInfo(UTC)
