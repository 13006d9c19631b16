"""The workers' files: their logs, which never grow without end, and the hash that tells which code
they run.
"""

import stat
from pathlib import Path

import pytest

from sessions.workers import logs as worker_logs
from sessions.workers.logs import WorkerLogs
from sessions.workers.worker_process import WorkerUser
from supervisor.process import worker_user
from supervisor.process.worker_code import WORKER_DIRECTORY, worker_code


@pytest.fixture
def logs(tmp_path: Path) -> WorkerLogs:
    return WorkerLogs(tmp_path / "logs")


@pytest.fixture
def directory(logs: WorkerLogs, tmp_path: Path) -> Path:
    assert logs
    return tmp_path / "logs"


def _names(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


def test_the_directory_is_the_owners_own_and_may_be_there_already(
    logs: WorkerLogs, directory: Path
) -> None:
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    WorkerLogs(directory)
    assert logs.begin("w-1", "shop").parent == directory


def test_the_living_workers_log_bears_the_sessions_name_and_its_predecessors_is_kept(
    logs: WorkerLogs, directory: Path
) -> None:
    for number in range(3):
        file = logs.begin(f"w-{number}", "shop")
        assert file == directory / "worker-shop.log"
        assert not file.exists()
        file.write_text(f"I am {number}")
    assert _names(directory) == ["worker-shop.log", "worker-shop.log.1"]
    assert (directory / "worker-shop.log.1").read_text() == "I am 1"


def test_a_spares_log_takes_the_sessions_name_when_it_is_given_one(
    logs: WorkerLogs, directory: Path
) -> None:
    logs.begin("w-0", "shop").write_text("the one before")
    spare = logs.begin("w-1", None)
    assert spare.name == "spare-worker-w-1.log"
    with spare.open("a") as writing:
        writing.write("as a spare\n")
        writing.flush()
        logs.give("w-1", "shop")
        writing.write("as the shop's\n")
    assert _names(directory) == ["worker-shop.log", "worker-shop.log.1"]
    assert (directory / "worker-shop.log").read_text() == "as a spare\nas the shop's\n", (
        "it writes on, into the same file"
    )
    assert (directory / "worker-shop.log.1").read_text() == "the one before"
    logs.end("w-1")
    assert (directory / "worker-shop.log").exists()


def test_a_spare_whose_log_is_gone_can_be_given_all_the_same(
    logs: WorkerLogs, directory: Path
) -> None:
    logs.give("w-9", "shop")
    assert _names(directory) == []


def test_a_spare_that_ends_leaves_nothing_and_a_sessions_worker_leaves_its_log(
    logs: WorkerLogs, directory: Path
) -> None:
    logs.begin("w-1", None).write_text("x")
    logs.begin("w-2", "shop").write_text("x")
    for worker in ("w-1", "w-2", "w-3"):
        logs.end(worker)
    assert _names(directory) == ["worker-shop.log"]


def test_what_an_earlier_supervisors_spares_left_goes_and_nothing_else(
    logs: WorkerLogs, directory: Path
) -> None:
    for name in (
        "spare-worker-a-1.log",
        "spare-worker-a-2.log",
        "spare-worker-a-2.log.1",
        "worker-spare.log",
    ):
        (directory / name).write_text("x")
    logs.forget_spares()
    assert "worker-spare.log" in _names(directory)
    assert not [
        name
        for name in _names(directory)
        if name.startswith("spare-worker-") and name.endswith(".log")
    ]


def test_a_sessions_name_with_dots_and_dashes_is_a_file_of_its_own(
    logs: WorkerLogs, directory: Path
) -> None:
    for session in ("a", "a.log", "a-1", "spare-worker-1"):
        logs.begin(f"w-{session}", session).write_text(session)
    assert len(_names(directory)) == 4
    logs.forget_spares()
    logs.end("1")
    assert len(_names(directory)) == 4, "a session may be called like a spare"


def test_what_has_grown_too_large_is_put_aside_and_the_worker_writes_on(
    logs: WorkerLogs, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_logs, "MAX_LOG_BYTES", 1000)
    large, small, spare = (
        logs.begin("w-1", "shop"),
        logs.begin("w-2", "other"),
        logs.begin("w-3", None),
    )
    with large.open("a") as writing:
        writing.write("a" * 1001)
        writing.flush()
        small.write_text("b" * 1000)
        spare.write_text("c" * 5000)
        logs.keep_small()
        writing.write("next")
    assert large.read_text() == "next", "not behind a kilobyte of holes"
    assert (directory / "worker-shop.log.1").read_text() == "a" * 1001
    assert small.read_text() == "b" * 1000
    assert spare.read_text() == ""
    logs.keep_small()
    assert large.read_text() == "next"


def test_however_much_a_worker_says_its_logs_stay_bounded(
    logs: WorkerLogs, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_logs, "MAX_LOG_BYTES", 1000)
    file = logs.begin("w-1", "shop")
    with file.open("a") as writing:
        for _ in range(50):
            writing.write("x" * 600)
            writing.flush()
            logs.keep_small()
    assert sum(entry.stat().st_size for entry in directory.iterdir()) <= 3 * 1200
    assert _names(directory) == ["worker-shop.log", "worker-shop.log.1"]


def test_of_a_file_that_has_grown_enormous_only_the_end_is_put_aside(
    logs: WorkerLogs, directory: Path
) -> None:
    """What a worker said last is what is looked for; a copy of all of it would double a disk that
    is filling up.
    """
    file = logs.begin("w-1", "shop")
    with file.open("r+b" if file.exists() else "w+b") as writing:
        writing.seek(8 * worker_logs.MAX_LOG_BYTES)
        writing.write(b"the last words")
    logs.keep_small()
    assert file.stat().st_size == 0
    aside = directory / "worker-shop.log.1"
    assert aside.stat().st_size == worker_logs.KEPT_BYTES
    assert aside.read_bytes().endswith(b"the last words")
    assert aside.stat().st_mode & 0o077 == 0
    assert _names(directory) == ["worker-shop.log", "worker-shop.log.1"]


def test_one_file_that_cannot_be_cut_keeps_no_other_from_it(
    logs: WorkerLogs, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_logs, "MAX_LOG_BYTES", 10)
    for number, session in enumerate(("a", "b", "c")):
        logs.begin(f"w-{number}", session).write_text("x" * 100)
    (directory / "worker-b.log.1").mkdir()  # nothing can be put in its place
    (directory / "worker-b.log.1" / "file").touch()
    with pytest.raises(OSError, match="worker-b"):
        logs.keep_small()
    assert [(directory / f"worker-{name}.log").stat().st_size for name in "abc"] == [0, 0, 0]


# --- which code -----------------------------------------------------------------------------------


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A worker's sources."""
    files = {"main.js": "run()", "wire.js": "wire", "package.json": "{}", "package-lock.json": "{}"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_same_code_has_the_same_name_twelve_hexadecimal_digits(sources: Path) -> None:
    code = worker_code(sources)
    assert len(code) == 12
    assert int(code, 16) >= 0
    assert worker_code(sources) == code


@pytest.mark.parametrize(
    "file", ["main.js", "wire.js", "package.json", "package-lock.json", "added.js"]
)
def test_a_change_of_any_source_or_of_the_locked_packages_changes_it(
    sources: Path, file: str
) -> None:
    before = worker_code(sources)
    (sources / file).write_text("changed")
    assert worker_code(sources) != before


def test_a_renamed_file_and_text_that_moves_from_one_to_the_next_change_it(sources: Path) -> None:
    before = worker_code(sources)
    (sources / "wire.js").rename(sources / "line.js")
    renamed = worker_code(sources)
    (sources / "line.js").write_text("wir")
    (sources / "main.js").write_text("erun()")
    assert len({before, renamed, worker_code(sources)}) == 3


def test_tests_fixtures_and_directories_are_not_code(sources: Path) -> None:
    before = worker_code(sources)
    (sources / "frames.fixtures.json").write_text("[]")
    for apart in ("node_modules", "tests"):
        (sources / apart).mkdir()
        (sources / apart / "x.js").write_text("changed")
    assert worker_code(sources) == before


def test_the_installed_worker_has_a_name() -> None:
    assert (WORKER_DIRECTORY / "main.js").exists()
    assert len(worker_code()) == 12


def test_a_worker_outside_of_the_fences_is_outdated(sources: Path) -> None:
    """Else a roll leaves it as it is, with the rights that it was to lose."""
    user = WorkerUser(name="nobody", uid=65_534, gid=65_534, home="/")
    every = [(None, True), (None, False), (user, True), (user, False)]
    codes = [worker_code(sources, worker_user.fences(*kept_in)) for kept_in in every]
    assert len(set(codes)) == 4
    assert codes[0] == worker_code(sources)
