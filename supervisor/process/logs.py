"""The supervisor's log: JSON lines for machines, coloured lines on a terminal.

What libraries say comes out in the same form.

Secrets are cut out in three ways, each a net below the one before: by a field's name, by the value
(those of the settings are told to
`configure`), and by the look of what carries one (an `Authorization` header, a password in a URL).
Of what aiohttp says about a request
only its own words are kept: its errors quote what a caller has sent.
"""

import contextlib
import io
import logging
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, TextIO, cast

import structlog

SECRET_NAMES: Final = re.compile(
    r"token|secret|password|creds|authorization|qr|noise|private", re.IGNORECASE
)
"""A field of such a name is never written, whatever it holds."""
HIDDEN: Final = "(hidden)"
SHORTEST_SECRET: Final = 4
"""Characters. A shorter value would be found, and hidden, in half of all words."""
CARRIERS: Final = (
    (re.compile(r"(?i)(authorization['\"]?\s*[:=,]\s*b?['\"]?).*"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer\s+)\S+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@'\"]+@"), rf"\1{HIDDEN}@"),
)
"""What carries a secret, whoever's it is, and what is left of it."""
QUOTING: Final = "aiohttp"
"""The loggers of this name, and below it, quote what a caller has sent."""

log = structlog.get_logger("logs")


class LossyStream(io.TextIOBase):
    """A stream that loses what it cannot write.

    Whoever read our output (pm2's daemon, say) may be gone, the disk may be full, and the stream
    below may be closed already (ValueError) when Python 3.13 flushes this one at its end: no log
    line is worth a session.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or lose it."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or lose it."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


@dataclass(frozen=True, slots=True)
class Copy:
    """Who gets a copy of the lines: of these actions, or (None) of all.

    `level`: of those that are less, none; None: the log's own level.
    """

    write: Callable[[Mapping[str, Any]], None]
    actions: frozenset[str] | None = None
    level: str | None = None


def _for_people(
    _logger: Any, _method: str, line: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """For a terminal: the session first, since that is what one looks for; nothing that is empty,
    no name of ours for the kind of line.
    """
    shown = {
        name: value
        for name, value in line.items()
        if value is not None and name not in {"session", "action"}
    }
    if line.get("session") is not None:
        shown["event"] = f"{line['session']}: {line['event']}"
    return shown


class ExceptionCount:
    """Counts the errors of our own that the log has had: lines with a traceback."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(
        self, _logger: Any, method: str, line: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Look at a line, and hand it on."""
        if line.get("exc_info") and line.get("level", method) in {"error", "critical"}:
            self.seen += 1
        return line


EXCEPTIONS: Final = ExceptionCount()
"""Of this process, as its log is."""


def configure(
    log_format: str, level: str, secrets: Iterable[str] = (), copies: Sequence[Copy] = ()
) -> None:
    """Set the log up.

    `auto` is human on a terminal and JSON elsewhere. `secrets`: values that no line may hold.
    `copies`: who else gets lines, without the secrets.

    From here on also that is a line of the log which Python itself would print: an exception that
    nobody caught, and a warning.
    """
    human = log_format == "human" or (log_format == "auto" and sys.stderr.isatty())
    renderer = structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer()
    stream = cast("TextIO", LossyStream(sys.stderr))
    last: list[structlog.typing.Processor] = [
        EXCEPTIONS,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        # A string before it is looked through, and not by rich, which prints every frame's local
        # variables.
        structlog.processors.format_exc_info,
        Redaction(secrets),
        *([_Copies(copies, level)] if copies else []),
        *([_for_people] if human else []),
        renderer,
    ]
    structlog.configure(
        processors=[structlog.processors.add_log_level, *last],
        wrapper_class=structlog.make_filtering_bound_logger(
            min(_number(one) for one in (level, *(copy.level or level for copy in copies)))
        ),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_logger_name,
                structlog.stdlib.add_log_level,
                _as_event,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # a record that cannot be formatted would be printed, arguments and all
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    sys.unraisablehook = lambda thrown: _log_uncaught(
        thrown.exc_type, thrown.exc_value, thrown.exc_traceback
    )
    threading.excepthook = lambda thrown: _log_uncaught(
        thrown.exc_type, thrown.exc_value, thrown.exc_traceback
    )


class _Copies:
    """The processor that hands copies on, and lets pass what is of the log's own level."""

    def __init__(self, copies: Sequence[Copy], level: str) -> None:
        self._copies = [(copy, _number(copy.level or level)) for copy in copies]
        self._level = _number(level)

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Of structlog's kind. Raises DropEvent."""
        level = _number(event.get("level", "critical"))
        for copy, least in self._copies:
            if level >= least and (copy.actions is None or event.get("action") in copy.actions):
                copy.write(event)
        if level < self._level and event.get("action") != "library":
            raise structlog.DropEvent
        return event


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


class Redaction:
    """The processor that cuts secrets out of everything that a line holds, however deep."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first: one may be a part of another.
        found = sorted(
            {form for secret in secrets for form in _forms(secret)}, key=len, reverse=True
        )
        self._values = re.compile("|".join(map(re.escape, found))) if found else None

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Of structlog's kind."""
        for name, value in event.items():
            event[name] = HIDDEN if SECRET_NAMES.search(name) else self._without(value)
        return event

    def _without(self, value: Any) -> Any:
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return self.text(value)
            case Mapping():
                hidden = {name: SECRET_NAMES.search(str(name)) for name in value}
                return {
                    name: HIDDEN if hidden[name] else self._without(inner)
                    for name, inner in value.items()
                }
            case list() | tuple() | set() | frozenset():
                return [self._without(inner) for inner in value]
            case _:  # what the renderer would have made of it
                return self.text(repr(value))

    def text(self, text: str) -> str:
        """The text without secrets."""
        if self._values is not None:
            text = self._values.sub(HIDDEN, text)
        for carrier, left in CARRIERS:
            text = carrier.sub(left, text)
        return text


def _forms(secret: str) -> Iterable[str]:
    """How a secret may stand in a text: as it is, and as `repr` has it (errors quote bytes so)."""
    if len(secret) >= SHORTEST_SECRET:
        yield secret
        yield repr(secret)[1:-1]
        yield repr(secret.encode(errors="surrogateescape"))[2:-1]


def _as_event(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A library's record.

    Of those that quote their callers: the words of the programmer, and where, not what.
    """
    record: logging.LogRecord = event["_record"]
    event["action"] = "library"
    if record.name.partition(".")[0] == QUOTING:
        event["event"] = str(record.msg)
        if record.exc_info and record.exc_info[0] is not None:
            kind, _, where = record.exc_info
            event.pop("exc_info", None)
            event["exception"] = "".join([*traceback.format_tb(where), kind.__name__])
    return event


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, where: TracebackType | None
) -> None:
    """An exception that ends the program, or a thread of it, or that a finalizer met, in the form
    of the log.
    """
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    log.critical(
        "an exception that nobody caught", action="uncaught", exc_info=(kind, error, where)
    )
