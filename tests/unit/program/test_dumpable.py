"""Nobody but root looks into the supervisor: measured from another process of the same user."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.process import dumpable
from tests.other_users import NOBODY, as_user

ROOT = Path(__file__).resolve().parents[3]


def looked_into(allow: bool) -> bytes:
    """What a process finds in the environment of its own child that has said whether others may."""
    ready, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready)
        dumpable.allow(allow)
        os.write(writing, b"x")
        signal.pause()
        os._exit(0)
    os.close(writing)
    assert os.read(ready, 1) == b"x"
    try:
        return b"read" if Path(f"/proc/{child}/environ").read_bytes() is not None else b""
    except PermissionError:
        return b"refused"
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


@pytest.mark.parametrize(("allow", "found"), [(True, b"read"), (False, b"refused")])
def test_a_process_of_the_same_user_reads_the_environment_only_where_it_may(
    allow: bool, found: bytes
) -> None:
    seen = as_user(NOBODY, lambda: looked_into(allow)) if os.geteuid() == 0 else looked_into(allow)
    assert seen == found


def test_the_command_line_is_closed_from_its_beginning() -> None:
    code = (
        "import sys; sys.argv = ['wasup', '--version']\n"
        "from supervisor.process import dumpable\n"
        "from supervisor.__main__ import main\n"
        "before = dumpable.allowed()\n"
        "try:\n    main()\nexcept SystemExit:\n    print(before, dumpable.allowed())\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    assert said.splitlines()[-1] == "True False"
