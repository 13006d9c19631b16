"""What is installed, and how: settings, owners and modes, who else is at work on the same data,
versions, and who starts it again.
"""

import contextlib
import json
import os
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from sessions.model import BadPolicy, CloseReason, StoreError
from sessions.records.incidents import Incident
from sessions.workers.worker_process import started_at_ticks
from supervisor.alerts.channels.alerts_file import (
    BadAlertsFile,
    open_to_others,
    read_alerts_file,
)
from supervisor.fleet.policy_file import read_rules
from supervisor.host.reading.processes import PROC
from supervisor.places import installation
from supervisor.places.installation import ENV_FILE, folder
from supervisor.process import lock, worker_user
from supervisor.process.daemon_threads import in_thread
from supervisor.process.worker_code import WORKER_DIRECTORY
from supervisor.settings import BadSettings, file_warnings, unknown_variables
from supervisor.watch.diagnostics.doctor import NotChecked, Subject, nearest
from supervisor.watch.diagnostics.results import Issue, Severity

COMMAND_SECONDS: Final = 5.0
"""For `systemctl`, `crontab`, `node --version`: they answer in milliseconds, or hang."""
LATELY_SECONDS: Final = 7 * 24 * 3600.0
INCIDENTS: Final = 500
"""The newest, that are looked at."""
UNIT: Final = "wasup"
_MONITOR: Final = "monitor-whatsapp.sh"
_NAME: Final = re.compile(r"^WHATSAPP_\w+")
_CHMOD: Final = re.compile(r"chmod [\w+=-]+ \S.*$")


# --- settings -------------------------------------------------------------------------------------


async def check_settings(subject: Subject) -> Iterable[Issue]:
    """Variables that are no settings, files that others read or write, the policy file, and the
    workers' user.
    """
    return await in_thread(lambda: list(_settings(subject)))


def bad_settings(error: BadSettings) -> list[Issue]:
    """Settings with which nothing starts, an issue for each line."""
    file = folder() / ENV_FILE
    return [
        Issue(
            "configuration",
            Severity.CRITICAL,
            f"The supervisor does not start with these settings: {line}",
            "Mend the setting, in the environment or in the .env file.",
            ("settings",),
            _where(line, file),
        )
        for line in str(error).splitlines()
    ]


def _settings(subject: Subject) -> Iterator[Issue]:
    settings, file = subject.settings, folder() / ENV_FILE
    try:
        read_rules(settings.policy_file)
    except BadPolicy as error:
        yield _setting(Severity.CRITICAL, f"{error}", error.hint, (f"less {settings.policy_file}",))
    try:
        read_alerts_file(settings.alerts_file)
    except BadAlertsFile as error:
        yield _setting(Severity.CRITICAL, f"{error}", error.hint, ("wasup alerts check",))
    try:
        user = worker_user.find_user(settings.worker_user)
        worker_user.must_reach_code(user)
    except BadSettings as error:
        yield _setting(
            Severity.CRITICAL,
            f"The supervisor does not start: {error}",
            "Mend the setting, or make the user.",
            _where(str(error), file),
        )
    for words in (*file_warnings(settings.policy_file), *open_to_others(settings.alerts_file)):
        found = _CHMOD.search(words)
        yield _setting(
            Severity.HIGH,
            f"{words[:1].upper()}{words[1:]}.",
            "Let nobody else read or change what holds the settings.",
            (found[0],) if found else (f"ls -l {file}",),
        )
    for words in unknown_variables():
        yield _setting(
            Severity.MEDIUM,
            words,
            "Write its name as docs/reference.md has it, or take it out.",
            _where(words, file),
        )
    if os.geteuid() == 0 and settings.worker_user is None and not subject.within:
        yield _setting(
            Severity.LOW,
            "Workers of a supervisor that is root run as root, too, unless WHATSAPP_WORKER_USER"
            " names a user.",
            "Give the workers a user of their own (docs/security.md).",
            ("useradd --system --no-create-home --shell /usr/sbin/nologin wasup-worker",),
        )


def _setting(
    severity: Severity, description: str, solution: str, commands: tuple[str, ...]
) -> Issue:
    return Issue("configuration", severity, description, solution, ("settings",), commands)


def _where(words: str, file: Path) -> tuple[str, ...]:
    """Where a variable is set."""
    name = _NAME.match(words)
    if name is None:
        return (f"ls -l {shlex.quote(str(file))}",)
    return (f"grep -n {name[0]} {shlex.quote(str(file))}", f"env | grep {name[0]}=")


# --- owners and modes -----------------------------------------------------------------------------


async def check_permissions(subject: Subject) -> Iterable[Issue]:
    """Whether its own user can use the data, and nobody else."""
    return await in_thread(lambda: list(_permissions(subject)))


def _permissions(subject: Subject) -> Iterator[Issue]:
    directory = subject.directory
    quoted = shlex.quote(str(directory))
    try:
        about = directory.stat()
    except FileNotFoundError:
        yield from _no_directory(directory)
        return
    except OSError as error:
        yield _permission(
            Severity.CRITICAL,
            f"{directory} cannot be entered by {_user(os.geteuid())}: {error.strerror}.",
            "Be the user whom it belongs to, or give it to this one.",
            (f"namei -l {quoted}",),
        )
        return
    owner = about.st_uid
    if os.geteuid() not in {0, owner}:
        if subject.supervisor is not None or os.access(directory, os.W_OK | os.X_OK):
            raise NotChecked(
                f"{directory} belongs to {_user(owner)}: run `sudo -u {_user(owner)} wasup doctor`"
            )
        yield _permission(
            Severity.CRITICAL,
            f"{directory} belongs to {_user(owner)}, and {_user(os.geteuid())} cannot write there.",
            "Run the supervisor as its owner, or give the directory to this user.",
            (f"sudo -u {_user(owner)} wasup run", f"sudo chown -R {_user(os.geteuid())} {quoted}"),
        )
        return
    open_to = 0o077 if subject.settings.worker_user is None else 0o067
    if about.st_mode & 0o700 != 0o700:
        yield _permission(
            Severity.CRITICAL,
            f"{directory} cannot be used by its own owner, {_user(owner)} (mode"
            f" {stat.S_IMODE(about.st_mode):o}).",
            "Give its owner all rights, and nobody else any.",
            (f"chmod 700 {quoted}",),
        )
    elif about.st_mode & open_to:
        yield _permission(
            Severity.HIGH,
            f"{directory} can be entered by others (mode {stat.S_IMODE(about.st_mode):o}): whoever"
            " reads the store has the numbers.",
            "Let nobody in but its owner.",
            (f"chmod 700 {quoted}",),
        )
    yield from _file_permissions(subject, owner)


def _file_permissions(subject: Subject, owner: int) -> Iterator[Issue]:
    quoted = shlex.quote(str(subject.directory))
    known = [(file, file.stat()) for file in subject.files() if file.exists()]
    foreign = [file for file, about in known if about.st_uid != owner]
    if foreign:
        whose = ", ".join(sorted({_user(file.stat().st_uid) for file in foreign}))
        yield _permission(
            Severity.CRITICAL,
            f"{', '.join(file.name for file in foreign)} in {subject.directory} belong"
            f"{'s' if len(foreign) == 1 else ''} to {whose}, the directory to {_user(owner)}: a"
            " command was run as another user, and the supervisor cannot write there.",
            "Give everything back to the directory's owner, and run commands as that user.",
            (f"sudo chown -R {_user(owner)}: {quoted}", f"ls -la {quoted}"),
        )
    locked = [file for file, about in known if about.st_mode & 0o600 != 0o600]
    if locked:
        yield _permission(
            Severity.CRITICAL,
            f"{', '.join(file.name for file in locked)} in {subject.directory} cannot be read and"
            " written by the owner.",
            "Give the owner back what is his.",
            tuple(f"chmod 600 {shlex.quote(str(file))}" for file in locked),
        )
    seen = [file for file, about in known if about.st_mode & 0o077]
    seen = [file for file in seen if file not in locked and file.name != lock.FILE_NAME]
    if seen:
        yield _permission(
            Severity.HIGH,
            f"{', '.join(file.name for file in seen)} in {subject.directory} can be read by"
            " others: credentials are in there.",
            "Let nobody read it but its owner.",
            tuple(f"chmod 600 {shlex.quote(str(file))}" for file in seen),
        )


def _no_directory(directory: Path) -> Iterator[Issue]:
    above = nearest(directory)
    if not os.access(above, os.W_OK | os.X_OK):
        yield _permission(
            Severity.CRITICAL,
            f"There is no {directory}, and {_user(os.geteuid())} cannot make it in {above}.",
            "Make it for the user whom the supervisor runs as.",
            (f"sudo install -d -m 700 -o {_user(os.geteuid())} {shlex.quote(str(directory))}",),
        )


def _permission(
    severity: Severity, description: str, solution: str, commands: tuple[str, ...]
) -> Issue:
    return Issue(
        "configuration", severity, description, solution, ("permissions", "store"), commands
    )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


# --- two of them ----------------------------------------------------------------------------------


async def check_supervisors(subject: Subject) -> Iterable[Issue]:
    """Whether two supervisors are at work on one data directory."""
    return await in_thread(lambda: list(_supervisors(subject)))


def _supervisors(subject: Subject) -> Iterator[Issue]:
    own = [os.getpid()] if subject.within else []
    pids = sorted([*own, *_with_our_lock(subject.directory)])
    if len(pids) < 2:
        return
    newest = max(pids, key=lambda pid: started_at_ticks(pid) or 0)
    yield Issue(
        "configuration",
        Severity.CRITICAL,
        f"{len(pids)} supervisors are at work on {subject.directory} (pids"
        f" {', '.join(map(str, pids))}): the lock's file was removed while one was running, and"
        " each number may be logged in twice.",
        f"Stop the one that was started last, {newest}; never remove supervisor.lock.",
        ("supervisor", "sessions"),
        (f"ps -fp {','.join(map(str, pids))}", f"kill {newest}"),
    )


def _with_our_lock(directory: Path) -> Iterator[int]:
    """Supervisors that have this directory's lock file open, or one of that name that was removed.

    A supervisor shows its descriptors to root alone (PR_SET_DUMPABLE). Of the others is asked
    whether they have a lock on a file of the directory: on SQLite's, above all.
    """
    file = str(directory.resolve() / lock.FILE_NAME)
    holders = _lock_holders(directory)
    for entry in PROC.iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            if not _is_supervisor(arguments):
                continue
        except OSError:
            continue
        try:
            links = [os.readlink(link) for link in (entry / "fd").iterdir()]
        except OSError:
            if int(entry.name) in holders:
                yield int(entry.name)
            continue
        if file in links or f"{file} (deleted)" in links:
            yield int(entry.name)


def _lock_holders(directory: Path) -> set[int]:
    """Processes that have a lock on a file of the directory: /proc/locks shows everybody's to
    everybody, as `1: POSIX ADVISORY READ 4711 fe:00:1234 128 128` (proc_locks(5)).
    """
    try:
        kept = [file.stat() for file in directory.iterdir()]
        rows = [row.split() for row in (PROC / "locks").read_text().splitlines()]
    except OSError:
        return set()
    ours = {f"{os.major(its.st_dev):02x}:{os.minor(its.st_dev):02x}:{its.st_ino}" for its in kept}
    return {int(row[4]) for row in rows if len(row) == 8 and row[5] in ours}


def _is_supervisor(arguments: list[bytes]) -> bool:
    """Whether it is `wasup` or `python -m supervisor`, whichever of the commands."""
    return b"supervisor" in arguments[1:4] or any(one.endswith(b"/wasup") for one in arguments[:3])


# --- versions -------------------------------------------------------------------------------------


async def check_versions(subject: Subject) -> Iterable[Issue]:
    """Node, the worker's packages, what runs beside what is installed, and whether WhatsApp still
    takes this version.
    """
    incidents: Sequence[Incident] = ()
    if subject.store is not None:
        with contextlib.suppress(StoreError):  # told by the check of the database
            incidents = await subject.store.records.incidents(None, None, INCIDENTS)
    return await version_issues(subject, incidents)


async def version_issues(subject: Subject, incidents: Iterable[Incident]) -> list[Issue]:
    """The check of the versions, for whoever has read the newest incidents already."""
    found = await in_thread(lambda: list(_installed()))
    if subject.ask is not None:
        with contextlib.suppress(Exception):  # the check of the supervisor says why
            found += _outdated(await subject.ask("/healthz"), await subject.ask("/workers?limit=1"))
    return found + refused(incidents, time.time())


def _installed() -> Iterator[Issue]:
    package = WORKER_DIRECTORY / "node_modules/@whiskeysockets/baileys/package.json"
    wanted = json.loads((WORKER_DIRECTORY / "package.json").read_text(encoding="utf-8"))
    version = wanted["dependencies"]["@whiskeysockets/baileys"]
    try:
        there = json.loads(package.read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError):
        there = None
    if there != version:
        yield _version(
            Severity.CRITICAL,
            f"Baileys {version} is not installed"
            + (" (there is none)" if there is None else f" ({there} is)")
            + ": no worker can start as it should.",
            "Install what the lock files name.",
            (f"make -C {shlex.quote(str(installation.INSTALLED))} setup-run",),
        )
    node = _output(worker_user.NODE, "--version")
    if node is None:
        yield _version(
            Severity.CRITICAL,
            f"The workers' Node ({worker_user.NODE}) does not run.",
            "Install it anew.",
            (f"make -C {shlex.quote(str(installation.INSTALLED))} setup-run",),
        )


def _outdated(health: Any, workers: Any) -> list[Issue]:
    """What runs is older than what is installed."""
    found, running, installed = [], health["version"], installation.version()
    if running != installed:
        found.append(
            _version(
                Severity.MEDIUM,
                f"The supervisor that runs is wasup {running}; {installed} is installed.",
                "Restart it: the workers live on, and no number logs in again.",
                _RESTART,
            )
        )
    if workers["outdated"]:
        found.append(
            _version(
                Severity.MEDIUM,
                f"{workers['outdated']} workers run older code than what is installed.",
                "Replace them one after the other.",
                ("wasup workers roll",),
            )
        )
    return found


def refused(incidents: Iterable[Incident], now: float) -> list[Issue]:
    """WhatsApp does not take this version: by the incidents that began lately, and are not over.

    A session that is open again needs no upgrade any more. Pure.
    """
    late = [
        one
        for one in incidents
        if one.reason == CloseReason.CLIENT_OUTDATED
        and not one.over
        and one.began_at > now - LATELY_SECONDS
    ]
    if not late:
        return []
    return [
        _version(
            Severity.HIGH,
            f"WhatsApp has refused this version of the client {len(late)} times"
            " (client_outdated, 405).",
            "Upgrade wasup: no reconnection helps (docs/upgrading.md).",
            ("git pull --ff-only", "make setup-run", *_RESTART),
        )
    ]


_RESTART: Final = ("pm2 restart wasup || sudo systemctl restart wasup",)


def _version(
    severity: Severity, description: str, solution: str, commands: tuple[str, ...]
) -> Issue:
    return Issue(
        "configuration", severity, description, solution, ("versions", "workers"), commands
    )


# --- who starts it again --------------------------------------------------------------------------


async def check_managers(subject: Subject) -> Iterable[Issue]:
    """Whether something starts it after a crash and after a boot, exactly one thing, and cron's
    monitor looks after it.
    """
    return await in_thread(lambda: list(_managers(subject.directory)))


def managers(directory: Path) -> dict[str, bool]:
    """Which of the ways to start it are set up, by whoever looks or by the data's owner: pm2,
    systemd, cron's monitor.
    """
    enabled = _output("systemctl", "is-enabled", UNIT)
    return {
        "pm2": any("wasup" in _text(dump) for dump in _pm2_dumps(directory)),
        "systemd": enabled is not None and enabled.strip() == "enabled",
        "cron": _MONITOR in (_output("crontab", "-l") or "")
        or any(_MONITOR in _text(file) for file in _cron_files()),
    }


def _managers(directory: Path) -> Iterator[Issue]:
    found = managers(directory)
    if found["pm2"] and found["systemd"]:
        yield _manager(
            Severity.HIGH,
            "Both pm2 and systemd start wasup: two supervisors are after one data directory, and"
            " the one that comes second fails at every boot.",
            "Keep one of them.",
            ("pm2 delete wasup && pm2 save", f"sudo systemctl disable --now {UNIT}"),
        )
    if not found["pm2"] and not found["systemd"]:
        yield _manager(
            Severity.LOW,
            "Nothing starts wasup again after a crash or a boot: neither pm2 nor systemd knows it.",
            "Let one of them look after it (docs/deployment.md).",
            ("pm2 start ecosystem.config.js && pm2 save && pm2 startup",),
        )
    if not found["cron"]:
        monitor = installation.INSTALLED / "scripts" / _MONITOR
        yield _manager(
            Severity.LOW,
            "No cron job runs the monitor, which revives a supervisor that hangs, and mails.",
            "Add it to the crontab (docs/monitoring.md).",
            (f"(crontab -l 2>/dev/null; echo '*/2 * * * * {monitor}') | crontab -",),
        )


def _manager(
    severity: Severity, description: str, solution: str, commands: tuple[str, ...]
) -> Issue:
    return Issue("configuration", severity, description, solution, ("process manager",), commands)


def _pm2_dumps(directory: Path) -> list[Path]:
    homes = [Path(os.environ.get("PM2_HOME") or Path.home() / ".pm2")]
    with contextlib.suppress(OSError, KeyError):  # not there yet, or a user without a name
        homes.append(Path(pwd.getpwuid(directory.stat().st_uid).pw_dir) / ".pm2")
    return [home / "dump.pm2" for home in dict.fromkeys(homes)]


def _cron_files() -> list[Path]:
    return [Path("/etc/crontab"), *Path("/etc/cron.d").glob("*")]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # there is none, or it is another user's: then it does not start ours


def _output(*command: str) -> str | None:
    """What a command prints; None: it is not there, fails or hangs."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
