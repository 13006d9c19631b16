"""The front door: `wasup`, and `python -m supervisor`, which is the same but runs the supervisor
when nothing else is asked for.

A small file, as all that is behind it takes a second to come in. pm2, systemd and `make run` use
the second form; who only types `wasup` gets help, and starts nothing.
"""

import contextlib
import errno
import os
import signal
import sys
from typing import Final, NoReturn

from supervisor.process import dumpable, garbage_collection
from supervisor.process.streams import keep_exit_status

INTERRUPTED: Final = 130
"""What shells give a program that Ctrl-C ended."""
_UNHEARD: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EPIPE})
"""What a write to a full disk, a terminal that is gone or a closed pipe says; a command tells all
its other errors itself.
"""
_LAST_WORDS: Final = b"wasup: interrupted\n"


def main(otherwise: str | None = None) -> None:
    """Carry out the command line (`otherwise` where it names no command).

    Ctrl-C ends it in order where it has begun something (see `program.py`), and always without a
    traceback.
    """
    keep_exit_status()
    dumpable.allow(False)  # at once: the environment may hold the token and the store's key
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # nobody has us ignore it
        signal.signal(signal.SIGINT, _leave)
    garbage_collection.spare_the_loading()
    from supervisor.cli.cli import main as command_line

    try:
        if signal.getsignal(signal.SIGINT) is _leave:
            # asyncio's own comes only where it finds this one
            signal.signal(signal.SIGINT, signal.default_int_handler)
        command_line([otherwise] if otherwise and len(sys.argv) == 1 else None)
    except KeyboardInterrupt:
        _say_so()
        sys.exit(INTERRUPTED)
    except OSError as error:
        if error.errno not in _UNHEARD:
            raise
        _say(f"wasup: what it has to say cannot be written: {error.strerror}\n".encode())
        sys.exit(1)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer has caught it
            _say_so()
        raise


def _leave(*_: object) -> NoReturn:
    """At once: an exception in the middle of an import would be told by whoever imports, in his own
    way.
    """
    _say_so()
    os._exit(INTERRUPTED)


def _say_so() -> None:
    _say(_LAST_WORDS)


def _say(words: bytes) -> None:
    with contextlib.suppress(OSError):  # stderr may be on the same disk, or gone
        os.write(2, words)


if __name__ == "__main__":
    main("run")
