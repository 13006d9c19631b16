"""Text that strangers choose, and what the databases take of it: PostgreSQL refuses NUL and counts
characters, SQLite takes all.

One rule for both, so that a store can always be moved from one to the other.
"""

from typing import Any, Final

from sqlalchemy import Column

_REPLACEMENT: Final = "\ufffd"


def cleaned(text: str, column: Column[Any]) -> str:
    """The text as the column takes it: what cannot be stored is replaced, what is too long is
    cut.
    """
    # errors: half a surrogate pair
    taken = text.encode(errors="replace").decode().replace("\0", _REPLACEMENT)
    return taken[: _most(column)]


def fits(text: str, column: Column[Any]) -> bool:
    """Whether the column takes the text as it is."""
    return cleaned(text, column) == text


def _most(column: Column[Any]) -> int | None:
    most: int | None = getattr(column.type, "length", None)
    return most
