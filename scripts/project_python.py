"""For scripts that are run as files, perhaps with the system's Python (`sudo python3
scripts/x.py`): finds the project and its Python.

At the top of a script, below its docstring and above its imports:

    if __name__ == "__main__":  # the system's Python has neither the project nor its packages
        __import__("scripts.project_python" if __package__ else "project_python",
        fromlist=["enter"]).enter()

It knows nothing but the standard library, and no syntax newer than Python 3.6: it is what tells of
an old Python.
"""

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VIRTUAL_ENVIRONMENT = ROOT / ".venv"
OLDEST = (3, 11)
NEEDED = ("psutil", "rich", "dotenv")
"""The packages without which no script of the host can do its work.

They come together with all the others.
"""


def enter() -> None:
    """Put the project on the path.

    Where this Python is too old or lacks packages, go on in the project's own; exit with 2 if there
    is none.
    """
    _open_what_is_closed()
    _find_the_project()
    if os.name == "posix" and os.geteuid() == 0 and ROOT.stat().st_uid != 0:
        # Compiled files of root in somebody's folder would be in his way at the next `make`.
        sys.dont_write_bytecode = True
    trouble = _trouble()
    if not trouble:
        for stream in (sys.stdout, sys.stderr):
            # File names and settings of others may hold bytes that no terminal can show; that must
            # not end a script in its middle.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        __import__("supervisor.process.streams", fromlist=["keep_exit_status"]).keep_exit_status()
        return
    python = VIRTUAL_ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if Path(sys.prefix).resolve() == VIRTUAL_ENVIRONMENT.resolve():
        _give_up(trouble)
    if not os.access(str(python), os.X_OK):
        # Not made yet; or made for root only, as where it links to a Python below /root.
        _give_up(
            f"{trouble}, and {python}"
            f" {'may not be used by this user' if os.path.lexists(str(python)) else 'is not there'}"
        )
    arguments = [str(python), *(["-B"] if sys.dont_write_bytecode else []), *sys.argv]
    try:
        os.execv(str(python), arguments)
    except OSError as error:
        _give_up(f"{python} cannot be started ({error.strerror})")


def _open_what_is_closed() -> None:
    """Standard streams that were closed (`<&-`, some daemons): Python then has None, and the next
    file opened would take their place.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode))


def _find_the_project() -> None:
    """The project's folder in the place of the scripts' own: there, a script would shadow a package
    of the same name.
    """
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [str(ROOT), *(entry for entry in sys.path if entry not in (here, str(ROOT)))]


def _trouble() -> str:
    """Why this Python cannot run the project; empty: it can."""
    if sys.version_info < OLDEST:
        return f"this is Python {sys.version.split()[0]}, and {OLDEST[0]}.{OLDEST[1]} is needed"
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    return f"this Python lacks {' and '.join(missing)}" if missing else ""


def _give_up(trouble: str) -> None:
    sys.stderr.write(
        f"{Path(sys.argv[0]).name}: {trouble}. Run `make setup-run` first (in {ROOT}), then"
        " again.\n"
    )
    raise SystemExit(2)
