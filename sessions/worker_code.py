"""Which code a worker runs: a hash over its files, so that after an upgrade the workers of older code can be told apart."""

import hashlib
from pathlib import Path
from typing import Final

WORKER_DIRECTORY: Final = Path(__file__).resolve().parent / "worker"
WORKER_MAIN: Final = WORKER_DIRECTORY / "main.js"


def worker_code(directory: Path = WORKER_DIRECTORY) -> str:
    """Twelve hexadecimal digits over the worker's sources and its locked packages. Blocking; a few hundred kilobytes are read."""
    digest = hashlib.sha256()
    files = [*directory.glob("*.js"), directory / "package-lock.json", directory / "package.json"]
    for file in sorted(files):
        if not file.name.endswith(".test.js"):
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
