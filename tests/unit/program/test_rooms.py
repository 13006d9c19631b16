"""A room, a folder of the program's code, holds so much as one sees at a glance, and all rooms are
installed.
"""

import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MOST = 12
"""Modules and rooms within one room."""
TOPS = ("sessions", "supervisor", "api")
MOST_OF_TOP = 16
"""Within one of these, whose contents are nearly all rooms: ARCHITECTURE.md has a line for each."""
NO_CODE = frozenset({"node_modules", "tests", "__pycache__", "versions"})
"""The worker's tests mirror its rooms, and are no part of what is run; the migrations are one chain,
which only grows.
"""


def things(room: Path) -> list[str]:
    """What a reader of a room has to choose from: its modules, in Python or JavaScript, and the
    rooms within.
    """
    return sorted(
        entry.name
        for entry in room.iterdir()
        if (entry.suffix in {".py", ".js"} and entry.name != "__init__.py") or is_room(entry)
    )


def is_room(folder: Path) -> bool:
    return folder.is_dir() and folder.name not in NO_CODE and any(code(folder))


def code(folder: Path) -> Iterable[Path]:
    return (
        file
        for kind in ("*.py", "*.js")
        for file in folder.rglob(kind)
        if NO_CODE.isdisjoint(file.relative_to(folder).parts)
    )


def rooms(root: Path) -> list[Path]:
    found = [root / top for top in TOPS]
    for room in found:  # which grows as it is gone through
        found += [room / name for name in things(room) if is_room(room / name)]
    return found


@pytest.mark.parametrize("room", rooms(ROOT), ids=lambda room: str(room.relative_to(ROOT)))
def test_a_room_holds_a_dozen_things_at_the_most(room: Path) -> None:
    held = things(room)
    assert len(held) <= (MOST_OF_TOP if room.name in TOPS else MOST), (
        f"{room.relative_to(ROOT)} holds {len(held)} things: {', '.join(held)}. Give those that"
        " belong together a room of their own within it, move one to the room whose idea it is, or"
        " make two that are one idea one file."
    )


def test_every_room_is_installed() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    python = {
        str(room.relative_to(ROOT)).replace("/", ".")
        for room in rooms(ROOT)
        if (room / "__init__.py").exists()
    }
    assert python <= set(setuptools["packages"]), "a room is missing in pyproject.toml"
    sessions = ROOT / "sessions"
    scripts = {
        str(file.parent.relative_to(sessions)) + "/*.js"
        for file in code(sessions / "worker")
        if file.suffix == ".js"
    }
    assert scripts <= set(setuptools["package-data"]["sessions"]), (
        "a room of the worker is missing in pyproject.toml"
    )


def test_what_is_counted(tmp_path: Path) -> None:
    for name in (
        "sessions/__init__.py",
        "sessions/model.py",
        "sessions/store/engine/lock.py",
        "sessions/worker/main.js",
        "sessions/worker/package.json",
        "sessions/worker/frames.fixtures.json",
        "sessions/worker/node_modules/ws/index.js",
        "sessions/worker/tests/main.test.js",
        "sessions/worker/line/line.js",
        "sessions/templates/page.html",
        "supervisor/__init__.py",
        "api/__init__.py",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    counted = {str(room.relative_to(tmp_path)): things(room) for room in rooms(tmp_path)}
    assert counted == {
        "sessions": ["model.py", "store", "worker"],
        "sessions/store": ["engine"],
        "sessions/store/engine": ["lock.py"],
        "sessions/worker": ["line", "main.js"],
        "sessions/worker/line": ["line.js"],
        "supervisor": [],
        "api": [],
    }
