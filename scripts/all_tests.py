"""`make test`: Node's suites beside Python's, which mostly wait for real processes; the exit status
is 0 only if all of them have passed.

pytest is shown as it runs, with the arguments given here. What Node's suites say is shown when each
is over, and whole only if it failed. At the end a table says how long each of them took.

A handful of tests that failed beside all others are run once more, alone: Python's each by itself,
Node's with the rest of their file. Those that pass then are named as unsteady at the end: a fault
of the test, or a race of the program, that somebody must look at, but none that keeps a change from
everybody else.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SUITES: Final = {
    "worker": ("sessions/worker", "--test-concurrency=1"),
    "live feed's client": ("api/web/client", "--test-concurrency=1"),
    # Baileys leaves timers of minutes
    "stand-in": ("scripts/standin", "--test-concurrency=1", "--test-force-exit"),
}
"""Where each of Node's suites is, and node's options."""
ANNOUNCEMENT: Final = (
    "All tests: those in Node (worker, live feed's client, stand-in), beside unit, store,"
    " end-to-end, pm2 and simulation tests (Python, pytest).\n    They start real supervisors,"
    " workers and databases: 8 to 9 minutes on two cores, less on more. `make test-unit` takes"
    " one."
)


NODE_COMPILED: Final = ROOT / ".make/compiled"
"""Node's tests start some hundred processes, which would all compile the same; workers find what
others have compiled in just this way.
"""
AGAIN_AT_MOST: Final = 5
"""More failures than that are no chance."""
TESTS_FAILED: Final = 1
"""pytest's exit status: it ran to its end, and some failed (docs.pytest.org, "Exit codes")."""
LAST_FAILED: Final = ROOT / ".pytest_cache/v/cache/lastfailed"
NODE_FAILED: Final = re.compile(
    r"^test at (.+):\d+:\d+\n\S (.+?)(?: \([0-9.]+ms\))?$", re.MULTILINE
)
"""What Node says at the end of each test that failed (its reporter "spec"): file and name."""


@dataclass(slots=True)
class NodeSuites:
    """They run one after the other, in a thread of their own."""

    failed: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """The suites that failed, and in them file and name of each test that did."""
    took: dict[str, float] = field(default_factory=dict)
    """Seconds of those that have ended."""
    running: subprocess.Popen[str] | None = None
    ended: bool = False

    def run(self) -> None:
        """Run them all."""
        for name, (folder, *options) in SUITES.items():
            began = time.monotonic()
            if self.ended:
                return
            status, said = self._run(folder, *options)
            self.took[f"Node, {name}"] = time.monotonic() - began
            self._tell(name, status, said)

    def once_more_alone(self) -> list[str]:
        """A second try of the files in which a test failed; the tests that passed in it."""
        unsteady = list[str]()
        for name, tests in list(self.failed.items()):
            files = sorted({file for file, _ in tests})
            is_chance = 0 < len(tests) <= AGAIN_AT_MOST
            if self.ended or not is_chance or not all(file.endswith(".test.js") for file in files):
                continue  # a helper's line does not tell which file it has failed
            print(f"\n==> Node, {name}: {len(tests)} failed: once more, alone", flush=True)
            folder, *options = SUITES[name]
            status, said = self._run(folder, *options, *files)
            print(said, flush=True)
            if status == 0:
                del self.failed[name]
                unsteady += [f"{folder}/{file}: {test}" for file, test in tests]
        return unsteady

    def _run(self, folder: str, *arguments: str) -> tuple[int, str]:
        self.running = subprocess.Popen(
            ["node", "--test", "--test-reporter=spec", *arguments],
            cwd=ROOT / folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"NODE_COMPILE_CACHE": str(NODE_COMPILED)},
            text=True,
            errors="replace",
        )
        said, _ = self.running.communicate()
        return self.running.returncode, said

    def end(self) -> None:
        """End what runs, as Ctrl-C does."""
        self.ended = True
        if self.running is not None and self.running.poll() is None:
            self.running.terminate()

    def _tell(self, name: str, status: int, said: str) -> None:
        counts = dict(re.findall(r"^\S (tests|pass|fail|skipped) (\d+)$", said, re.MULTILINE))
        words = ", ".join(
            f"{count} {what}" for what, count in counts.items() if what != "tests" and count != "0"
        )
        if status != 0:
            self.failed[name] = NODE_FAILED.findall(said)
            print(f"\n{said}", flush=True)
        verdict = "passed" if status == 0 else f"FAILED with status {status}"
        print(
            f"\n==> Node, {name}: {verdict} ({words or 'no test was run'}) in"
            f" {self.took[f'Node, {name}']:.0f} s",
            flush=True,
        )


def _compile_tests() -> None:
    """In a fresh clone compile them once: else all of pytest's processes would do so, at the same
    time.
    """
    tests = list((ROOT / "tests").rglob("test_*.py"))
    compiled = {
        file.name.partition(".")[0] for file in (ROOT / "tests").rglob("__pycache__/*-pytest-*.pyc")
    }
    if sum(file.stem not in compiled for file in tests) > len(tests) / 2:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-qq",
            "-p",
            "no:cacheprovider",
        ]
        # What is wrong with a test is told when all are run.
        subprocess.run(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )


def _once_more_alone(status: int) -> tuple[int, list[str]]:
    """Python's exit status after a second try of what failed, and the tests that passed in it."""
    if status != TESTS_FAILED:
        return status, []
    failed = sorted(json.loads(LAST_FAILED.read_text()))
    if not 0 < len(failed) <= AGAIN_AT_MOST:
        return status, []
    print(f"\n==> {len(failed)} failed: once more, alone", flush=True)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *failed]
    again = subprocess.run(command, cwd=ROOT).returncode
    return again, [] if again else failed


def _run_pytest(*arguments: str) -> int:
    """Pytest's exit status. It only ever adds to what has failed, until that passes: a test that is
    gone by now, or was not asked for, would be tried again for ever.
    """
    LAST_FAILED.unlink(missing_ok=True)
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=ROOT).returncode


def main(pytest_arguments: list[str]) -> int:
    """Run all of them; the exit status."""
    print(f"==> {ANNOUNCEMENT}", flush=True)
    began, node = time.monotonic(), NodeSuites()
    beside = threading.Thread(target=node.run)
    beside.start()
    try:
        _compile_tests()
        python = _run_pytest(*pytest_arguments)
        python_seconds = time.monotonic() - began
        beside.join()
        python, unsteady = _once_more_alone(python)
        unsteady += node.once_more_alone()
    except KeyboardInterrupt:
        node.end()
        return 130
    failed = [*(["Python"] if python else []), *(f"Node's {name}" for name in node.failed)]
    for name, seconds in {"Python": python_seconds, **node.took}.items():
        print(f"{seconds:6.0f} s  {name}")
    for test in unsteady:
        print(f"==> UNSTEADY: failed beside the others, passed alone: {test}")
    print(
        f"==> {'FAILED: ' + ', '.join(failed) if failed else 'All passed'}, after"
        f" {time.monotonic() - began:.0f} s"
    )
    return python or int(bool(node.failed))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or every process compiles all it needs
    sys.exit(main(sys.argv[1:]))
