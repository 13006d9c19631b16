"""The real script on real trees: plan, application, rollback, and everything that stands in its
way.
"""

import base64
import contextlib
import fcntl
import json
import os
import pty
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.host.numbers import whole
from supervisor.host.tuning import optimizer as optimizer_module
from supervisor.host.tuning.file_tree import Owned, Tree
from supervisor.host.tuning.journal import JOURNAL_FILE
from supervisor.host.tuning.optimizer import Action, SystemOptimizer
from supervisor.host.tuning.system_files import LIMITS_FILE, SYSCTL_FILE

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "optimize_system.py"

Snapshot = dict[str, tuple[int, int, int, bytes | str | None]]


def snapshot(root: Path) -> Snapshot:
    """Mode, owner, and bytes or target of everything below."""
    found: Snapshot = {}
    for path in sorted(root.rglob("*")):
        state = path.lstat()
        content: bytes | str | None = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(root))] = (state.st_mode, state.st_uid, state.st_gid, content)
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small Debian: its directories, its link, its own settings, one of them better than
    wanted.
    """
    tree = tmp_path / "root"
    for directory in (
        "etc/security/limits.d",
        "etc/sysctl.d",
        "usr/lib/sysctl.d",
        "usr/lib/systemd",
        "var/lib",
    ):
        (tree / directory).mkdir(parents=True)
    (tree / "etc/security/limits.conf").write_text("# comments only\n")
    (tree / "etc/sysctl.conf").write_text("net.core.somaxconn = 65535\n")
    (tree / "etc/sysctl.d/99-sysctl.conf").symlink_to("../sysctl.conf")
    (tree / "usr/lib/sysctl.d/50-pid-max.conf").write_text("kernel.pid_max = 4194304\n")
    (tree / "usr/lib/systemd/systemd").touch()
    return tree


Optimize = Callable[..., tuple[int, str]]


@pytest.fixture
def optimize(root: Path, tmp_path: Path) -> Optimize:
    """Run the script on the tree; status and all that it said."""
    reports = tmp_path / "reports"
    reports.mkdir()

    def run(*arguments: str, at: Path = root, **options: Any) -> tuple[int, str]:
        command: list[str | Path] = [
            sys.executable,
            str(SCRIPT),
            "--root",
            str(at),
            "--report-dir",
            str(reports),
            *arguments,
        ]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **options,
        )
        return done.returncode, done.stdout

    return run


def test_plan_apply_again_and_rollback_leave_the_tree_byte_identical(
    root: Path, tmp_path: Path, optimize: Optimize
) -> None:
    before = snapshot(root)
    status, said = optimize()
    assert (status, snapshot(root)) == (0, before), said
    assert "Add --yes" in said
    assert "+* soft nofile 65536" in said

    status, said = optimize("--yes")
    applied = snapshot(root)
    assert (status, applied != before) == (0, True), said
    assert (
        f"tcp_keepalive_time = {whole('net.ipv4.tcp_keepalive_time')}\n"
        in (root / SYSCTL_FILE).read_text()
    )
    assert "somaxconn" not in (root / SYSCTL_FILE).read_text(), "another file has a better value"
    assert stat.S_IMODE((root / JOURNAL_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((root / SYSCTL_FILE).stat().st_mode) == 0o644

    inodes = [(root / path).stat().st_ino for path in (SYSCTL_FILE, LIMITS_FILE, JOURNAL_FILE)]
    status, said = optimize("--yes")
    assert (status, snapshot(root)) == (0, applied), said
    assert "Nothing to do" in said
    assert inodes == [
        (root / path).stat().st_ino for path in (SYSCTL_FILE, LIMITS_FILE, JOURNAL_FILE)
    ]

    status, said = optimize("--rollback")
    assert (status, snapshot(root)) == (0, before), said
    report = json.loads((tmp_path / "reports/system_optimization_report.json").read_text())
    assert report["action"] == "rolled_back"
    assert "Rolled back" in (tmp_path / "reports/system_optimization_report.txt").read_text()
    assert "Nothing to roll back" in optimize("--rollback")[1]


def test_more_and_fewer_sessions_keep_what_was_found_first(root: Path, optimize: Optimize) -> None:
    (root / SYSCTL_FILE).write_text("# mine\nvm.swappiness=10\nnet.ipv4.tcp_fin_timeout=99\n")
    (root / SYSCTL_FILE).chmod(0o640)
    before = snapshot(root)
    assert optimize("--yes", "--sessions", "30000")[0] == 0
    text = (root / SYSCTL_FILE).read_text()
    assert "vm.swappiness=10\n" in text, "another one's line is kept"
    assert "tcp_fin_timeout=99" not in text
    assert "* soft nofile 90256\n" in (root / LIMITS_FILE).read_text()
    assert "10240 65535" in text
    assert optimize("--yes", "--sessions", "10")[0] == 0
    text = (root / SYSCTL_FILE).read_text()
    assert "vm.swappiness=10\n" in text
    assert "10240 65535" not in text
    assert "* soft nofile 65536\n" in (root / LIMITS_FILE).read_text()
    assert stat.S_IMODE((root / SYSCTL_FILE).stat().st_mode) == 0o640
    assert "Nothing to do" in optimize("--yes", "--sessions", "10")[1]
    assert optimize("--rollback")[0] == 0
    assert snapshot(root) == before


def test_an_edit_of_ours_is_respected_and_a_rollback_loses_nothing(
    root: Path, optimize: Optimize
) -> None:
    before = snapshot(root)
    optimize("--yes")
    file = root / SYSCTL_FILE
    edited = (
        file.read_text().replace("tcp_keepalive_time = 600", "tcp_keepalive_time = 300")
        + "vm.swappiness = 1\n"
    )
    file.write_text(edited)
    assert optimize("--yes", "--sessions", "700")[0] == 0
    assert "tcp_keepalive_time = 300" in file.read_text(), "better than wanted: left alone"
    assert "vm.swappiness = 1" in file.read_text()
    status, said = optimize("--yes", "--sessions", "800")
    assert status == 0, said
    assert "tcp_keepalive_time = 300" in file.read_text()
    assert "vm.swappiness = 1" in file.read_text()
    file.write_text("# all mine\n")
    status, said = optimize("--rollback")
    assert status == 0, said
    kept = root / "var/lib/wasup/99-websocket-optimizations.conf.edited"
    assert kept.read_text() == "# all mine\n"
    shutil.rmtree(root / "var/lib/wasup")
    assert snapshot(root) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--sessions", "0"), "no number of sessions"),
        (("--sessions", "-5"), "no number of sessions"),
        (("--sessions", "1e3"), "no number of sessions"),
        (("--sessions", "٣"), "no number of sessions"),
        (("--sessions", "9" * 5000), "no number of sessions"),
        (("--sessions", "100001"), "no number of sessions"),
        (("--yes", "--dry-run"), "which of them"),
        (("--report-dir", "/nowhere/at/all"), "is not there"),
        (("--yess",), "unrecognized"),
    ],
)
def test_misuse_is_told_and_changes_nothing(
    root: Path, optimize: Optimize, arguments: tuple[str, ...], told: str
) -> None:
    before = snapshot(root)
    status, said = optimize(*arguments)
    assert (status, snapshot(root)) == (2, before), said
    assert told in said
    assert "Traceback" not in said


def test_a_root_that_is_none_is_refused(tmp_path: Path, optimize: Optimize) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for place in ("empty", "file", "missing"):
        status, said = optimize("--yes", at=tmp_path / place)
        assert status == 2, said
        assert "no file system of a Linux system" in said
    assert list((tmp_path / "empty").iterdir()) == []


def test_the_file_system_ends_in_the_middle_and_nothing_is_left_of_it(
    root: Path, optimize: Optimize
) -> None:
    """RLIMIT_FSIZE: each of the three files in turn is the one that does not fit."""
    before = snapshot(root)
    assert optimize("--yes")[0] == 0
    sizes = [(root / path).stat().st_size for path in (LIMITS_FILE, SYSCTL_FILE, JOURNAL_FILE)]
    assert sizes == sorted(sizes), "or the larger ones are never reached"
    assert optimize("--rollback")[0] == 0
    for size in (0, *(size - 1 for size in sizes)):
        status, said = optimize(
            "--yes",
            preexec_fn=lambda size=size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        )
        assert status == 1, said
        assert "File too large: everything was put back" in said
        assert snapshot(root) == before, f"{size} bytes: {said}"


def fill(file: Path) -> None:
    """Write until the disk is full."""
    with open(file, "wb", buffering=0) as opened, contextlib.suppress(OSError):
        while opened.write(b"x" * 4096):
            pass
    assert shutil.disk_usage(file.parent).free == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=64", "tmpfs", place], check=False
    )
    if mounted.returncode:
        pytest.skip("no tmpfs may be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_told_and_nothing_is_half_written(
    small_disk: Path, root: Path, optimize: Optimize
) -> None:
    shutil.copytree(root, small_disk / "root", symlinks=True)
    fill(small_disk / "full")
    before = snapshot(small_disk / "root")
    for free_bytes in (0, 4096, 8192, 12288, 16384, 20480):
        os.truncate(
            small_disk / "full",
            max(0, (small_disk / "full").stat().st_size - (4096 if free_bytes else 0)),
        )
        status, said = optimize("--yes", at=small_disk / "root")
        if status == 0:
            assert optimize("--rollback", at=small_disk / "root")[0] == 0
        else:
            assert "No space left on device" in said
            assert "put back" in said
        assert snapshot(small_disk / "root") == before, f"{free_bytes}: {said}"
    assert status == 0, said


def test_links_and_directories_in_the_way_are_told_and_not_followed(
    root: Path, tmp_path: Path, optimize: Optimize
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("mine\n")
    for make, told in (
        (lambda: (root / SYSCTL_FILE).symlink_to(outside / "victim"), "symbolic link"),
        (lambda: (root / SYSCTL_FILE).symlink_to("/dev/null"), "symbolic link"),
        (lambda: (root / LIMITS_FILE).mkdir(), "not a file"),
        (lambda: os.mkfifo(root / LIMITS_FILE), "not a file"),
        (lambda: (root / "var/lib/wasup").symlink_to(outside), "symbolic link"),
        (lambda: (root / "var/lib/wasup").write_text(""), "not a directory"),
    ):
        make()
        before = snapshot(root)
        status, said = optimize("--yes")
        assert status == 1, said
        assert told in said
        assert "Traceback" not in said
        assert snapshot(root) == before
        for path in (SYSCTL_FILE, LIMITS_FILE, "var/lib/wasup"):
            place = root / path
            if place.is_dir() and not place.is_symlink():
                place.rmdir()
            else:
                place.unlink(missing_ok=True)
    assert [path.name for path in outside.iterdir()] == ["victim"]
    assert (outside / "victim").read_text() == "mine\n"


def test_an_etc_that_leads_out_of_the_image_is_not_followed(
    tmp_path: Path, optimize: Optimize
) -> None:
    outside = tmp_path / "outside"
    (outside / "security").mkdir(parents=True)
    image = tmp_path / "image"
    image.mkdir()
    (image / "etc").symlink_to(outside)
    status, said = optimize("--yes", at=image)
    assert status in (1, 2), said
    assert [str(path.relative_to(outside)) for path in outside.rglob("*")] == ["security"]


def test_malformed_lines_of_others_are_told_and_left_alone(root: Path, optimize: Optimize) -> None:
    strange = root / "etc/sysctl.d/10-strange.conf"
    strange.write_bytes(b"what is this\nnet.ipv4.tcp_fin_timeout = soon\n\xff\xfe=\x00\n=5\n")
    (root / "etc/security/limits.d/50-strange.conf").write_text(
        "* soft\n* soft nofile many\nbob hard nofile 100\n"
    )
    (root / "etc/sysctl.d/99-zz-late.conf").write_text("net/ipv4/tcp_keepalive_time = 9000\n")
    content = strange.read_bytes()
    status, said = optimize("--yes")
    assert status == 0, said
    said = " ".join(said.split())
    assert "/etc/sysctl.d/10-strange.conf:1 cannot be understood" in said
    assert (
        "/etc/sysctl.d/10-strange.conf:2 gives net.ipv4.tcp_fin_timeout a value that is none"
        in said
    )
    assert "/etc/security/limits.d/50-strange.conf:1 cannot be understood" in said
    assert "/etc/security/limits.d/50-strange.conf:3 gives one user or group less" in said
    assert (
        "/etc/sysctl.d/99-zz-late.conf:1 sets net.ipv4.tcp_keepalive_time to '9000' and is read"
        " after" in said
    )
    assert strange.read_bytes() == content


def test_two_at_once_one_is_sent_away(root: Path, optimize: Optimize) -> None:
    before = snapshot(root)
    handle = optimizer_module._open_lock(root)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        for arguments in (("--yes",), ("--rollback",)):
            status, said = optimize(*arguments)
            assert status == 2, said
            assert "another optimizer" in said
    finally:
        os.close(handle)
    assert snapshot(root) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user works on his own trees only")
def test_who_may_open_the_tree_cannot_keep_root_from_working_on_it(
    root: Path, optimize: Optimize
) -> None:
    handle = os.open(root, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        status, said = optimize("--yes")
        assert status == 0, said
    finally:
        os.close(handle)
    held = os.fstat(lock := optimizer_module._open_lock(root))
    os.close(lock)
    assert (stat.S_IMODE(held.st_mode), held.st_uid) == (0o600, 0)


def test_a_directory_that_is_swapped_for_a_link_in_the_middle_leads_nothing_out_of_the_tree(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner of the tree is hostile, and quick: he swaps just before the file would be made, and
    just before it would be moved.
    """
    outside = tmp_path / "outside"
    outside.mkdir()
    target = root / "etc" / "sysctl.d"
    target.mkdir(parents=True, exist_ok=True)
    tree = Tree(root)
    owned = Owned(b"x", 0o644, os.geteuid(), os.getegid(), 0)

    def swap() -> None:
        target.rename(root / "etc" / "moved")
        target.symlink_to(outside)

    place = Tree.place
    with monkeypatch.context() as patched:
        patched.setattr(Tree, "place", lambda self, path: (place(self, path), swap())[0])
        with pytest.raises(OSError, match="link"):
            tree.write("etc/sysctl.d/99-ours.conf", owned)
    target.unlink()
    (root / "etc" / "moved").rename(target)
    staged = tree.stage("etc/sysctl.d/99-ours.conf", owned)
    swap()
    staged.commit()
    assert list(outside.iterdir()) == []
    assert (root / "etc" / "moved" / "99-ours.conf").read_bytes() == b"x"


@pytest.mark.parametrize("step", range(1, 12))
def test_a_kill_at_any_step_can_be_rolled_back_or_gone_on_with(
    root: Path, optimize: Optimize, step: int
) -> None:
    """The real application, killed before its n-th change of the file system."""
    (root / SYSCTL_FILE).write_text("vm.swappiness = 10\n")
    before = snapshot(root)
    killer = f"""
import os, pathlib, signal, sys
sys.argv[1:] = ["--root", {str(root)!r}, "--yes", "--report-dir", {str(root.parent)!r}]
count = 0
def counted(function):
    def call(*arguments, **options):
        global count
        count += 1
        if count == {step}:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call
for module, name in ((os, "replace"), (os, "fsync"), (os, "fchmod"), (os, "mkdir"), (os, "unlink")):
    setattr(module, name, counted(getattr(module, name)))
from scripts.optimize_system import main
sys.exit(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", killer], cwd=SCRIPT.parent.parent, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    crashed = root.parent / "crashed"
    shutil.copytree(root, crashed, symlinks=True)

    status, said = optimize("--rollback")
    assert status == 0, said
    left = snapshot(root)
    left.pop("var/lib/wasup", None)  # made before there was a journal to say so: an empty directory
    assert left == before

    status, said = optimize("--yes", at=crashed)
    assert status == 0, said
    status, said = optimize("--rollback", at=crashed)
    assert status == 0, said
    left = snapshot(crashed)
    left.pop("var/lib/wasup", None)
    assert left == before


def test_a_journal_that_may_be_forged_or_is_damaged_is_refused(
    root: Path, optimize: Optimize
) -> None:
    optimize("--yes")
    applied = snapshot(root)
    journal = root / JOURNAL_FILE
    good = journal.read_text()
    document = json.loads(good)
    evil = json.loads(good)
    evil["files"]["etc/shadow"] = {"previous": None, "written": []}
    evil_key = json.loads(good)
    evil_key["kernel"]["kernel.core_pattern"] = {"previous": "|/tmp/x", "written": []}
    evil_directory = document | {"directories": ["../x"]}
    old = document | {"version": 99}
    texts = [
        good[: len(good) // 2],
        "[]",
        "null",
        '"x"',
        "",
        "\xff",
        "{}",
        *map(json.dumps, (evil, evil_key, evil_directory, old)),
    ]
    for text in texts:
        journal.write_text(text)
        for arguments in (("--rollback",), ("--yes",)):
            status, said = optimize(*arguments)
            assert status == 2, (text, said)
            assert "cannot be understood" in said
            assert "Traceback" not in said
    journal.write_text(good)
    journal.chmod(0o666)
    status, said = optimize("--rollback")
    assert status == 2, said
    assert "forged" in said
    journal.chmod(0o600)
    assert snapshot(root) == applied
    assert optimize("--rollback")[0] == 0


def test_a_lost_journal_changes_nothing_and_is_told(root: Path, optimize: Optimize) -> None:
    optimize("--yes")
    (root / JOURNAL_FILE).unlink()
    written = (root / SYSCTL_FILE).read_bytes()
    status, said = optimize("--yes")
    assert status == 0, said
    assert "its journal is gone" in " ".join(said.split())
    assert (root / SYSCTL_FILE).read_bytes() == written


def test_a_report_that_cannot_be_written_is_told(
    root: Path, tmp_path: Path, optimize: Optimize
) -> None:
    (tmp_path / "reports/system_optimization_report.json").mkdir()
    status, said = optimize("--yes")
    assert status == 1
    assert "The report could not be written" in said
    assert (root / SYSCTL_FILE).exists()


def test_names_and_bytes_that_no_terminal_can_show_do_not_end_it_in_the_middle(
    root: Path, optimize: Optimize
) -> None:
    Path(os.fsdecode(os.fsencode(root) + b"/etc/sysctl.d/50-\xff.conf")).write_bytes(
        b"what \xfe is this\n"
    )
    (root / SYSCTL_FILE).write_bytes(b"# \xff\n")
    before = snapshot(root)
    for arguments in (("--yes",), ("--rollback", "--json"), ("--yes", "--json"), ("--rollback",)):
        status, said = optimize(*arguments, env=os.environ | {"PYTHONIOENCODING": "ascii"})
        assert status == 0, said
        assert "\\udcff" in said
    assert snapshot(root) == before


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("bare", [False, True])
def test_closed_streams_change_nothing_of_what_is_done(
    root: Path, tmp_path: Path, closed: str, bare: bool
) -> None:
    python: str | Path = sys.executable
    if bare:
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True
        )
        python = tmp_path / "bare/bin/python"
    script = f"exec {python} {SCRIPT} --root {root} --report-dir {tmp_path} --yes {closed}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Applied" in (tmp_path / "system_optimization_report.txt").read_text()


def test_output_that_does_not_fit_is_told_and_not_as_if_nothing_was_changed(
    root: Path, tmp_path: Path
) -> None:
    command: list[str | Path] = [
        sys.executable,
        SCRIPT,
        "--root",
        root,
        "--report-dir",
        tmp_path,
        "--yes",
    ]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, (root / SYSCTL_FILE).exists()) == (1, True)
    assert "could not be printed (No space left on device)" in done.stderr
    assert "Nothing was changed" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that others reach, too: pytest's own they do not."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_who_may_not_read_the_journal_gets_his_diagnosis(
    root: Path, open_to_all: Path
) -> None:
    root = shutil.copytree(root, open_to_all / "root", symlinks=True)
    SystemOptimizer(500, root).apply()
    reports = open_to_all / "reports"
    reports.mkdir()
    reports.chmod(0o777)
    script = f"""
import os, sys
import scripts.optimize_system, supervisor.host.tuning.optimizer, supervisor.host.tuning.report
os.setgroups([])
os.setresuid(65534, 65534, 65534)
sys.exit(scripts.optimize_system.main(["--root", {str(root)!r}, "--report-dir", {str(reports)!r}, *sys.argv[1:]]))
"""

    def nobody(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=SCRIPT.parent.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    before = snapshot(root)
    status, said = nobody()
    assert status == 0, said
    assert "only root may read its journal" in said
    for change in (("--yes", "--sessions", "9000"), ("--rollback",)):
        status, said = nobody(*change)
        assert status == 1, said
        assert "system-optimization.json: Permission denied. Nothing was changed." in said
    assert snapshot(root) == before


def test_a_rollback_with_nothing_to_roll_back_says_so_and_not_that_all_is_set(
    root: Path, optimize: Optimize
) -> None:
    status, said = optimize("--rollback")
    assert status == 0, said
    assert "what can be set here is set" not in said
    status, said = optimize("--rollback", "--dry-run")
    assert "Nothing to roll back" in said


def test_json_is_all_there_is_on_standard_output(root: Path, tmp_path: Path) -> None:
    command: list[str | Path] = [
        sys.executable,
        SCRIPT,
        "--root",
        root,
        "--report-dir",
        tmp_path,
        "--json",
        "--yes",
    ]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    document = json.loads(done.stdout)
    assert (done.returncode, document["action"], document["good"]) == (0, "applied", True)
    assert [file["path"] for file in document["plan"]["files"]] == [
        f"/{LIMITS_FILE}",
        f"/{SYSCTL_FILE}",
    ]


def test_the_script_finds_its_python_from_any_directory(root: Path, tmp_path: Path) -> None:
    """With a Python that has none of the project's packages, as `sudo python3` has."""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    command: list[str | Path] = [bare / "bin/python", SCRIPT, "--root", root, "--dry-run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Limits" in done.stdout


def test_without_a_project_python_it_says_what_to_do(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    (tmp_path / "project/scripts").mkdir(parents=True)
    for name in ("optimize_system.py", "project_python.py"):
        shutil.copy(SCRIPT.parent / name, tmp_path / "project/scripts")
    command: list[str | Path] = [
        bare / "bin/python",
        tmp_path / "project/scripts/optimize_system.py",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "make setup-run" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# ---- a kernel of our own: plain files in the place of /proc/sys, the live paths in every other
# respect

KERNEL = {
    "fs.nr_open": "1048576",
    "fs.file-max": "2466170",
    "kernel.pid_max": "32768",
    "kernel.threads-max": "192730",
    "net.ipv4.tcp_max_syn_backlog": "2048",
    "net.ipv4.tcp_keepalive_time": "300",
    "net.ipv4.tcp_fin_timeout": "60",
    "net.ipv4.ip_local_port_range": "32768\t60999",
    "net.core.somaxconn": "65535",
    "vm.max_map_count": "65530",
    "kernel.shmmax": "18446744073692774399",
    "vm.overcommit_memory": "0",
}


class LiveTree(Tree):
    """A tree that counts as the running system."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.live = True


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    place = tmp_path / "proc"
    for key, value in KERNEL.items():
        file = place / "sys" / key.replace(".", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value + "\n")
    (place / "self").mkdir()
    (place / "self/cgroup").write_text("0::/\n")
    (place / "self/status").write_text("CapBnd:\t000001ffffffffff\n")
    (place / "meminfo").write_text("MemTotal: 67108864 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n")
    return place


@pytest.fixture
def live(
    root: Path, proc: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], SystemOptimizer]:
    monkeypatch.setattr("supervisor.host.tuning.optimizer.Tree", LiveTree)
    # so that the good values of this kernel stand in no file
    (root / "etc/sysctl.conf").write_text("")
    return lambda sessions: SystemOptimizer(sessions, root, proc)


def kernel(proc: Path) -> dict[str, str]:
    return {
        key: " ".join((proc / "sys" / key.replace(".", "/")).read_text().split()) for key in KERNEL
    }


Live = Callable[[int], SystemOptimizer]


def test_kernel_values_are_set_read_back_and_put_back(live: Live, root: Path, proc: Path) -> None:
    files, values = snapshot(root), kernel(proc)
    result = live(5000).apply()
    assert (result.action, result.failures) == (Action.APPLIED, [])
    now = kernel(proc)
    assert now["kernel.pid_max"] == "4194304", (
        "another file asks for more than is wanted, and has only not been applied"
    )
    assert now["net.ipv4.tcp_fin_timeout"] == "30"
    assert now["net.ipv4.tcp_keepalive_time"] == "300", "already better"
    text = (root / SYSCTL_FILE).read_text()
    assert "tcp_keepalive_time = 300\n" in text, (
        "no file says so, and the kernel would begin with 7200 again"
    )
    assert "somaxconn = 65535\n" in text
    assert "shmmax" not in text
    assert "nf_conntrack" not in text, "this kernel does not have it"
    assert "netdev_max_backlog" not in text
    assert "netdev_max_backlog" in " ".join(result.plan.refused)
    again = live(5000).apply()
    assert again.action is Action.NOTHING
    assert live(50).apply().failures == []
    back = live(50).rollback()
    assert back.failures == []
    assert (snapshot(root), kernel(proc)) == (files, values)


def test_a_value_that_somebody_changed_since_is_left_and_told(
    live: Live, root: Path, proc: Path
) -> None:
    files = snapshot(root)
    live(500).apply()
    (proc / "sys/net/ipv4/tcp_fin_timeout").write_text("15\n")
    assert live(500).apply().action is Action.NOTHING, "15 is better than ours"
    result = live(500).rollback()
    assert kernel(proc)["net.ipv4.tcp_fin_timeout"] == "15"
    assert any("is 15, which is not ours" in line for line in result.done)
    assert snapshot(root) == files


def test_a_value_that_root_cannot_write_is_known_before_and_told(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another namespace, as conntrack's in a container: access(2) says so, no mount does."""
    monkeypatch.setattr("supervisor.host.needs.facts.os.geteuid", lambda: 0)
    monkeypatch.setattr(
        "supervisor.host.needs.facts.os.access", lambda file, mode: file.name != "max_map_count"
    )
    plan = live(500).plan()
    assert "vm.max_map_count" in plan.refused
    assert "vm.max_map_count" not in {*plan.persisted, *(change.key for change in plan.kernel)}


@contextlib.contextmanager
def unwritable(file: Path) -> Iterator[None]:
    """Nobody can write it meanwhile: for root it is made immutable, as `chattr +i` does, which a
    minimal Debian 13 does not have.
    """
    if os.geteuid() != 0:
        file.chmod(0o444)
        yield
        return
    get_flags, set_flags, immutable = 0x80086601, 0x40086602, 0x10  # linux/fs.h
    with file.open("rb") as opened:
        try:
            before = fcntl.ioctl(opened, get_flags, bytes(8))
            flags = int.from_bytes(before, sys.byteorder) | immutable
            fcntl.ioctl(opened, set_flags, flags.to_bytes(8, sys.byteorder))
        except OSError as error:
            pytest.skip(f"no file can be made unwritable for root here: {error}")
        try:
            yield
        finally:
            fcntl.ioctl(opened, set_flags, before)


def test_a_refused_value_is_told_with_its_cause_and_the_others_are_set(
    live: Live, proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unwritable(proc / "sys/vm/max_map_count"):
        # The kernel says no only when the value is written.
        monkeypatch.setattr("supervisor.host.needs.facts.os.access", lambda file, mode: True)
        result = live(500).apply()
    assert [failure for failure in result.failures if "vm.max_map_count" in failure]
    assert "not allowed" in result.failures[0]
    assert kernel(proc)["net.ipv4.tcp_fin_timeout"] == "30"


def test_an_unprivileged_look_is_a_look_only(root: Path, optimize: Optimize) -> None:
    """The journal of the live machine is not touched by looking at it."""
    status, said = optimize("--dry-run", "--sessions", "5000", at=Path("/"))
    assert status in (0, 1), said
    assert "A dry run" in said or "Nothing to do" in said


def test_what_was_written_is_kept_byte_by_byte_in_the_journal(
    root: Path, optimize: Optimize
) -> None:
    odd = b"\xff\xfe not utf-8\nvm.swappiness = 10\r\n"
    (root / SYSCTL_FILE).write_bytes(odd)
    assert optimize("--yes")[0] == 0
    recorded = json.loads((root / JOURNAL_FILE).read_text())["files"][SYSCTL_FILE]["previous"]
    assert base64.b64decode(recorded["content"]) == odd
    assert optimize("--rollback")[0] == 0
    assert (root / SYSCTL_FILE).read_bytes() == odd


@pytest.mark.parametrize(
    ("answer", "status", "changed"),
    [("y\n", 0, True), ("n\n", 0, False), ("\n", 0, False), ("\x03", 130, False)],
)
def test_on_a_terminal_it_asks(
    root: Path, tmp_path: Path, answer: str, status: int, changed: bool
) -> None:
    before = snapshot(root)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(
            sys.executable,
            [sys.executable, str(SCRIPT), "--root", str(root), "--report-dir", str(tmp_path)],
        )
    said = b""
    with contextlib.suppress(OSError):  # a terminal whose process has ended gives EIO
        while chunk := os.read(terminal, 65536):
            said += chunk
            if b"[y/N]" in chunk:
                os.write(terminal, answer.encode())
    _, wait_status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(wait_status) == status, said
    assert (snapshot(root) != before) == changed
    assert b"Traceback" not in said


def test_a_reader_that_goes_away_changes_nothing_of_what_was_done(
    root: Path, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command: list[str | Path] = [
        sys.executable,
        SCRIPT,
        "--root",
        root,
        "--report-dir",
        tmp_path,
        "--yes",
    ]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 1
    assert "Nothing was changed" not in done.stderr
    assert "Traceback" not in done.stderr
    assert (root / SYSCTL_FILE).exists()
    assert "Applied" in (tmp_path / "system_optimization_report.txt").read_text()


def test_ctrl_c_in_the_middle_comes_when_all_is_done(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import supervisor.host.tuning.optimizer as optimizer_file

    before = snapshot(root)
    real = optimizer_file.write_journal

    def interrupted(tree: Tree, journal: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        real(tree, journal)

    monkeypatch.setattr(optimizer_file, "write_journal", interrupted)
    with pytest.raises(KeyboardInterrupt):
        SystemOptimizer(500, root).apply()
    assert SystemOptimizer(500, root).look().action is Action.NOTHING, "all of it was applied"
    SystemOptimizer(500, root).rollback()
    assert snapshot(root) == before


def test_a_copy_of_this_machines_own_settings(tmp_path: Path, optimize: Optimize) -> None:
    """Whatever stands in the real files: the copy is planned, applied and put back."""
    copy = tmp_path / "copy"
    for place in ("etc/sysctl.d", "etc/security", "usr/lib/sysctl.d"):
        if (Path("/") / place).is_dir():  # old passwords lie there, too, for root's eyes alone
            shutil.copytree(
                Path("/") / place,
                copy / place,
                symlinks=True,
                ignore=shutil.ignore_patterns("opasswd"),
            )
    (copy / "etc").mkdir(parents=True, exist_ok=True)
    before = snapshot(copy)
    for arguments in (("--yes",), ("--yes", "--sessions", "5000"), ("--rollback",)):
        status, said = optimize(*arguments, at=copy)
        assert status == 0, said
    assert snapshot(copy) == before
