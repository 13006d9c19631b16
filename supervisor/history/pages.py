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
from collections.abc import Collection, Iterator, Sequence
from typing import Final

import msgspec

from supervisor.history.points import GAP, Cell, Run
from supervisor.history.tiers import SLOT_SECONDS, Tier

LEVEL: Final = 6
"""Of zlib, for a page that is full."""
QUICK: Final = 1
"""For one that is written again soon."""
CODES: Final = "bhiq"
"""Numbers of 1, 2, 4 and 8 bytes."""
_GAPS: Final = {"b": -(2**7), "h": -(2**15), "i": -(2**31), "q": GAP}
"""In a column of the finest tier: nothing was measured."""


class UnreadablePage(Exception):
    """What was stored is no page."""


class _Stored(msgspec.Struct, array_like=True):
    """`columns`: of each series, the width of the numbers and their bytes."""

    until: int
    columns: dict[str, list[tuple[str, bytes]]]


_decoder: Final = msgspec.msgpack.Decoder(_Stored)
_encoder: Final = msgspec.msgpack.Encoder()


class Page:
    """A page of a tier.

    `until`: the last slot that it was filled up to; what is not later is in it, or was a gap.
    """

    def __init__(self, tier: Tier, start: int, value: bytes | None = None) -> None:
        """`value`: as it was stored; None: it is new. Raises UnreadablePage."""
        stored = _Stored(-1, {}) if value is None else _read(value)
        self.until = stored.until
        self._fine = tier.step_seconds == SLOT_SECONDS
        self._first = start // SLOT_SECONDS
        self._last = self._first + tier.page_seconds // SLOT_SECONDS - 1
        self._slots_each = tier.step_seconds // SLOT_SECONDS
        self._packed = stored.columns
        self._open: dict[str, list[array[int]]] = {}

    def fill(self, series: str, run: Run) -> bool:
        """Add what is later than `until` and belongs on this page; whether there is anything."""
        first = max(run.first, self._first, self.until + 1)
        values = run.values[first - run.first : max(0, self._last + 1 - run.first)].tolist()
        while values and values[-1] == GAP:
            values.pop()
        if not values:
            return False
        columns = self._opened(series)
        if self._fine:
            missing = first - self._first - len(columns[0])
            columns[0] = _extended(columns[0], [GAP] * missing + values)
        else:
            self._sum_up(columns, first, values)
        return True

    def filled(self, until: int) -> None:
        """All is in it up to that slot."""
        self.until = max(self.until, min(until, self._last))

    def names(self) -> Collection[str]:
        """The series, and the buckets of series, that it has."""
        return self._packed.keys() | self._open.keys()

    def cells(self, series: str) -> Iterator[Cell]:
        """The figures of a series, oldest first."""
        if series not in self._packed and series not in self._open:
            return
        columns = self._opened(series)
        at, step = self._first * SLOT_SECONDS, self._slots_each * SLOT_SECONDS
        if self._fine:
            gap = _GAPS[columns[0].typecode]
            for value in columns[0]:
                if value != gap:
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
        level = QUICK if self.until < self._last else LEVEL
        return zlib.compress(_encoder.encode(_Stored(self.until, packed)), level)

    def _sum_up(self, columns: "list[array[int]]", first: int, values: Sequence[int]) -> None:
        """Add the figures of each cell's slots to what it has."""
        place, skipped = divmod(first - self._first, self._slots_each)
        begin, end = 0, self._slots_each - skipped
        while begin < len(values):
            some = values[begin:end]
            if GAP in some:
                some = [value for value in some if value != GAP]
            if some:
                _add(columns, place, some)
            place, begin, end = place + 1, end, end + self._slots_each

    def _opened(self, series: str) -> "list[array[int]]":
        columns = self._open.get(series)
        if columns is None:
            packed = self._packed.get(series)
            columns = (
                [array(CODES[0]) for _ in range(1 if self._fine else 4)]
                if packed is None
                else [_unpack(*column) for column in packed]
            )
            self._open[series] = columns
        return columns


def _add(columns: "list[array[int]]", place: int, some: Sequence[int]) -> None:
    missing = place + 1 - len(columns[0])
    if missing > 0:
        for column in columns:
            column.extend(array(column.typecode, [0]) * missing)
    count = columns[0][place]
    total, least, most = sum(some), min(some), max(some)
    if count:
        total += columns[1][place]
        least, most = min(least, columns[2][place]), max(most, columns[3][place])
    for number, value in enumerate((count + len(some), total, least, most)):
        try:
            columns[number][place] = value
        except OverflowError:
            columns[number] = _put(columns[number], place, value)


def _put(column: "array[int]", place: int, value: int) -> "array[int]":
    """The column with that number in it, in as many bytes as it takes."""
    wider = array(next(code for code in CODES if abs(value) < -_GAPS[code]), column)
    wider[place] = value
    return wider


def _extended(column: "array[int]", values: Sequence[int]) -> "array[int]":
    """The column of the finest tier with these numbers behind it, in as many bytes as they take."""
    there = [value for value in values if value != GAP]
    widest = max(max(there, default=0), -min(there, default=0))
    code = next(code for code in CODES if widest < -_GAPS[code])
    if CODES.index(code) > CODES.index(column.typecode):
        before, gap = _GAPS[column.typecode], _GAPS[code]
        column = array(code, [gap if value == before else value for value in column])
    gap = _GAPS[column.typecode]
    column.fromlist([gap if value == GAP else value for value in values])
    return column


def _read(value: bytes) -> _Stored:
    try:
        return _decoder.decode(zlib.decompress(value))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise UnreadablePage(str(error)) from error


def _pack(column: "array[int]") -> tuple[str, bytes]:
    raw, size = _little(column).tobytes(), column.itemsize
    packed = raw if size == 1 else b"".join([raw[place::size] for place in range(size)])
    return column.typecode, packed


def _unpack(code: str, packed: bytes) -> "array[int]":
    column: array[int] = array(code)
    size = column.itemsize
    raw = bytearray(packed)
    if size > 1:
        count = len(packed) // size
        for place in range(size):
            raw[place::size] = packed[place * count : (place + 1) * count]
    column.frombytes(raw)
    return _little(column)


def _little(column: "array[int]") -> "array[int]":
    """The bytes of a number lie on the disk as most machines have them."""
    if sys.byteorder == "little":
        return column
    turned = array(column.typecode, column)
    turned.byteswap()
    return turned
