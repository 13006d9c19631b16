"""What a command writes where it was told to, for nobody else to read."""

import os
from pathlib import Path


def write_private(file: Path, content: bytes) -> None:
    """Whole or not at all, whoever could read what was there before. Raises OSError."""
    file = Path(os.path.realpath(file))
    if file.exists() and not file.is_file():  # /dev/stdout: there is nothing to be replaced
        file.write_bytes(content)
        return
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
