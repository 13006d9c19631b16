"""Whether other processes of our own user may look into this one: its environment, its memory, its
descriptors (prctl(2), PR_SET_DUMPABLE).

The environment holds the token and the store's key, the memory holds both and credentials. Children
start anew: what is said here ends with execve, so workers say nothing (Node cannot).
"""

import ctypes
import sys
from typing import Final

_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4


def allow(others: bool) -> None:
    """Let other processes of our user look into this one, or only root.

    Nothing happens where there is no such call.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, int(others), 0, 0, 0)


def allowed() -> bool:
    """Whether they may."""
    return sys.platform != "linux" or bool(
        ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 1
    )
