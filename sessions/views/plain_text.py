"""Text from outside as people may see it: without what a terminal would carry out, or what would
turn its order around. Pure.

Close messages come from servers, proxies and workers, names from whoever chose them, files from
wherever a backup was. A control sequence in one of them could clear the operator's screen, rename
his window, or show him another text than the one that is there.
"""

import re
import unicodedata
from typing import Any, Final

REPLACEMENT: Final = "\ufffd"
_SUSPECT: Final = re.compile(r"[^\x20-\x7e]")
_BIDI: Final = frozenset(
    "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
)
"""Marks, embeddings, overrides and isolates that change the direction of what follows, and
separators that break a line.
"""
_CONTROL: Final = frozenset({"Cc", "Cs"})
"""Control characters (ESC and C1 among them), and halves of surrogate pairs."""


def plain(text: str, keep: str = "") -> str:
    """The text with everything replaced that is not to be seen as itself.

    `keep`: control characters that may stay.
    """
    return _SUSPECT.sub(
        lambda found: found[0] if found[0] in keep or is_seen(found[0]) else REPLACEMENT, text
    )


def plain_all(value: Any, keep: str = "") -> Any:
    """The same for every text in decoded JSON."""
    match value:
        case str():
            return plain(value, keep)
        case list():
            return [plain_all(item, keep) for item in value]
        case dict():
            return {name: plain_all(item, keep) for name, item in value.items()}
        case _:
            return value


def is_seen(character: str) -> bool:
    """Whether a character is seen as itself: it steers no terminal, and turns no order around."""
    return character not in _BIDI and unicodedata.category(character) not in _CONTROL
