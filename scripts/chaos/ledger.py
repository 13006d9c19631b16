"""The ledger of texts: which were sent to a session, and how often each was seen in /events.

Pure.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

_FORM: Final = re.compile(r"text (\d+) to (\S+)")


@dataclass(slots=True)
class Ledger:
    """What was sent and what was seen, by session and serial number."""

    sent: dict[str, int] = field(default_factory=dict)
    """The last serial number that was sent to each session."""
    seen: dict[str, Counter[int]] = field(default_factory=dict)
    written_off: dict[str, set[int]] = field(default_factory=dict)
    """Texts that were told of as lost: they are waited for no longer."""

    def send(self, session: str) -> tuple[int, str]:
        """The next text for the session: serial number and words."""
        serial = self.sent[session] = self.sent.get(session, 0) + 1
        return serial, f"text {serial} to {session}"

    def see(self, session: str, text: str | None) -> None:
        """A text was seen in /events. Texts of somebody else are none of ours."""
        found = _FORM.fullmatch(text or "")
        if found is not None:
            addressee = found[2]
            self.seen.setdefault(session, Counter())[
                int(found[1]) if addressee == session else -1
            ] += 1

    def missing(self, session: str, until: int | None = None) -> list[int]:
        """What was sent (up to a serial number), and neither seen nor written off."""
        last = self.sent.get(session, 0) if until is None else until
        known = self.seen.get(session, Counter[int]()).keys() | self.written_off.get(session, set())
        return [serial for serial in range(1, last + 1) if serial not in known]

    def doubled(self, session: str) -> list[int]:
        """What was seen twice."""
        return sorted(
            serial for serial, times in self.seen.get(session, Counter[int]()).items() if times > 1
        )

    def astray(self, session: str) -> int:
        """How many texts this session has shown that were sent to another one."""
        return self.seen.get(session, Counter[int]())[-1]

    def write_off(self, session: str, serials: Iterable[int]) -> None:
        """Wait for these no longer."""
        self.written_off.setdefault(session, set()).update(serials)

    def lost(self) -> list[tuple[str, int]]:
        """What was written off and never seen, by session and serial number."""
        seen = {session: of.keys() for session, of in self.seen.items()}
        return [
            (s, n)
            for s, serials in self.written_off.items()
            for n in sorted(serials - seen.get(s, set()))
        ]

    def totals(self) -> tuple[int, int, int]:
        """Texts sent, seen, and lost."""
        return (
            sum(self.sent.values()),
            sum(len(of.keys() - {-1}) for of in self.seen.values()),
            len(self.lost()),
        )
