"""What was measured and is not written yet, in memory: of each series and subject a row of whole
numbers, one for every interval of ten seconds. Pure.
"""

from array import array
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from supervisor.history.points import GAP, Run
from supervisor.history.series import Key, series_of
from supervisor.history.tiers import DAY, HOUR, SLOT_SECONDS

KEPT_SLOTS: Final = HOUR // SLOT_SECONDS
"""So much is kept while the store cannot write; what is older then is lost."""
FORGOTTEN_SLOTS: Final = DAY // SLOT_SECONDS
"""A figure that has not come for so long has ceased to be (a disk, a webhook that was removed)."""
MOST_SUBJECTS: Final = 20_000
"""Of all kinds together; figures of further ones are not taken, which is logged."""
LONGEST_SUBJECT: Final = 255
GREATEST: Final = 2**53
"""No figure, in steps, is greater: what is, and what is no number at all, is not taken."""


class Whose(NamedTuple):
    """Whose figures they are: of what kind the subject is, and its name."""

    kind: str
    name: str


class Row:
    """The figures of one series of one subject."""

    __slots__ = ("_first", "_values", "seen", "total")

    def __init__(self) -> None:
        self._first = 0
        """The slot of the first value."""
        self._values = array("q")
        self.total: int | None = None
        """Of a count: what was told last."""
        self.seen = 0
        """The slot in which a figure came last."""

    def add(self, slot: int, value: int) -> None:
        """The figure of a slot. One that is not later than the last is not taken: a clock that was
        set back measures nothing twice. But one that ran far ahead and was set right begins anew:
        else nothing would be measured until it is as late as it was.
        """
        if not self._values:
            self._first = slot
        missing = slot - self._first - len(self._values)
        if -KEPT_SLOTS <= missing < 0:
            return
        if abs(missing) > KEPT_SLOTS:  # the clock was set, or there was none for long
            self._values, self._first, missing = array("q"), slot, 0
        if missing:
            self._values.extend([GAP] * missing)
        self._values.append(value)
        self.seen = slot
        if len(self._values) > KEPT_SLOTS:
            self.forget(slot - KEPT_SLOTS)

    def added(self, total: int) -> int:
        """What a count has grown by since it was told last; a smaller total has begun anew."""
        before, self.total = self.total or 0, total
        return total - before if total >= before else total

    def run(self, through: int) -> Run:
        """The figures up to and with a slot."""
        return Run(self._first, self._values[: max(0, through + 1 - self._first)])

    def whole(self) -> Run:
        """All figures."""
        return Run(self._first, self._values[:])

    def forget(self, through: int) -> None:
        """Drop the figures up to and with a slot: they are written."""
        count = min(max(0, through + 1 - self._first), len(self._values))
        del self._values[:count]
        self._first += count


class Recent:
    """All that was measured of late, and the figures of the last interval."""

    def __init__(self) -> None:
        self.latest: Mapping[Key, float] = {}
        self.totals: Mapping[Key, float] = {}
        self.slot = -1
        """The last one that was measured."""
        self.refused = 0
        """Figures of the last interval that were not taken."""
        self._rows: dict[Key, Row] = {}
        self._subjects: dict[Whose, dict[str, Row]] = {}

    def take(self, figures: Mapping[Key, float], slot: int) -> None:
        """The figures of an interval."""
        self.slot, self.refused = slot, 0
        latest: dict[Key, float] = {}
        totals = dict(figures)
        sums: dict[Key, int] = {}
        for key, told in figures.items():
            series = series_of(key[0])
            row = self._rows.get(key) or self._begun(key)
            if row is None or not abs(steps := told * series.steps) <= GREATEST:
                self.refused += 1
                continue
            value = round(steps)
            if series.kind != "gauge":
                value = row.added(value)
            if series.summed_as is not None:
                whole = (series.summed_as, None)
                sums[whole] = sums.get(whole, 0) + value
            row.add(slot, value)
            latest[key] = value / series.steps
        for key, value in sums.items():
            row = self._rows.get(key) or self._begun(key)
            if row is not None:
                series = series_of(key[0])
                row.add(slot, value)
                latest[key] = totals[key] = value / series.steps
                if series.kind != "gauge":  # it goes on when one of those that it sums up is gone
                    row.total = (row.total or 0) + value
                    totals[key] = row.total / series.steps
        self.latest, self.totals = latest, totals

    def subjects(self) -> Iterable[Whose]:
        """All that have figures."""
        return tuple(self._subjects)

    def rows(self, whose: Whose) -> Mapping[str, Row]:
        """The rows of a subject by series."""
        return self._subjects.get(whose, {})

    def written(self, whose: Whose, through: int) -> None:
        """The figures of a subject are written up to and with that slot."""
        rows = self._subjects.get(whose, {})
        for series, row in list(rows.items()):
            row.forget(through)
            if row.seen < self.slot - FORGOTTEN_SLOTS:
                self._drop(whose, series)

    def forget(self, whose: Whose) -> None:
        """A subject is gone, and its figures with it."""
        for series in list(self._subjects.get(whose, {})):
            self._drop(whose, series)

    def _begun(self, key: Key) -> Row | None:
        whose = whose_of(key)
        rows = self._subjects.get(whose)
        if rows is None:
            # not every name of a directory is one that a database takes
            storable = len(whose.name) <= LONGEST_SUBJECT and whose.name.isprintable()
            if len(self._subjects) >= MOST_SUBJECTS or not storable:
                return None
            rows = self._subjects[whose] = {}
        row = self._rows[key] = rows[key[0]] = Row()
        return row

    def _drop(self, whose: Whose, series: str) -> None:
        rows = self._subjects[whose]
        del rows[series], self._rows[series, whose.name if whose.kind != "none" else None]
        if not rows:
            del self._subjects[whose]


def whose_of(key: Key) -> Whose:
    """Whose figure that is."""
    return Whose(series_of(key[0]).subject, key[1] or "")
