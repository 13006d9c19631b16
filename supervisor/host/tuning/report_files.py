"""Reports as files: whole or not at all. On every system."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

READABLE_BY_ALL: Final = 0o644


def json_text(document: Mapping[str, Any]) -> str:
    """A document as it is printed and written.

    ASCII: no terminal and no file name is too strange for it.
    """
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def write_report(directory: Path, files: Mapping[str, str]) -> list[Path]:
    """Write reports, each whole or not at all; a link with such a name is replaced, not followed.

    Raises OSError.
    """
    written = []
    for name, text in files.items():
        handle, temporary = tempfile.mkstemp(prefix=f".{name}-", dir=directory)
        try:
            with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            os.chmod(temporary, READABLE_BY_ALL)
            os.replace(temporary, directory / name)
        except BaseException:
            os.unlink(temporary)
            raise
        written.append(directory / name)
    return written
