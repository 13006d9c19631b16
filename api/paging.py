"""Lists page by page: how many at the most, after which one, and the cursor of what comes next.

A cursor is the key by which the list is sorted, of the last entry that was shown: so what is added
or removed between two pages neither repeats an entry nor leaves one out.
"""

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Annotated, Final, TypeVar

import msgspec

from api.errors import BadRequest

USUAL: Final = 1000
MOST: Final = 10_000
"""More than any fleet has: who wants all in one page gets them."""
CURSOR_HINT: Final = "It accepts the `next` of the page before; without it the list begins anew."

T = TypeVar("T")
K = TypeVar("K", bound=tuple[str | int | float, ...])


class PageQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which page is asked for."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST, description="So many at the most.")] = USUAL
    after: (
        Annotated[str, msgspec.Meta(max_length=1024, description="The `next` of the page before.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET


def page(
    entries: Iterable[T], key: Callable[[T], K], kind: type[K], asked: PageQuery
) -> tuple[list[T], str | None]:
    """The entries of a page in the order of their keys, and the cursor of the next page; None: this
    is the last one.

    `kind`: the key's type: a cursor of another list is refused. Raises BadRequest.
    """
    keyed = sorted(((key(entry), entry) for entry in entries), key=lambda pair: pair[0])
    before = begins_after(asked, kind)
    if before is not None:
        keyed = [pair for pair in keyed if pair[0] > before]
    shown = keyed[: asked.limit]
    following = cursor(shown[-1][0]) if len(keyed) > len(shown) else None
    return [entry for _, entry in shown], following


def begins_after(asked: PageQuery, kind: type[K]) -> K | None:
    """The key behind which the page begins; None: it is the first one. Raises BadRequest."""
    if asked.after is msgspec.UNSET:
        return None
    try:
        raw = base64.urlsafe_b64decode(asked.after + "=" * (-len(asked.after) % 4))
        return msgspec.json.decode(raw, type=kind)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise BadRequest(f"after is {asked.after[:40]!r}.", CURSOR_HINT) from None


def cursor(key: tuple[str | int | float, ...]) -> str:
    """A key as the text that callers hand back."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")
