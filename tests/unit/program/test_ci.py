"""What CI runs: every step tells how long it took, and the first that fails ends it."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
STEPS = ("setup", "check", "test", "simulate", "chaos", "kills")


def ci(place: Path, failing: str | None) -> subprocess.CompletedProcess[str]:
    """CI's script over a Makefile that does nothing, but fails where it is told to."""
    (place / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", place / ".ci")
    rules = [f"{step}:\n\t@{'exit 3' if step == failing else 'true'}\n" for step in STEPS]
    (place / "Makefile").write_text(f".PHONY: {' '.join(STEPS)}\n" + "".join(rules))
    return subprocess.run(
        [place / ".ci" / "run"], capture_output=True, text=True, check=False, cwd="/"
    )


def test_each_step_tells_how_long_it_took_and_a_table_at_the_end_all_of_them(
    tmp_path: Path,
) -> None:
    done = ci(tmp_path, failing=None)
    assert done.returncode == 0, done.stderr
    table = done.stdout.partition("How long each step took:\n")[2].splitlines()
    assert [line.split()[3] for line in table[:-1]] == list(STEPS)
    assert all(line.split()[1] == "s" and line.endswith("passed") for line in table[:-1])
    assert table[-1].endswith("in all")


@pytest.mark.parametrize("failing", STEPS)
def test_the_first_step_that_fails_ends_it_and_the_table_is_told_all_the_same(
    tmp_path: Path, failing: str
) -> None:
    done = ci(tmp_path, failing)
    assert done.returncode != 0
    *steps, in_all = done.stdout.partition("How long each step took:\n")[2].splitlines()
    assert len(steps) == STEPS.index(failing) + 1
    assert "FAILED with status" in steps[-1]
    assert in_all.endswith("in all")
