"""The composition root: settings in, rooms put together, started and stopped in order, exit status
out.
"""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from api.app import Parts, bind, create_app, serving
from sessions.forever import Forever, TaskHealth
from sessions.lifecycle.dependencies import Dependencies
from sessions.policy import correlated_reasons
from sessions.store import StoreHealth
from sessions.store.backups import backup
from sessions.views.snapshot import STUCK
from sessions.workers.code import WORKER_MAIN, worker_code
from sessions.workers.keys import KeyService
from sessions.workers.pool import AbandonedWorker, WorkerConfig, Workers
from supervisor.bus import Bus
from supervisor.fleet.feed import Feed
from supervisor.fleet.fleet import Fleet
from supervisor.fleet.incident_log import ALIVE_SECONDS, OutageRecorder, RecordKeeping
from supervisor.fleet.policy_file import LivePolicy, read_rules
from supervisor.fleet.roll import Roll
from supervisor.fleet.snapshots import LOOK_SECONDS, take_snapshots
from supervisor.gate.gate import Gate
from supervisor.gate.way_probe import WayProber
from supervisor.host.needs.process_limits import raise_soft_descriptors
from supervisor.host.reading.readings import WindowedHost
from supervisor.places.store_opening import data_directory, open_store
from supervisor.process import dumpable, worker_user
from supervisor.process.lock import DirectoryLock, held_by
from supervisor.settings import Settings
from supervisor.watch.alerts import Alerts, Severity
from supervisor.watch.forecasting import Forecaster, cpu_seconds
from supervisor.watch.host_watch import COUNT_SECONDS, HostWatch, log_directory
from supervisor.watch.login_costs import LoginCosts
from supervisor.watch.performance import monitor

STORE_FILE_SECONDS: Final = 5.0
"""How often to look whether the database's file is still there: what is acknowledged in between
would be lost with it.
"""


WORKER_ENDED: Final = (
    "The worker (process {pid}) that could not be ended has ended; its session may log in again."
)

log = structlog.get_logger("program")


def run(settings: Settings, on_ready: Callable[[str, bool], None]) -> None:
    """Run until a signal.

    `on_ready` is told the API's address and whether there are no sessions yet.

    Raises BadPolicy, BadSettings, Locked, OSError, StoreError.
    """
    read_rules(settings.policy_file)  # a bad one is told before anything is touched
    user = worker_user.find_user(settings.worker_user)
    worker_user.must_reach_code(user)
    if user is None and os.geteuid() == 0:
        log.warning(
            "workers run as root, as the supervisor does: set WHATSAPP_WORKER_USER",
            action="workers_are_root",
        )
    dumpable.allow(settings.debuggable)
    _raise_descriptors()
    directory = data_directory(settings)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    worker_user.open_to(user, directory)
    if directory.stat().st_mode & (0o077 if user is None else 0o067):
        log.warning(f"{directory} can be entered by others: chmod 700 it", action="open_directory")
    with (
        DirectoryLock(directory, f"{settings.api_host}:{settings.api_port}") as lock,
        asyncio.Runner(loop_factory=_loop) as runner,
    ):
        backup.clear_away(directory)
        runner.run(_serve(settings, directory, lock, on_ready))


def _raise_descriptors() -> None:
    raised = raise_soft_descriptors()
    if raised.problem is not None:
        log.warning(
            f"the limit of descriptors stays at {raised.before}: {raised.problem}",
            action="descriptors",
        )
    elif raised.after != raised.before:
        log.info(
            f"the limit of descriptors is raised from {raised.before} to {raised.after}",
            action="descriptors",
        )


async def _serve(
    settings: Settings, directory: Path, lock: DirectoryLock, on_ready: Callable[[str, bool], None]
) -> None:
    detach = settings.detaches()
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(bind(settings.api_host, settings.api_port))
        bus = Bus()
        forever = Forever(bus.publish)
        store = await open_store(settings, forever, bus.publish)
        stack.push_async_callback(store.close)
        keys = KeyService(store)
        stack.push_async_callback(keys.close)
        workers = Workers(_worker_config(settings, directory), store, forever, bus.publish)
        stopping = _stop_on_signal(workers)
        stack.push_async_callback(workers.close, detach)
        await workers.listen()
        feed = await Feed.open(store, settings.event_log_size)
        rng = random.Random()
        alerts = Alerts(feed.publish)
        bus.subscribe(StoreHealth, partial(_tell_health, alerts))
        bus.subscribe(TaskHealth, partial(_tell_task, alerts))
        bus.subscribe(AbandonedWorker, partial(_tell_abandoned, alerts))
        config = settings.policy_config(read_rules(settings.policy_file))
        outages = OutageRecorder(alerts.publish, store.records)
        prober = WayProber(settings.web_socket_url, store.proxy, worker_user.NODE)
        correlated = correlated_reasons(config.rules)
        gate = Gate(settings.gate_config(), rng, outages.publish, correlated, prober)
        stack.push_async_callback(gate.close)
        costs = LoginCosts(
            alerts.publish,
            cpu_seconds,
            asyncio.get_running_loop().time,
            asyncio.get_running_loop().call_later,
        )
        interval = settings.health_check_interval / 1000
        sampler = WindowedHost(interval)
        fleet = Fleet(
            Dependencies(
                config=settings.session_config(config.rules),
                store=store,
                keys=keys,
                workers=workers,
                gate=gate,
                publish=costs.publish,
                deliver=feed.deliver,
                rng=rng,
            ),
            gate,
            feed,
            sampler,
            partial(store.origin_still_runs, directory, held_by),
        )
        forecaster = Forecaster(fleet, costs, settings.thresholds())
        policy = LivePolicy(settings.policy_file, config, alerts.publish, fleet.follow)
        stack.push_async_callback(fleet.close, detach)
        outages.left_behind(await store.records.begin())
        await fleet.open()
        _tell_of_restored(fleet)
        looking = forever.keep("store file", store.look_at_file, every_seconds=STORE_FILE_SECONDS)
        stack.push_async_callback(looking.close)
        workers.keep_spares()
        roll = Roll(fleet.sessions, workers.code, alerts.publish)
        stack.push_async_callback(roll.close)
        snapshots = forever.keep(
            "snapshots", partial(take_snapshots, store), every_seconds=LOOK_SECONDS
        )
        stack.push_async_callback(snapshots.close)
        keeping = RecordKeeping(store.records, settings.incident_log_days)
        records = forever.keep("incident log", keeping.look, every_seconds=ALIVE_SECONDS)
        stack.callback(store.records.say_alive)  # last: until then we lived
        stack.push_async_callback(records.close)
        ports = settings.web_socket_ports(listener.getsockname()[1])
        watch = HostWatch(
            sampler,
            ports,
            lambda: tuple(worker.pid for worker in workers.alive),
            _watched_directories(settings),
        )
        counting = forever.keep(
            "host sampler",
            partial(asyncio.to_thread, sampler.count),
            every_seconds=min(COUNT_SECONDS, interval),
        )
        stack.push_async_callback(counting.close)
        if settings.performance_monitoring:
            look = monitor(fleet, watch, settings.thresholds(), alerts)
            watching = forever.keep(
                "performance monitor", look, every_seconds=interval, at_once=False
            )
            stack.push_async_callback(watching.close)
        token = settings.api_token.get_secret_value() if settings.api_token else None
        parts = Parts(
            fleet=fleet,
            feed=feed,
            store=store,
            forever=forever,
            workers=workers,
            roll=roll,
            policy=policy,
            host=watch,
            thresholds=settings.thresholds(),
            forecaster=forecaster,
            alerts=alerts,
        )
        everybody = settings.api_local_users == "all"
        app = create_app(parts, token, settings.api_connections, everybody)
        await stack.enter_async_context(serving(app, listener))
        host = f"[{settings.api_host}]" if ":" in settings.api_host else settings.api_host
        address = f"http://{host}:{listener.getsockname()[1]}"
        lock.note(address)
        log.info(f"ready on {address}", action="ready", api=address, sessions=len(fleet.sessions()))
        on_ready(address, not fleet.sessions())
        await stopping.wait()
        fleet.ready = False
        log.info(
            "stopping; the workers live on" if detach else "stopping",
            action="stopping",
            detach=detach,
        )
    log.info("stopped", action="stopped")


def _tell_of_restored(fleet: Fleet) -> None:
    """Sessions that came back with a backup wait for an operator: at each start until he has said
    what becomes of them.
    """
    waiting = sum(session.restored for session in fleet.sessions())
    if waiting:
        log.warning(
            f"{waiting} sessions were restored from a backup and stay stopped: when the old"
            " installation is gone, `wasup sessions start --all`",
            action="restored",
            sessions=waiting,
        )


def _worker_config(settings: Settings, directory: Path) -> WorkerConfig:
    user = worker_user.find_user(settings.worker_user)
    return WorkerConfig(
        directory=directory,
        user=user,
        compile_cache=worker_user.cache_path(user, directory),
        command=(
            worker_user.NODE,
            *(worker_user.permission_flags(user, directory) if settings.worker_permissions else ()),
            f"--max-old-space-size={settings.worker_max_heap}",
            # a quiet session allocates little; the default of 16 MiB is never given back
            "--max-semi-space-size=1",
            "--optimize-for-size",
            str(WORKER_MAIN),
        ),
        environment=settings.worker_environment(),
        code=worker_code(fences=worker_user.fences(user, settings.worker_permissions)),
        concurrent_spawns=settings.worker_spawn_concurrency,
        spares=settings.spare_workers,
        limits=settings.limits(),
    )


def _tell_health(alerts: Alerts, health: StoreHealth) -> None:
    """The store's trouble, and its end, as an alert (the store itself has logged it); the event is
    durable when the store is back.
    """
    if health.state == "ok":
        alerts.end(None, "store", health.words, storeState=health.state)
    else:
        severity: Severity = "critical" if health.state == "failing" else "warning"
        alerts.begin(None, "store", health.words, severity, storeState=health.state)


def _watched_directories(settings: Settings) -> list[Path]:
    """Whose file systems may not become full."""
    logs = log_directory()
    return [data_directory(settings), *([logs] if logs else []), *settings.further_directories()]


def _tell_task(alerts: Alerts, health: TaskHealth) -> None:
    """The trouble of a task that shall run for ever, and its end, as an alert."""
    if health.state == "ok":
        alerts.end(None, "task", health.words, about=health.name, task=health.name)
    else:
        alerts.begin(None, "task", health.words, "critical", about=health.name, task=health.name)


def _tell_abandoned(alerts: Alerts, worker: AbandonedWorker) -> None:
    """A worker that cannot be ended, and its end, as an alert: not the session's, whose deletion
    would end it.
    """
    about = worker.worker
    told: dict[str, Any] = {"worker": worker.worker, "pid": worker.pid, "of": worker.session}
    if worker.ended:
        alerts.end(
            None, "worker_abandoned", WORKER_ENDED.format(pid=worker.pid), about=about, **told
        )
        return
    whose = (
        "A spare worker" if worker.session is None else f"The worker of session {worker.session}"
    )
    words = STUCK.format(whose=whose, pid=worker.pid)
    alerts.begin(None, "worker_abandoned", words, "critical", about=about, **told)


def _stop_on_signal(workers: Workers) -> asyncio.Event:
    """SIGTERM and SIGINT (pm2's first) stop in order; a second one kills the workers, whatever the
    first was to do to them.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopping.is_set():
            log.warning("a second signal: workers are killed", action="impatient_stop")
            for worker in workers.alive:
                worker.kill()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return stopping


def _loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        raise OSError("The supervisor needs Linux: it watches its workers with pidfds.")
    import uvloop

    return uvloop.new_event_loop()
