"""What another user of the machine can do; only root can find out."""

import encodings.idna  # noqa: F401 - a socket loads it when it is first used, and by then we may not read it
import os
import traceback
from collections.abc import Callable

import pytest

NOBODY = 65_534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


def as_user(user: int, work: Callable[[], bytes], group: int = NOBODY) -> bytes:
    """What the work returns when that user does it, in a process of its own (a fork: he may not
    even be able to start our Python).

    Raises AssertionError with the traceback if the work raises.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status, said = 0, b""
        try:
            os.close(reading)
            os.setgroups([])
            os.setresgid(group, group, group)
            os.setresuid(user, user, user)
            said = work()
        except BaseException:
            status, said = 1, traceback.format_exc().encode()
        finally:
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(said)
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, said.decode()
    return said
