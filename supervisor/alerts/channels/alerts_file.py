"""The operator's file of alerts (WHATSAPP_ALERTS_FILE, TOML): above what, to whom, when.

Everything that is wrong with it is told at once, each with its table, key, value and what is
accepted. A value is shown where it can be no secret alone (`_shown`): a password under a misspelt
key is a password. The names of the seeds of this program are accepted beside its own:
`ALERT_CHANNELS` for `channels`, `PERFORMANCE_THRESHOLDS` for `thresholds`.
"""

import difflib
import errno
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field, SecretStr, StrictFloat, StrictInt, ValidationError, create_model

from sessions.model import WasupError
from supervisor.alerts.channels.channel_settings import (
    KINDS,
    NAME,
    SECRETS,
    WORDS,
    ChannelTable,
    HoursText,
    MailServer,
    SmsTable,
    Table,
    Twilio,
    Url,
    WebhookTable,
)
from supervisor.alerts.hours import FORM
from supervisor.alerts.judging.thresholds import Profile, thresholds
from supervisor.alerts.notices import Language

FILE_BYTES: Final = 1024 * 1024
CHANNELS_MOST: Final = 20
OTHER_NAMES: Final = {"ALERT_CHANNELS": "channels", "PERFORMANCE_THRESHOLDS": "thresholds"}
T = TypeVar("T", bound=Table)


class BadAlertsFile(WasupError):
    """The file of alerts cannot be used."""

    code = "bad_alerts_file"
    hint = "docs/alert-channels.md says what it may hold; `wasup alerts check` checks it."


LEVELS: Final[Mapping[str, tuple[str, str, float]]] = {
    "cpu": ("cpu", "percent", 0.01),
    "memory": ("memory", "percent", 0.01),
    "disk": ("disk", "percent", 0.01),
    "error_rate": ("error_rate", "percent", 0.01),
    "response_time": ("response_time_ms", "seconds", 1000.0),
}
"""Figures with a limit each for `_warning` and `_critical`: the rules' name, the file's unit, and
what the file's number is multiplied with. In percent and seconds, as the seeds have them.
"""
OF_UNIT: Final[Mapping[str, tuple[str, float]]] = {
    "percent": ("percent, above 0 and up to 100", 100.0),
    "seconds": ("seconds, above 0 and up to 3600", 3600.0),
}


def _number(words: str, most: float) -> Any:
    number = StrictInt | StrictFloat | None
    return (
        Annotated[number, Field(gt=0, le=most, allow_inf_nan=False, description=words)],
        None,
    )


_OTHERS: Final[dict[str, Any]] = {
    "descriptors_warning": _number(*OF_UNIT["percent"]),
    "load_warning": _number("processes, above 0 and up to 100000", 100_000),
    "down_seconds": _number("seconds, above 0 and up to 86400", 86_400),
    "flapping_closes": (
        Annotated[StrictInt | None, Field(ge=1, le=1000, description="a number from 1 to 1000")],
        None,
    ),
}
ThresholdsTable: Final = create_model(
    "ThresholdsTable",
    __base__=Table,
    **{
        f"{name}_{level}": _number(*OF_UNIT[unit])
        for name, (_, unit, _) in LEVELS.items()
        for level in ("warning", "critical")
    },
    **_OTHERS,
)


def limits(given: Mapping[str, float]) -> dict[str, float]:
    """The file's limits by the names, and in the units, of the rules (judging/thresholds.py)."""
    found: dict[str, float] = {}
    for key, value in given.items():
        name, _, level = key.rpartition("_")
        if name in LEVELS:
            field_name, _, factor = LEVELS[name]
            found[field_name if level == "warning" else f"{field_name}_critical"] = value * factor
        elif key == "descriptors_warning":
            found["descriptors"] = value / 100
        elif key == "load_warning":
            found["load"] = value
        else:
            found[key] = value
    return found


class _Top(Table):
    """What stands above all tables."""

    profile: Annotated[
        Profile | None, Field(description='"development", "staging" or "production"')
    ] = None
    language: Annotated[Language | None, Field(description='"en" or "pt-BR"')] = None
    quiet_hours: Annotated[HoursText | None, Field(description=FORM)] = None
    maintenance_windows: Annotated[HoursText | None, Field(description=FORM)] = None
    repeat_hours: Annotated[
        StrictInt | StrictFloat | None,
        Field(gt=0, le=720, description="hours, above 0 and up to 720"),
    ] = None
    heartbeat_url: Annotated[
        Url | None, Field(description="an http:// or https:// URL without user and password")
    ] = None
    heartbeat_every_seconds: Annotated[
        StrictInt, Field(ge=10, le=86_400, description="a whole number from 10 to 86400")
    ] = 60


NUMBERS: Final = frozenset(
    {*ThresholdsTable.model_fields, "repeat_hours", "heartbeat_every_seconds", "port", "enabled"}
)
"""Keys of numbers, and of yes and no: a number that they do not accept is shown."""
TABLES: Final[tuple[type[Table], ...]] = (_Top, ThresholdsTable, MailServer, Twilio)
"""All but the channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertsFile:
    """What it says.

    `thresholds`: by the rules' names, as fractions and milliseconds. `doubts`: what is accepted,
    and may be meant otherwise.
    """

    path: Path | None = None
    profile: Profile | None = None
    language: Language | None = None
    quiet_hours: str | None = None
    maintenance_windows: str | None = None
    repeat_hours: float | None = None
    heartbeat_url: SecretStr | None = None
    heartbeat_every_seconds: int = 60
    thresholds: Mapping[str, float] = field(default_factory=dict)
    channels: Mapping[str, ChannelTable] = field(default_factory=dict)
    smtp: MailServer = field(default_factory=MailServer)
    twilio: Twilio | None = None
    doubts: tuple[str, ...] = ()


def read_alerts_file(path: Path | None) -> AlertsFile:
    """What the file says; nothing without one. Raises BadAlertsFile, which names the file."""
    if path is None:
        return AlertsFile()
    try:
        raw = _content(path)
        if len(raw) > FILE_BYTES:
            raise BadAlertsFile(f"The file of alerts {path} has more than {FILE_BYTES} bytes.")
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise BadAlertsFile(
            f"The file of alerts {path} cannot be read: {error.strerror or error}."
        ) from None
    except UnicodeDecodeError:
        raise BadAlertsFile(f"The file of alerts {path} is not UTF-8 text.") from None
    try:
        return parse(text, path)
    except BadAlertsFile as error:
        lines = str(error).splitlines()
        raise BadAlertsFile("\n".join(f"{path}: {line}" for line in lines)) from None


def open_to_others(path: Path | None) -> list[str]:
    """What is doubtful about the file itself: it has the addresses and passwords of channels."""
    try:
        about = None if path is None else path.stat()
    except OSError:  # whoever reads it says so
        about = None
    if about is None:
        return []
    found, own = [], about.st_uid == os.geteuid()  # else it is the group that we read by
    if about.st_mode & (stat.S_IROTH | (stat.S_IRGRP if own else 0)):
        found.append(f"{path} has secrets and can be read by others: chmod 600 {path}")
    if about.st_mode & (stat.S_IWOTH | (stat.S_IWGRP if own else 0)):
        found.append(f"{path} can be changed by others: chmod go-w {path}")
    return found


def parse(text: str, path: Path | None = None) -> AlertsFile:
    """What a file's text says. Raises BadAlertsFile, a line for each thing that is wrong."""
    try:
        given = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise BadAlertsFile(f"It is not TOML: {_TOKEN.sub(HIDDEN, str(error)[:MOST])}") from None
    return _Reader(path).read(given)


class _Reader:
    """Reads one file, and collects what is wrong with it."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._wrong: list[str] = []

    def read(self, given: dict[str, Any]) -> AlertsFile:
        for other, name in OTHER_NAMES.items():
            if other in given and name in given:
                self._wrong.append(f"[{other}]: {name} is the same table: say it once.")
            elif other in given:
                given[name] = given.pop(other)
        tables = {
            name: self._table(name, given.pop(name, {}))
            for name in ("smtp", "twilio", "thresholds", "channels")
        }
        top = self._take(_Top, "", given)
        levels = self._take(ThresholdsTable, "thresholds", tables["thresholds"])
        smtp = self._take(MailServer, "smtp", tables["smtp"])
        twilio = self._take(Twilio, "twilio", tables["twilio"]) if tables["twilio"] else None
        channels = self._channels(tables["channels"])
        if twilio is None and not tables["twilio"]:
            self._wrong += [
                f"[channels.{name}]: it needs the table [twilio] with account_sid, auth_token and"
                " sender."
                for name, channel in channels.items()
                if isinstance(channel, SmsTable)
            ]
        named = {"smtp": smtp, **{f"channels.{name}": one for name, one in channels.items()}}
        self._wrong += [
            f"[{where}]: user and password go together: say both, or none."
            for where, table in named.items()
            if isinstance(table, MailServer | WebhookTable)
            and (table.user is None) != (table.password is None)
        ]
        said = {} if levels is None else levels.model_dump(exclude_none=True)
        self._check_levels(said)
        if self._wrong or top is None or smtp is None:
            raise BadAlertsFile("\n".join(self._wrong))
        return AlertsFile(
            path=self._path,
            **{key: getattr(top, key) for key in _Top.model_fields},
            thresholds=limits(said),
            channels=dict(sorted(channels.items(), key=lambda one: (one[1].rank, one[0]))),
            smtp=smtp,
            twilio=twilio,
            doubts=(*_fractions(said), *_overtaken(said, limits(said), top.profile)),
        )

    def _channels(self, tables: Mapping[str, Any]) -> dict[str, ChannelTable]:
        found = {}
        if len(tables) > CHANNELS_MOST:
            self._wrong.append(f"[channels]: it has {len(tables)}; it accepts {CHANNELS_MOST}.")
            return {}
        for name, given in tables.items():
            where = f"channels.{_name(name)}"
            table = dict(self._table(where, given))
            kind = table.pop("type", name)
            if NAME.fullmatch(name) is None:
                self._wrong.append(
                    f"[{where}]: a channel's name has letters, digits, - and _, at most 32."
                )
            elif not isinstance(kind, str) or kind not in KINDS:
                key = f"type = {_shown('type', kind)}" if "type" in given else "type is missing"
                self._wrong.append(f"[{where}] {key}: it accepts {', '.join(KINDS)}.")
            elif (channel := self._take(KINDS[kind], where, table)) is not None and channel.enabled:
                found[name] = channel
        return found

    def _check_levels(self, said: Mapping[str, float]) -> None:
        for key, warning in said.items():
            name, _, level = key.rpartition("_")
            critical = said.get(f"{name}_critical")
            if level == "warning" and critical is not None and critical < warning:
                self._wrong.append(
                    f"[thresholds] {name}_critical = {critical:g}: it accepts {name}_warning"
                    f" ({warning:g}) or more."
                )

    def _table(self, name: str, given: Any) -> dict[str, Any]:
        if isinstance(given, dict):
            return given
        self._wrong.append(f"{name} = {_shown(name, given)}: it is a table: [{name}].")
        return {}

    def _take(self, kind: type[T], where: str, given: Mapping[str, Any]) -> T | None:
        """A table of that kind; None: it is disabled, and not whole."""
        try:
            return kind.model_validate(self._with_secrets(kind, where, given))
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False)
        if given.get("enabled") is False:  # what is missing may be missing still
            details = [detail for detail in details if detail["type"] != "missing"]
        told: dict[str, int | None] = {}
        for detail in details:
            key, entry = str(detail["loc"][0]), next(iter(detail["loc"][1:]), None)
            told.setdefault(key, entry if isinstance(entry, int) else None)
        self._wrong += [self._words(kind, where, key, given, told[key]) for key in told]
        return None

    def _words(
        self,
        kind: type[Table],
        where: str,
        key: str,
        given: Mapping[str, Any],
        entry: int | None,
    ) -> str:
        place = f"[{where}] " if where else ""
        known = kind.model_fields.get(key)
        if known is None:
            name = _name(key)
            similar = difflib.get_close_matches(name, kind.model_fields, n=1)
            hint = f"; did you mean {similar[0]}?" if similar else "."
            return (
                f"{place}{name} = {HIDDEN}: there is no such key{hint} It accepts"
                f" {', '.join(_accepted(kind))}."
            )
        elsewhere = next((f"{key}{end}" for end in ("_file", "_env") if f"{key}{end}" in given), "")
        if elsewhere:
            return f"{place}{elsewhere}: it accepts, there, {known.description}."
        if key not in given:
            return f"{place}{key} is missing: {known.description}."
        shown = _shown(key, given[key])
        if shown == HIDDEN and entry is not None:
            shown += f", the entry {entry + 1} of it"
        return f"{place}{key} = {shown}: it accepts {known.description}."

    def _with_secrets(
        self, kind: type[Table], where: str, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The table, with what stands in files and in the environment in its place."""
        found, place = dict(given), f"[{where}] " if where else ""
        for key in SECRETS & kind.model_fields.keys():
            said = [one for one in (key, f"{key}_file", f"{key}_env") if one in given]
            if len(said) > 1:
                self._wrong.append(f"{place}{' and '.join(said)} are the same: say one of them.")
            file, variable = found.pop(f"{key}_file", None), found.pop(f"{key}_env", None)
            if file is not None:
                found[key] = self._from_file(f"{place}{key}_file", file)
            elif variable is not None:
                found[key] = self._from_environment(f"{place}{key}_env", variable)
        return {key: value for key, value in found.items() if value is not None}

    def _from_file(self, key: str, name: Any) -> str | None:
        """What the file says. It is not named: it may be the secret, given under the wrong key."""
        if not isinstance(name, str) or not name:
            self._wrong.append(f"{key} = {_shown(key, name)}: it accepts a file's path.")
            return None
        folder = Path() if self._path is None else self._path.parent
        try:
            raw = _content(folder / Path(name).expanduser())
            text = raw.decode().strip()
        except (OSError, ValueError, RuntimeError) as error:
            why = error.strerror if isinstance(error, OSError) else "no path, or not UTF-8 text"
            self._wrong.append(f"{key} = {HIDDEN}: the file of that path cannot be read: {why}.")
            return None
        if len(raw) > FILE_BYTES:
            self._wrong.append(f"{key} = {HIDDEN}: that file has more than {FILE_BYTES} bytes.")
            return None
        return text

    def _from_environment(self, key: str, name: Any) -> str | None:
        value = os.environ.get(name) if isinstance(name, str) and name else None
        if not value:
            self._wrong.append(
                f"{key} = {_shown(key, name)}: it accepts the name of an environment variable that"
                " is set."
            )
            return None
        return value


def _fractions(said: Mapping[str, float]) -> Iterator[str]:
    """What was written as a fraction of 1, it seems."""
    for key, value in said.items():
        unit = LEVELS[name][1] if (name := key.rpartition("_")[0]) in LEVELS else ""
        if value < 1 and (unit == "percent" or key == "descriptors_warning"):
            yield (
                f"[thresholds] {key} = {value:g} is {value:g} %: if {100 * value:g} % is meant,"
                f" write {100 * value:g}"
            )


def _overtaken(
    said: Mapping[str, float], found: Mapping[str, float], profile: Profile | None
) -> Iterator[str]:
    """Warnings at or above the critical limit that counts where the file says none."""
    without = thresholds({}, {}, profile)
    for name, (rule, unit, factor) in LEVELS.items():
        critical = getattr(without, f"{rule}_critical")
        warning, key = found.get(rule), f"{name}_critical"
        if key not in said and None not in (warning, critical) and warning >= critical:
            yield (
                f"[thresholds] {name}_warning = {said[f'{name}_warning']:g} is not below the"
                f" critical limit of {critical / factor:g} {unit}, which does not count then: say"
                f" {key} too"
            )


def _content(path: Path) -> bytes:
    """Up to one byte more than a file may have. Raises OSError, also for what is no regular file: a
    pipe would be waited for, and a device has no end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(FILE_BYTES + 1)
    finally:
        os.close(descriptor)


def _accepted(kind: type[Table]) -> Iterable[str]:
    own = ("type",) if issubclass(kind, ChannelTable) else ()
    return (*own, *kind.model_fields)


HIDDEN: Final = "(hidden)"
MOST: Final = 80
"""Characters of it that are shown; what is longer is no word of this file."""
_TOKEN: Final = re.compile(
    r"\S*://\S*|\S+:\S+@\S*|\d+:[\w-]{8,}|(?=[\w+/=-]*\d)[\w+/=-]{20,}", re.ASCII
)
"""An address, a password before its host, a bot's token, and any key of twenty characters."""


def _shown(key: str, value: object) -> str:
    """What was given, where that can be no secret: numbers, words of a list, hours, names.

    All else is hidden, so that a key that nobody has thought of shows nothing.
    """
    if value in ("", [], {}):
        return '""' if value == "" else str(value)
    if isinstance(value, list) and key in WORDS:
        return f"[{', '.join(_shown(key, one) for one in value[:10])}]"
    if isinstance(value, str) and key in WORDS:
        return HIDDEN if _is_token(value) else f'"{_escaped(value)}"'
    if key not in WORDS | NUMBERS or not isinstance(value, bool | int | float):
        return "(a text)" if key in NUMBERS and isinstance(value, str) else HIDDEN
    if isinstance(value, bool):
        return str(value).lower()
    try:
        return str(value)[:MOST]
    except ValueError:  # Python writes no whole number of so many digits
        return "a number of thousands of digits"


def _name(key: str) -> str:
    """A key of the file that we do not know."""
    return HIDDEN if _is_token(key) else _escaped(key)


def _is_token(text: str) -> bool:
    return len(text) > MOST or _TOKEN.search(text) is not None


def _escaped(text: str) -> str:
    """Without what makes a line look like another one, or like several."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
