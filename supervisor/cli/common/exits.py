"""How commands end: their exit statuses, and what went wrong in a sentence or two on stderr."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import typer

from sessions.model import WasupError
from supervisor.cli.common.output import say
from supervisor.process.lock import Locked

EXIT_FAILED: Final = 1
"""It was refused or has failed; or what was looked at wants somebody."""
EXIT_USAGE: Final = 2
"""It was given what it does not take."""
EXIT_NO_SUPERVISOR: Final = 3
"""No supervisor answers: none runs, or it is just starting, or it hangs. Trying again may help."""
EXIT_CONFIG: Final = 78
"""EX_CONFIG of sysexits.h: nothing but a human can mend it, so a process manager need not try
again.
"""
STATUSES: Final = {
    0: "done; of `status` and `doctor`: nobody has to do anything",
    EXIT_FAILED: (
        "refused, or failed; of `status`, `doctor` and `capacity --sessions`: somebody has to act"
    ),
    EXIT_USAGE: "used wrongly: an unknown option, or a question that nobody is there to answer",
    EXIT_NO_SUPERVISOR: "no supervisor answers: start it, or try again",
    EXIT_CONFIG: "the settings, or the file of policy or alerts, cannot be used",
    130: "interrupted (Ctrl-C)",
}
"""What each exit status says; `wasup --help` and docs/cli.md show it."""


class CommandFailed(Exception):
    """The supervisor said no, or the command cannot do it; the message is for the operator."""


class NoSupervisor(CommandFailed):
    """No supervisor answers."""


def fail(message: str, status: int = EXIT_FAILED) -> NoReturn:
    """End with a message on stderr."""
    say(message, err=True)
    raise typer.Exit(status)


@contextmanager
def told() -> Iterator[None]:
    """What goes wrong inside ends the command, and is told on stderr."""
    try:
        yield
    except WasupError as error:
        fail(f"{error} {error.hint}")
    except NoSupervisor as error:
        fail(str(error), EXIT_NO_SUPERVISOR)
    except (CommandFailed, Locked) as error:
        fail(str(error))
    except BrokenPipeError:
        raise  # whoever read the output is gone; __main__.py knows what to do then
    except OSError as error:
        fail(in_words(error))


def in_words(error: OSError) -> str:
    """What the operating system refused, of which file, and what to do about it where that is
    known: no number of an error.
    """
    reason = error.strerror or str(error)
    of = (
        f"{os.fsdecode(error.filename)}: "
        if isinstance(error.filename, (str, bytes, os.PathLike))
        else ""
    )
    hint = _WHAT_TO_DO.get(error.errno or 0)
    return f"{of}{reason.rstrip('.')}." + (f" {hint}" if hint else "")


_WHAT_TO_DO: Final = {
    errno.EADDRINUSE: (
        "Something else listens there (`ss -ltnp` says what): end it, or set WHATSAPP_API_PORT to"
        " another port."
    ),
    errno.EADDRNOTAVAIL: (
        "This machine has no such address: set WHATSAPP_API_HOST to one that it has."
    ),
    errno.EACCES: "Be the user whom it belongs to, or choose another place.",
    errno.EROFS: "That file system is read-only: choose another place.",
    errno.ENOSPC: "The disk is full: free space, or choose another place.",
}
