"""Every source that the project cites can be opened by whoever reads it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
UNREADABLE = re.compile(
    r"seed 00\d|\bPEERS\b|\bSCALE\.md|\bsection \d+ of the design|the design's section|\bREVIEW\.md"
    r"|\bDESIGN\.md|\bFAULTS\.md"
)
"""Names of papers that are not in the repository."""
CITED = re.compile(r"docs/evidence\.md#([a-z0-9-]+)|\(evidence\.md#([a-z0-9-]+)\)")
HISTORY = {"CHANGELOG.md"}
"""Says what was said at the time."""


def listed() -> list[str]:
    """Absolute paths of the repository's files; without git, or outside a repository (a stranger's
    tarball), those below the folders that are the project's own.
    """
    git = shutil.which("git")
    if git is not None and (ROOT / ".git").exists():
        command = [git, "ls-files", "-z"]
        names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
        return [str(ROOT / name) for name in names.split("\0") if name]
    found = [str(file) for file in ROOT.iterdir() if file.is_file()]
    for top in ("supervisor", "sessions", "api", "scripts", "tests", "docs", ".ci"):
        for folder, folders, files in os.walk(ROOT / top):
            folders[:] = [name for name in folders if name not in {"node_modules", "__pycache__"}]
            found += [os.path.join(folder, file) for file in files]
    return found


def tracked() -> dict[str, str]:
    """The text of every tracked file, but for this one and locked or binary ones."""
    files = [file for file in map(Path, listed()) if file.name not in HISTORY]
    return {
        str(file.relative_to(ROOT)): file.read_text(encoding="utf-8")
        for file in files
        if file.is_file()
        and file != Path(__file__).resolve()
        and file.suffix in {".py", ".js", ".md", ".toml", ".yml", ".sh", ".service", ""}
        and file.name not in {"LICENSE"}
    }


def anchor(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def test_no_source_is_cited_that_is_not_in_the_repository() -> None:
    found = [
        f"{file}:{number}: {line.strip()}"
        for file, text in tracked().items()
        for number, line in enumerate(text.splitlines(), 1)
        if UNREADABLE.search(line)
    ]
    assert found == []


def test_the_files_are_found_without_git_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert {"README.md", "supervisor/program.py", "docs/evidence.md"} <= tracked().keys()


def test_every_section_of_the_evidence_that_is_cited_exists_and_every_one_is_cited() -> None:
    evidence = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    anchors = {anchor(heading) for heading in re.findall(r"^## (.+)$", evidence, re.MULTILINE)}
    cited = {
        first or second for text in tracked().values() for first, second in CITED.findall(text)
    }
    assert cited - anchors == set(), "cited, but not there"
    assert anchors - cited - {"what-was-read"} == set(), "there, but nobody cites it"
