"""Which code a worker runs: a hash over its files, so that after an upgrade the workers of older
code can be told apart.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

WORKER_DIRECTORY: Final = Path(__file__).resolve().parents[2] / "sessions" / "worker"
WORKER_MAIN: Final = WORKER_DIRECTORY / "main.js"
_APART: Final = frozenset({"node_modules", "tests"})
"""What lies in the worker's directory and is not run by it, or is told by the lock file."""


def worker_code(directory: Path = WORKER_DIRECTORY, fences: Iterable[str] = ()) -> str:
    """Twelve hexadecimal digits over the worker's sources and its locked packages.

    Blocking; a few hundred kilobytes are read.

    `fences`: what it is kept in, where that is not the usual: a worker that was started outside of
    them is as outdated as one of older code.
    """
    digest = hashlib.sha256()
    sources = (
        path
        for path in directory.rglob("*.js")
        if _APART.isdisjoint(path.relative_to(directory).parts)
    )
    for file in sorted([*sources, directory / "package-lock.json", directory / "package.json"]):
        digest.update(str(file.relative_to(directory)).encode() + b"\0" + file.read_bytes() + b"\0")
    for fence in fences:
        digest.update(fence.encode() + b"\0")
    return digest.hexdigest()[:12]
