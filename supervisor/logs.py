"""The supervisor's log: JSON lines for machines, coloured lines on a terminal; secrets are cut out of both."""

import contextlib
import io
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO, cast

import structlog

SECRET_NAMES: Final = re.compile(r"token|secret|password|creds|authorization|qr|noise|private", re.IGNORECASE)
"""A field of such a name is never written, whatever it holds."""


class LossyStream(io.TextIOBase):
    """A stream that loses what it cannot write.

    Whoever read our output (pm2's daemon, say) may be gone, and the disk may be full: no log line is worth a session.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or lose it."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or lose it."""
        with contextlib.suppress(OSError):
            self._stream.flush()


def configure(log_format: str, level: str) -> None:
    """Set the log up. `auto` is human on a terminal and JSON elsewhere."""
    human = log_format == "human" or (log_format == "auto" and sys.stderr.isatty())
    # plain_traceback: structlog's own choice, rich, prints every frame's local variables, and there are secrets among them
    for_people = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer = for_people if human else structlog.processors.JSONRenderer()
    stream = cast("TextIO", LossyStream(sys.stderr))
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redact,
            structlog.processors.StackInfoRenderer(),
            *([] if human else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, stream=stream, format="%(levelname)s %(name)s %(message)s", force=True)


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in event:
        if SECRET_NAMES.search(name):
            event[name] = "(hidden)"
    return event
