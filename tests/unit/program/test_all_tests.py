"""`make test` tries again what has failed in this run, and nothing else."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts import all_tests


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of pytest: the first run fails, the second one passes."""
    kept, seen = tmp_path / "lastfailed", list[list[str]]()
    kept.write_text(json.dumps({"tests/gone/test_gone.py::test_a": True}))

    def run(command: list[str], **_: object) -> SimpleNamespace:
        seen.append(command)
        if len(seen) > 1:
            return SimpleNamespace(returncode=0)
        before = json.loads(kept.read_text()) if kept.exists() else {}
        kept.write_text(json.dumps(before | {"tests/unit/test_new.py::test_b": True}))
        return SimpleNamespace(returncode=all_tests.TESTS_FAILED)

    monkeypatch.setattr(all_tests, "LAST_FAILED", kept)
    monkeypatch.setattr(all_tests, "_compile_tests", lambda: None)
    monkeypatch.setattr(all_tests.NodeSuites, "run", lambda _: None)
    monkeypatch.setattr(subprocess, "run", run)
    return seen


def test_what_failed_in_an_earlier_run_is_not_tried_again(
    runs: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert all_tests.main(["-n", "2"]) == 0
    first, second = runs
    assert first[-2:] == ["-n", "2"]
    assert [one for one in second if "::" in one] == ["tests/unit/test_new.py::test_b"]
    assert "UNSTEADY: failed beside the others, passed alone: tests/unit" in capsys.readouterr().out
