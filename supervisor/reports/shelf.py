"""Reports that were made by the clock, as files: in the data directory's `reports/`, for its user
alone, and so many of each kind.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

KEPT: Final[Mapping[str, int]] = {"daily": 31, "weekly": 14, "monthly": 24}
"""Reports of each kind; one is a file for each form."""
_NAME: Final = re.compile(r"(daily|weekly|monthly)-[0-9-]+\.((en|pt-BR)\.)?(html|pdf|json)")


class Shelf:
    """The directory. All of it blocks, for a moment."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, name: str, files: Mapping[str, bytes]) -> dict[str, Path]:
        """Keep a report, whose files are given by their ending, in place of an older one of that
        name; each appears whole. What is too much of its kind is dropped. Raises OSError.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        written = dict[str, Path]()
        for form, content in files.items():
            file = self._directory / f"{name}.{form}"
            begun = self._directory / f".{name}.{form}.part"
            descriptor = os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                with open(descriptor, "wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(descriptor)
                begun.rename(file)
            except BaseException:
                begun.unlink(missing_ok=True)
                raise
            written[form] = file
        self._drop_old(name.partition("-")[0])
        return written

    def _drop_old(self, kind: str) -> None:
        """Names sort by time, and only those of ours are looked at."""
        mine = [
            file
            for file in self._directory.iterdir()
            if _NAME.fullmatch(file.name) and file.name.startswith(f"{kind}-")
        ]
        kept = sorted({_report_of(file) for file in mine})[-KEPT[kind] :]
        for file in mine:
            if _report_of(file) not in kept:
                file.unlink(missing_ok=True)


def _report_of(file: Path) -> str:
    return file.name.partition(".")[0]
