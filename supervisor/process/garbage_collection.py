"""Python's garbage collector at the start: while the program is loaded there is nothing to find,
and it would look through all of it again and again, which is a sixth of the start's CPU.
"""

import gc
from typing import Final

_USUAL: Final = gc.get_threshold()
_WHILE_LOADING: Final = 100_000
"""New objects between two looks; a command that makes more of them is still looked after."""


def spare_the_loading() -> None:
    """Look seldom from here on, as only what stays is made."""
    gc.set_threshold(_WHILE_LOADING, *_USUAL[1:])


def loaded() -> None:
    """Look as usual from here on, and never again at what has been loaded: it stays to the end."""
    gc.freeze()
    gc.set_threshold(*_USUAL)
