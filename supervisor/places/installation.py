"""What is installed: its version, and the folder where its settings (`.env`) and its data (`data/`)
are unless it is told otherwise.

That is the folder that the program was installed from, never the one in which somebody happens to
stand: a command in cron, in `sudo -u` or in a home directory finds what the supervisor uses. `wasup
--directory DIR` names another folder.
"""

import contextlib
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Final

INSTALLED: Final = Path(__file__).resolve().parents[2]
ENV_FILE: Final = ".env"
DATA: Final = "data"
DATABASE: Final = "wasup.db"

told: Final[ContextVar[Path | None]] = ContextVar("told", default=None)
"""The folder of `--directory`, while its command runs."""


@cache
def version() -> str:
    """The version of what is installed."""
    import importlib.metadata  # most commands do without

    return importlib.metadata.version("wasup")


def folder() -> Path:
    """Where `.env` and `data/` are; relative paths in settings are meant from there, too."""
    return told.get() or INSTALLED


def left_behind() -> Path | None:
    """The current directory, if it has settings or data of which nobody has said whether they are
    meant.

    0.1.0 took them from there. Whoever relied on that would act on another fleet, or on none,
    without a word.
    """
    with contextlib.suppress(OSError):
        # it is closed to us, or gone: nobody has taken anything from there
        here = Path.cwd()
        if (
            told.get() is None
            and here.resolve() != folder()
            and (_has_settings(here) or (here / DATA / DATABASE).exists())
        ):
            return here
    return None


def _has_settings(here: Path) -> bool:
    file = here / ENV_FILE
    return file.is_file() and any(
        line.lstrip().startswith(b"WHATSAPP_") for line in file.read_bytes().splitlines()
    )
