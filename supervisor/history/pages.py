"""Pages: the figures of one subject and a stretch of time, packed. Pure.

A page has a column for each series, or, in the coarser tiers, four: how many figures, their sum,
the least and the greatest. A column is whole numbers of the fewest bytes that hold them all; first
all lowest bytes, then all next ones (neighbours are alike, and compress), then zlib over the page.

A page knows up to which slot it was filled. So what was added is never added again, whoever writes
twice, and who reads a page and the memory counts nothing twice.
"""

import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from supervisor.history.points import GAP, Cell
from supervisor.history.tiers import SLOT_SECONDS, Tier

LEVEL: Final = 6
"""Of zlib."""
_WIDTHS: Final = (("b", 2**7), ("h", 2**15), ("i", 2**31), ("q", 2**63))


class _Column(msgspec.Struct, array_like=True):
    """`gap`: the number that stands for none, if there is any."""

    code: str
    gap: int | None
    packed: bytes


class _Stored(msgspec.Struct, array_like=True):
    until: int
    columns: dict[str, list[_Column]]


_decoder: Final = msgspec.msgpack.Decoder(_Stored)
_encoder: Final = msgspec.msgpack.Encoder()


class UnreadablePage(Exception):
    """What was stored is no page."""


class Page:
    """A page of a tier.

    `until`: the last slot that it was filled up to; what is not later is in it, or was a gap.
    """

    def __init__(self, tier: Tier, start: int, value: bytes | None = None) -> None:
        """`value`: as it was stored; None: it is new. Raises UnreadablePage."""
        self._tier = tier
        self._start = start
        stored = _Stored(-1, {}) if value is None else _read(value)
        self.until = stored.until
        self._packed = stored.columns
        self._open: dict[str, list[array[int]]] = {}

    def fill(self, series: str, cells: Iterable[Cell]) -> None:
        """Add the figures of slots that are later than `until`; each belongs on this page."""
        fine = self._tier.step_seconds == SLOT_SECONDS
        columns: list[array[int]] = []
        for at, n, total, least, most in cells:
            if at // SLOT_SECONDS <= self.until:
                continue
            columns = columns or self._opened(series)
            place = (at - self._start) // self._tier.step_seconds
            missing = place + 1 - len(columns[0])
            if missing > 0:
                for column in columns:
                    column.extend([GAP if fine else 0] * missing)
            if fine:
                columns[0][place] = total
                continue
            counts, totals, leasts, mosts = columns
            known = counts[place]
            leasts[place] = min(leasts[place], least) if known else least
            mosts[place] = max(mosts[place], most) if known else most
            counts[place] = known + n
            totals[place] += total

    def filled(self, until: int) -> None:
        """All is in it up to that slot."""
        self.until = max(self.until, until)

    def names(self) -> Iterable[str]:
        """The series that it has."""
        return self._packed.keys() | self._open.keys()

    def cells(self, series: str) -> Iterator[Cell]:
        """The figures of a series, oldest first."""
        if series not in self._packed and series not in self._open:
            return
        columns = self._opened(series)
        at, step = self._start, self._tier.step_seconds
        if step == SLOT_SECONDS:
            for value in columns[0]:
                if value != GAP:
                    yield Cell(at, 1, value, value, value)
                at += step
            return
        for n, total, least, most in zip(*columns, strict=True):
            if n:
                yield Cell(at, n, total, least, most)
            at += step

    def value(self) -> bytes:
        """As it is stored."""
        packed = self._packed | {
            series: [_pack(column) for column in columns] for series, columns in self._open.items()
        }
        return zlib.compress(_encoder.encode(_Stored(self.until, packed)), LEVEL)

    def _opened(self, series: str) -> "list[array[int]]":
        columns = self._open.get(series)
        if columns is None:
            packed = self._packed.get(series)
            if packed is not None:
                columns = [_unpack(column) for column in packed]
            else:
                fine = self._tier.step_seconds == SLOT_SECONDS
                columns = [array("q") for _ in range(1 if fine else 4)]
            self._open[series] = columns
        return columns


def _read(value: bytes) -> _Stored:
    try:
        return _decoder.decode(zlib.decompress(value))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise UnreadablePage(str(error)) from error


def _pack(column: "array[int]") -> _Column:
    gap = None
    if GAP in column:
        there = [value for value in column if value != GAP]
        gap = min(there, default=0) - 1
        column = array("q", [gap if value == GAP else value for value in column])
    most = max(max(column, default=0), -1 - min(column, default=0))
    code = next(code for code, beyond in _WIDTHS if most < beyond)
    narrow = array(code, column)
    if sys.byteorder == "big":
        narrow.byteswap()
    raw, size = narrow.tobytes(), narrow.itemsize
    return _Column(code, gap, b"".join(raw[place::size] for place in range(size)))


def _unpack(column: _Column) -> "array[int]":
    narrow = array(column.code)
    size, count = narrow.itemsize, len(column.packed) // narrow.itemsize
    raw = bytearray(len(column.packed))
    for place in range(size):
        raw[place::size] = column.packed[place * count : (place + 1) * count]
    narrow.frombytes(bytes(raw))
    if sys.byteorder == "big":
        narrow.byteswap()
    if column.gap is None:
        return array("q", narrow)
    return array("q", [GAP if value == column.gap else value for value in narrow])
