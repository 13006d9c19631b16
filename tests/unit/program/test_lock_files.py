"""What is installed is locked, the tool that writes the locks included."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
INSTALLED = re.compile(r"-m pip .*\binstall\b(.*)|\$\(PIP\) install(.*)")
OURSELVES = "--no-index --no-deps --no-build-isolation --editable ."


def test_whatever_pip_installs_is_locked() -> None:
    """Who locks with an unknown version of the tool has locked nothing."""
    found = [
        (match[1] or match[2]).strip()
        for name in ("Makefile", "scripts/lock-dependencies")
        for match in INSTALLED.finditer((ROOT / name).read_text())
    ]
    loose = [one for one in found if not re.fullmatch(r"--require-hashes( -r \S+\.txt)+", one)]
    assert loose == [OURSELVES]
    assert len(found) == 4, "the project, what runs it, what tests it, what locks it"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_package_has_its_version_and_hashes(lock: Path) -> None:
    text = lock.read_text().replace("\\\n", " ")
    packages = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert packages
    assert [one for one in packages if not re.match(r"\S+==\S+ .*--hash=sha256:", one)] == []


def test_what_locks_is_locked() -> None:
    assert re.search(r"^pip-tools==", (ROOT / "requirements" / "lock.txt").read_text(), re.M)
