"""Processes: read from /proc as psutil and the process itself see them; who is the supervisor, who
are its workers.
"""

import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from supervisor.host.reading import processes
from supervisor.host.reading.processes import (
    OPEN_FILES,
    ProcessLimit,
    find_supervisor,
    find_workers,
    process_limits,
    read_process,
)
from supervisor.process.lock import DirectoryLock

NOBODY = 2**22 + 1
"""Above the kernel's largest pid."""


@pytest.fixture
def idle() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that waits for its input."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


def test_it_is_what_psutil_sees() -> None:
    held = [open(os.devnull) for _ in range(7)]  # noqa: SIM115 - closed below, after they were counted
    more = threading.Event()
    thread = threading.Thread(target=more.wait, daemon=True)
    thread.start()
    own, reading = psutil.Process(), read_process(os.getpid())
    assert reading is not None
    assert reading.descriptors is not None
    assert reading.pss_bytes is not None
    assert reading.threads == own.num_threads() >= 2
    # the folder of the descriptors, while it is read
    assert 0 <= reading.descriptors - own.num_fds() <= 1
    assert reading.pss_bytes == pytest.approx(own.memory_full_info().pss, rel=0.1)
    assert reading.rss_bytes == pytest.approx(own.memory_info().rss, rel=0.1)
    assert reading.cpu_seconds == pytest.approx(sum(own.cpu_times()[:2]), abs=0.5)
    assert reading.age_seconds > 0
    more.set()
    thread.join()
    for file in held:
        file.close()
    after = read_process(os.getpid())
    assert after is not None
    assert after.descriptors == reading.descriptors - 7


def test_without_weighing_only_the_pss_is_left_out() -> None:
    reading = read_process(os.getpid(), weigh=False)
    assert reading is not None
    assert reading.pss_bytes is None
    assert reading.rss_bytes > 0


def test_a_name_with_blanks_and_brackets_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "77").mkdir()
    fields = ["S", *(str(number) for number in range(4, 53))]
    (tmp_path / "77" / "stat").write_text(f"77 (a ) (b S 1) {' '.join(fields)}")
    (tmp_path / "77" / "fd").mkdir()
    reading = read_process(77, tmp_path, weigh=False)
    assert reading is not None
    assert (reading.threads, reading.cpu_seconds) == (20, (14 + 15) / os.sysconf("SC_CLK_TCK"))
    assert reading.rss_bytes == 24 * os.sysconf("SC_PAGE_SIZE")


def test_who_is_gone_and_who_is_a_zombie_is_none(idle: "subprocess.Popen[bytes]") -> None:
    assert read_process(NOBODY) is None
    assert read_process(idle.pid) is not None
    idle.kill()
    os.waitid(os.P_PID, idle.pid, os.WEXITED | os.WNOWAIT)  # dead, and not fetched
    assert read_process(idle.pid) is None
    assert read_process(idle.pid, weigh=False) is None


def test_without_proc_nobody_is_said_to_be_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_process(1, tmp_path / "no-proc")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_of_another_users_process_the_rest_is_told() -> None:
    """Root's process, read by nobody: memory and descriptors are unknown, not zero."""
    code = (
        "import os; from supervisor.host.reading.processes import read_process,"
        f" process_limits\nos.setgid(65534); os.setuid(65534)\nr = read_process({os.getpid()});"
        " print(r.pss_bytes, r.descriptors, r.threads > 0, r.rss_bytes >"
        f" 0)\nprint(process_limits({os.getpid()})['Max open files'].soft)"
    )
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert done.stdout.split() == ["None", "None", "True", "True", str(soft)], done.stderr


def test_limits_are_those_that_the_process_has() -> None:
    found = process_limits(os.getpid())
    for name, number in (
        (OPEN_FILES, resource.RLIMIT_NOFILE),
        ("Max core file size", resource.RLIMIT_CORE),
    ):
        soft, hard = (
            None if value == resource.RLIM_INFINITY else value
            for value in resource.getrlimit(number)
        )
        assert found[name] == ProcessLimit(soft=soft, hard=hard)
    assert len(found) == 16
    with pytest.raises(ProcessLookupError):
        process_limits(NOBODY)


def test_the_supervisor_is_who_holds_the_lock(tmp_path: Path) -> None:
    assert find_supervisor(tmp_path) is None
    with DirectoryLock(tmp_path, "127.0.0.1:4001"):
        assert find_supervisor(tmp_path) == os.getpid()
    assert find_supervisor(tmp_path) is None  # the note is still there


def test_a_supervisor_that_shows_nobody_its_descriptors_is_found_by_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_folder: object) -> list[str]:
        raise PermissionError

    with DirectoryLock(tmp_path, "127.0.0.1:4001"):
        monkeypatch.setattr(processes.os, "listdir", refuse)
        assert find_supervisor(tmp_path) == os.getpid()
        (tmp_path / "supervisor.lock").rename(tmp_path / "moved")
        (tmp_path / "supervisor.lock").write_text(json.dumps({"pid": os.getpid()}))
        with pytest.raises(PermissionError):
            find_supervisor(tmp_path)


def test_a_command_that_holds_the_lock_is_no_supervisor(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path, command="wasup backup"):
        assert find_supervisor(tmp_path) is None


@pytest.mark.parametrize(
    "note", ["", "{", "[]", '"x"', '{"pid": "1"}', "{}", json.dumps({"pid": NOBODY})]
)
def test_a_note_that_says_nothing_names_nobody(tmp_path: Path, note: str) -> None:
    (tmp_path / "supervisor.lock").write_text(note)
    assert find_supervisor(tmp_path) is None


def test_a_pid_that_was_used_again_is_not_the_supervisor(
    tmp_path: Path, idle: "subprocess.Popen[bytes]"
) -> None:
    (tmp_path / "supervisor.lock").write_text(json.dumps({"pid": idle.pid}))
    assert find_supervisor(tmp_path) is None


def test_workers_are_those_that_work_in_the_directory(tmp_path: Path) -> None:
    """Played: what counts is the last argument and the working directory."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    main = tmp_path / "sessions" / "worker" / "main.js"
    main.parent.mkdir(parents=True)
    main.write_text("print(flush=True); input()")
    started = []
    try:
        for directory, count in ((ours, 2), (theirs, 1)):
            directory.mkdir()
            for _ in range(count):
                one = subprocess.Popen(
                    [sys.executable, str(main)],
                    cwd=directory,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
                started.append(one)
                assert one.stdout is not None
                one.stdout.readline()  # it runs
        found = find_workers(ours)
        assert found.pids == tuple(sorted(one.pid for one in started[:2]))
        assert found.elsewhere >= 1
        assert set(find_workers().pids) >= {one.pid for one in started}
        assert find_workers(tmp_path / "gone").pids == ()
        assert find_workers(tmp_path / "gone").elsewhere >= 3
    finally:
        for one in started:
            one.kill()
            one.communicate()
