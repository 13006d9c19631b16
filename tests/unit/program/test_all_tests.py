"""`make test` tries again what has failed in this run, and nothing else."""

import json
import shutil
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


ONCE = """
import { existsSync, writeFileSync } from 'node:fs';
import test from 'node:test';

test('a story', async (t) => {
  await t.test('that fails the first time', () => {
    const seen = existsSync('seen');
    writeFileSync('seen', '');
    if (!seen) throw new Error('too slow');
  });
});
"""
ALWAYS = "import test from 'node:test'; test('broken', () => { throw new Error('it is'); });"
NEVER = "import test from 'node:test'; test('sound', () => {});"


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only suite of Node's."""
    monkeypatch.setattr(all_tests, "ROOT", tmp_path)
    monkeypatch.setattr(all_tests, "SUITES", {"worker": ("worker", "--test-concurrency=1")})
    folder = tmp_path / "worker"
    folder.mkdir()
    (folder / "sound.test.mjs").write_text(NEVER)
    return folder


def _run_node() -> tuple[list[str], list[str]]:
    """The suites that failed in the end, and the tests that are unsteady."""
    node = all_tests.NodeSuites()
    node.run()
    unsteady = node.once_more_alone()
    return list(node.failed), unsteady


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node")
def test_a_file_of_nodes_that_failed_is_tried_again_alone(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (suite / "once.test.js").write_text(ONCE)
    (suite / "package.json").write_text('{"type": "module"}')
    assert _run_node() == ([], ["worker/once.test.js: that fails the first time"])
    first, second = capsys.readouterr().out.split("once more, alone")
    assert "sound" in first
    assert "sound" not in second


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node")
@pytest.mark.parametrize("also", [None, "once.test.js", "broken, as a whole"])
def test_what_fails_again_has_failed(suite: Path, also: str | None) -> None:
    (suite / "package.json").write_text('{"type": "module"}')
    if also == "once.test.js":
        (suite / also).write_text(ONCE)
    broken = "throw new Error('no test is reached');" if also and "whole" in also else ALWAYS
    (suite / "always.test.js").write_text(broken)
    assert _run_node() == (["worker"], [])


def test_so_many_failures_of_node_are_no_chance(suite: Path) -> None:
    node = all_tests.NodeSuites()
    node.failed["worker"] = [(f"{n}.test.js", "a test") for n in range(all_tests.AGAIN_AT_MOST + 1)]
    assert node.once_more_alone() == []
    assert list(node.failed) == ["worker"]


def test_a_helper_does_not_tell_which_file_it_has_failed(suite: Path) -> None:
    node = all_tests.NodeSuites()
    node.failed["worker"] = [("helper.js", "a test")]
    assert node.once_more_alone() == []
    assert list(node.failed) == ["worker"]
