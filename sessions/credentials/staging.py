"""What is being written beside its target until it is whole.

It holds keys: if its writer is killed, the next one clears it away.
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def beside(target: Path) -> Iterator[Path]:
    """A new directory next to the target, for nobody else to read; afterwards it is gone, with what
    was not moved out of it. Raises OSError.

    What killed writers of the same target have left is removed first; who lives holds a lock, which
    the kernel takes from the dead.
    """
    _clear_away(target)
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    unfinished.mkdir(mode=0o700)
    try:
        with _opened(unfinished) as handle:
            with contextlib.suppress(OSError):
                # some network file systems have none: there nobody clears anything away
                _lock(handle)
            yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _clear_away(target: Path) -> None:
    named_so = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{8}\.partial")
    for left in target.parent.iterdir():
        if named_so.fullmatch(left.name) and left.is_dir() and not left.is_symlink():
            with contextlib.suppress(OSError), _opened(left) as handle:
                _lock(handle)
                shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    """Raises BlockingIOError while somebody has it."""
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
