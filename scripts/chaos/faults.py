"""How each fault of the plan is inflicted, and healed where it does not heal by itself."""

import asyncio
import resource
import signal
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from scripts.chaos import stepped_clock, trouble
from scripts.chaos.garbage import impostor, throw
from scripts.chaos.invariants import Violation, uncharged
from scripts.chaos.plan import Step
from scripts.chaos.stage import UNREACHABLE, Look, Stage
from scripts.chaos.targets import Target, working_below
from scripts.chaos.traffic import Traffic
from scripts.chaos.worker_flood import flood
from scripts.lab.unkillable import unkillable

NO_FILE_GROWS: Final = (0, resource.RLIM_INFINITY)
"""The kernel refuses every write of the process to a file: what a full disk does, without a disk of
our own.
"""
FILES_GROW: Final = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
NO_NAMES: Final = (
    "the supervisor has no /etc/hosts of its own here: it takes root, and `unshare --mount`"
)
MONITOR: Final = Path(__file__).resolve().parent.parent / "monitor.py"
MONITOR_PATIENCE_SECONDS: Final = 30.0
"""It needs some four, on an idle machine."""
API_PATIENCE: Final = aiohttp.ClientTimeout(total=60.0)
API_CALLS: Final = (
    ("GET", "/sessions", None),
    ("GET", "/reconnection-status", None),
    ("GET", "/performance-metrics", None),
    ("GET", "/events?after=0&limit=50", None),
    ("GET", "/readyz", None),
    ("GET", "/sessions/nobody", None),
    ("POST", "/sessions", {"id": "not a name"}),
    ("POST", "/sessions/nobody/messages", {"to": "5511999990000", "text": "?"}),
    ("POST", "/force-reconnection/nobody", None),
)


@dataclass(slots=True)
class Damage:
    """What must be gone before anything counts as recovered, and what was seen while it lasted."""

    connections: set[int] = field(default_factory=set)
    workers: set[int] = field(default_factory=set)
    violations: list[Violation] = field(default_factory=list)
    sessions: frozenset[str] = frozenset()
    """Who was struck, where it counts when the first of them is back."""
    skipped: str = ""
    """Why it could not be inflicted here, in words; empty: it was."""


@dataclass(frozen=True, slots=True)
class Field:
    """Where a fault is inflicted: the stage, the traffic on it, and a look taken just before."""

    stage: Stage
    traffic: Traffic
    before: Look

    def worker(self, session: str) -> Target:
        """The session's worker process."""
        return Target.below(self.stage.supervisor.directory, self.before.worker(session))


Inflict = Callable[[Field, Step], Awaitable[Damage]]


async def inflict(scene: Field, step: Step) -> Damage:
    """Inflict the step's fault, and heal it."""
    return await FAULTS[step.fault](scene, step)


# --- processes ------------------------------------------------------------------------------------


async def _worker_kill(scene: Field, step: Step) -> Damage:
    damage = Damage()
    for session in scene.stage.names(step.hit.victims):
        _kill_worker(scene, session, damage)
    return damage


def _kill_worker(scene: Field, session: str, damage: Damage) -> None:
    with scene.worker(session) as worker:
        if worker.signal(signal.SIGKILL):
            damage.workers.add(worker.pid)
            damage.connections |= _connections(scene, session)


async def _worker_flood(scene: Field, step: Step) -> Damage:
    """It has to be ended for it, and nobody else notices."""
    (session,) = scene.stage.names(step.hit.victims)
    with scene.worker(session) as worker:
        if worker.pid < 0 or not await asyncio.to_thread(flood, worker.pid, session):
            return Damage()
        return Damage(connections=_connections(scene, session), workers={worker.pid})


async def _worker_stop(scene: Field, step: Step) -> Damage:
    (session,) = scene.stage.names(step.hit.victims)
    for_seconds = step.hit.parameters["seconds"]
    with scene.worker(session) as worker:
        worker.signal(signal.SIGSTOP)
        if for_seconds is None:
            return Damage(connections=_connections(scene, session), workers={worker.pid})
        await asyncio.sleep(for_seconds)
        worker.signal(signal.SIGCONT)
    return Damage()


async def _supervisor_kill(scene: Field, step: Step) -> Damage:
    await scene.stage.supervisor.kill()
    return await _start_again(scene, step)


async def _supervisor_restart(scene: Field, step: Step) -> Damage:
    await scene.stage.supervisor.stop()
    return await _start_again(scene, step)


async def _start_again(scene: Field, step: Step) -> Damage:
    await asyncio.sleep(step.hit.parameters["down"])
    await scene.stage.start_supervisor()
    return Damage()


async def _supervisor_stop(scene: Field, step: Step) -> Damage:
    with _supervisor_stopped(scene):
        await asyncio.sleep(step.hit.parameters["seconds"])
    return Damage()


@contextmanager
def _supervisor_stopped(scene: Field) -> Iterator[None]:
    scene.stage.process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        scene.stage.process.signal(signal.SIGCONT)


async def _both_kill(scene: Field, step: Step) -> Damage:
    (session,) = scene.stage.names(step.hit.victims)
    damage = Damage()
    if step.hit.parameters["first"] == "worker":
        _kill_worker(scene, session, damage)
        await scene.stage.supervisor.kill()
    else:
        await scene.stage.supervisor.kill()
        _kill_worker(scene, session, damage)
    await _start_again(scene, step)
    return damage


async def _both_stop(scene: Field, step: Step) -> Damage:
    (session,) = scene.stage.names(step.hit.victims)
    worker_seconds = step.hit.parameters["worker_seconds"]
    with scene.worker(session) as worker:
        worker.signal(signal.SIGSTOP)
        with _supervisor_stopped(scene):
            await asyncio.sleep(step.hit.parameters["seconds"])
        if worker_seconds is None:
            return Damage(connections=_connections(scene, session), workers={worker.pid})
        await asyncio.sleep(worker_seconds)
        worker.signal(signal.SIGCONT)
    return Damage()


# --- the network ----------------------------------------------------------------------------------


async def _network(scene: Field, step: Step) -> Damage:
    given = {name: value for name, value in step.hit.parameters.items() if value is not None}
    damage = Damage()
    for session in scene.stage.names(step.hit.victims):
        damage.connections |= _connections(scene, session)
        await scene.stage.standin.fault(step.fault, session, **given)
    return damage


def _connections(scene: Field, session: str) -> set[int]:
    return {connection["id"] for connection in scene.before.connections_of(session)}


async def _door_shut(scene: Field, step: Step) -> Damage:
    how = step.hit.parameters["how"]

    async def begin() -> None:
        if how == "away":
            await scene.stage.standin.fault("away")
        else:
            await scene.stage.standin.fault("refuse", how=how)

    return await _outage(scene, step, begin, scene.stage.standin.mend)


async def _proxy_away(scene: Field, step: Step) -> Damage:
    assert scene.stage.proxy is not None, "a campaign's stage has ways"
    return await _outage(scene, step, scene.stage.proxy.close, scene.stage.proxy.open)


async def _dns_away(scene: Field, step: Step) -> Damage:
    names = scene.stage.dns
    if names is None:
        return Damage(skipped=NO_NAMES)

    async def begin() -> None:
        names.take_away()

    async def end() -> None:
        names.give_back()

    return await _outage(scene, step, begin, end)


async def _outage(
    scene: Field,
    step: Step,
    begin: Callable[[], Awaitable[None]],
    end: Callable[[], Awaitable[None]],
) -> Damage:
    """The way is gone for the victims, and what they had of it has dropped."""
    victims = scene.stage.names(step.hit.victims)
    damage = Damage(sessions=frozenset(victims))
    await begin()
    try:
        for session in victims:
            damage.connections |= _connections(scene, session)
            await scene.stage.standin.fault("drop", session, how="reset")
        await asyncio.sleep(step.hit.parameters["seconds"])
        damage.violations += uncharged(
            scene.before.views, (await scene.stage.look()).views, victims
        )
    except UNREACHABLE as error:
        damage.violations.append(
            Violation("an outage is charged to nobody", None, f"the API does not tell: {error!r}")
        )
    finally:
        await end()
    return damage


async def _flood(scene: Field, step: Step) -> Damage:
    (session,) = scene.stage.names(step.hit.victims)
    await scene.traffic.send_many(session, step.hit.parameters["texts"])
    return Damage()


# --- the supervisor's dependencies ----------------------------------------------------------------


async def _garbage(scene: Field, step: Step) -> Damage:
    kind, size = step.hit.parameters["kind"], step.hit.parameters["size"]
    await throw(scene.stage.supervisor.directory, kind, size)
    return Damage()


async def _impostor(scene: Field, step: Step) -> Damage:
    await scene.stage.supervisor.kill()
    kind, for_seconds = step.hit.parameters["kind"], step.hit.parameters["seconds"]
    await impostor(scene.stage.supervisor.directory, kind, for_seconds)
    await scene.stage.start_supervisor()
    return Damage()


async def _disk_full(scene: Field, step: Step) -> Damage:
    resource.prlimit(scene.stage.process.pid, resource.RLIMIT_FSIZE, NO_FILE_GROWS)
    try:
        await asyncio.sleep(step.hit.parameters["seconds"])
    finally:
        _let_files_grow(scene)
    return Damage()


def _let_files_grow(scene: Field) -> None:
    """Also those of workers that were started meanwhile: they have inherited what no real disk
    hands down.
    """
    for pid in [
        scene.stage.process.pid,
        *(p.pid for p in working_below(scene.stage.supervisor.directory)),
    ]:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, FILES_GROW)


async def _store_locked(scene: Field, step: Step) -> Damage:
    file = scene.stage.supervisor.directory / "wasup.db"
    with closing(sqlite3.connect(file, timeout=10, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        try:
            await asyncio.sleep(step.hit.parameters["seconds"])
        finally:
            database.execute("ROLLBACK")
    return Damage()


async def _clock_step(scene: Field, step: Step) -> Damage:
    back_after = step.hit.parameters["back_after"]
    stepped_clock.set_offset(scene.stage.clock, step.hit.parameters["offset"])
    await asyncio.sleep(1.0 if back_after is None else back_after)
    if back_after is not None:
        stepped_clock.set_offset(scene.stage.clock, 0.0)
    return Damage()


async def _api_flood(scene: Field, step: Step) -> Damage:
    """What each call is answered is not the matter here; the sessions behind it are.

    Its connections end with it.
    """
    async with aiohttp.ClientSession(scene.stage.supervisor.api, timeout=API_PATIENCE) as http:

        async def call(number: int) -> None:
            method, path, body = API_CALLS[number % len(API_CALLS)]
            with suppress(*UNREACHABLE):
                async with http.request(method, path, json=body) as response:
                    await response.read()

        await asyncio.gather(*(call(number) for number in range(step.hit.parameters["calls"])))
    return Damage()


# --- the machine ----------------------------------------------------------------------------------


async def _no_forks(scene: Field, step: Step) -> Damage:
    trouble.begin(scene.stage.trouble, trouble.NO_FORKS)
    try:
        damage = await _worker_kill(scene, step)
        await asyncio.sleep(step.hit.parameters["seconds"])
    finally:
        trouble.end(scene.stage.trouble)
    return damage


async def _no_descriptors(scene: Field, step: Step) -> Damage:
    """The limit is set to what is open: the kernel refuses every further one."""
    pid = scene.stage.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (scene.stage.descriptors(), before[1]))
    try:
        damage = await _worker_kill(scene, step)
        await asyncio.sleep(step.hit.parameters["seconds"])
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    for process in working_below(scene.stage.supervisor.directory):
        # started meanwhile: it has inherited the limit
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
    return damage


async def _unkillable(scene: Field, step: Step) -> Damage:
    (session,) = scene.stage.names(step.hit.victims)
    with scene.worker(session) as worker:
        if not worker.there:
            return Damage()
        async with unkillable(worker.pid):
            worker.signal(signal.SIGKILL)
            await asyncio.sleep(step.hit.parameters["seconds"])
        return Damage(connections=_connections(scene, session), workers={worker.pid})


async def _failing_looks(scene: Field, step: Step) -> Damage:
    trouble.begin(scene.stage.trouble, trouble.FAILING_LOOKS)
    try:
        await asyncio.sleep(step.hit.parameters["seconds"])
    finally:
        trouble.end(scene.stage.trouble)
    return Damage()


async def _monitor_hung(scene: Field, step: Step) -> Damage:
    """The supervisor is stopped meanwhile.

    The monitor is told to be quick, and /bin/true is its pm2: it says yes to all.
    """
    api = urlsplit(scene.stage.supervisor.api)
    environment = {
        "PATH": "/usr/bin:/bin",
        "WHATSAPP_DATA_DIR": str(scene.stage.supervisor.directory),
        "WHATSAPP_API_PORT": str(api.port),
        **{f"MONITOR_{name}_SECONDS": "1" for name in ("ANSWER", "SECOND_LOOK", "READY")},
        "PM2": "/bin/true",
    }
    with _supervisor_stopped(scene):
        monitor = await asyncio.create_subprocess_exec(
            sys.executable, str(MONITOR), env=environment, stdout=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(MONITOR_PATIENCE_SECONDS):
                said, _ = await monitor.communicate()
        except TimeoutError:
            monitor.kill()
            said, _ = await monitor.communicate()
            return Damage(
                violations=[Violation("the monitor ends", None, f"it went on: {said.decode()}")]
            )
    line = (scene.stage.supervisor.directory / "logs" / "monitor.log").read_text().splitlines()[-1]
    if monitor.returncode == 1 and "the API is dead (timed out)" in line:
        # printed only the first time
        return Damage()
    words = f"status {monitor.returncode}: {line}"
    return Damage(violations=[Violation("the monitor tells the truth", None, words)])


FAULTS: Final[Mapping[str, Inflict]] = {
    "no-forks": _no_forks,
    "no-descriptors": _no_descriptors,
    "unkillable": _unkillable,
    "failing-looks": _failing_looks,
    "worker-kill": _worker_kill,
    "worker-stop": _worker_stop,
    "worker-flood": _worker_flood,
    "all-workers-kill": _worker_kill,
    "supervisor-kill": _supervisor_kill,
    "supervisor-restart": _supervisor_restart,
    "supervisor-stop": _supervisor_stop,
    "both-kill": _both_kill,
    "both-stop": _both_stop,
    "drop": _network,
    "blackhole": _network,
    "stream-error": _network,
    "bad-frame": _network,
    "door-shut": _door_shut,
    "proxy-away": _proxy_away,
    "dns-away": _dns_away,
    "truncated-frame": _network,
    "garbage": _garbage,
    "impostor": _impostor,
    "disk-full": _disk_full,
    "store-locked": _store_locked,
    "clock-step": _clock_step,
    "flood": _flood,
    "api-flood": _api_flood,
    "monitor-hung": _monitor_hung,
}
