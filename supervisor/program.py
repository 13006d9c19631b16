"""The composition root: settings in, rooms put together, started and stopped in order, exit status
out.
"""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from api.app import Doorway, MetricsCollector, Parts, bind, create_app, serving
from sessions.forever import Forever, Look
from sessions.lifecycle.dependencies import Dependencies
from sessions.model import AlertChange, EventData
from sessions.policy import correlated_reasons
from sessions.records.changes import Changes
from sessions.records.distribution import Distribution
from sessions.store import Store
from sessions.store.backups import backup
from sessions.views.events import SessionDeleted
from sessions.workers.keys import KeyService
from sessions.workers.pool import Workers
from supervisor.access.access import Access
from supervisor.access.audit import AuditLog
from supervisor.access.keys import USED_SECONDS, Keys
from supervisor.access.refusals import Refusals
from supervisor.access.token_validator import ImprovedTokenValidator
from supervisor.alerts.alerting import Alerting
from supervisor.alerts.alerts import Alerts
from supervisor.alerts.channels.alerts_file import read_alerts_file
from supervisor.alerts.channels.live_alerts_file import LiveAlertsFile
from supervisor.alerts.judging import own_parts
from supervisor.alerts.judging.figures import monitor
from supervisor.alerts.judging.thresholds import Thresholds
from supervisor.delivery.webhook_registry import Webhooks
from supervisor.fleet.bus import Bus
from supervisor.fleet.feed import Feed
from supervisor.fleet.fleet import Fleet
from supervisor.fleet.incident_log import (
    ALIVE_SECONDS,
    OutageRecorder,
    left_behind,
    say_alive,
)
from supervisor.fleet.policy_file import LivePolicy, read_rules
from supervisor.fleet.roll import Roll
from supervisor.gate.gate import Gate
from supervisor.gate.view import OutageBegan, OutageEnded
from supervisor.gate.way_probe import WayProber
from supervisor.history.archive import Archive
from supervisor.history.history import History
from supervisor.history.outward.outward import Outward
from supervisor.history.sampler import Sampler, begin_measuring
from supervisor.history.sources import fleet_source, host_source, store_source, webhook_source
from supervisor.host.needs.process_limits import raise_soft_descriptors
from supervisor.host.reading.processes import OPEN_FILES, process_limits
from supervisor.host.reading.readings import WindowedHost
from supervisor.places.store_opening import data_directory, open_store
from supervisor.process import dumpable, worker_user
from supervisor.process.lock import DirectoryLock, held_by
from supervisor.process.log_files import LogFile
from supervisor.process.log_kinds import DIRECTORY, KindLogs, written
from supervisor.process.logs import Redaction
from supervisor.process.worker_command import worker_config
from supervisor.reports.reporter import Reporter, reporter_of
from supervisor.settings import Settings
from supervisor.upkeep.upkeep import Upkeep, backups_of
from supervisor.watch.diagnostics.checks import Diagnostics, within
from supervisor.watch.forecasting import Forecaster, cpu_seconds
from supervisor.watch.host_watch import COUNT_SECONDS, HostWatch, log_directory
from supervisor.watch.login_costs import LoginCosts
from supervisor.watch.memory_growth import SAMPLE_SECONDS, MemoryWatch, Worker
from supervisor.watch.shedding import LOOK_SECONDS, Shedding, limits_of

STORE_FILE_SECONDS: Final = 5.0
"""How often to look whether the database's file is still there: what is acknowledged in between
would be lost with it.
"""

log = structlog.get_logger("program")


def run(settings: Settings, on_ready: Callable[[str, bool], None]) -> None:
    """Run until a signal.

    `on_ready` is told the API's address and whether there are no sessions yet.

    Raises BadAlertsFile, BadPolicy, BadSettings, Locked, OSError, StoreError.
    """
    read_rules(settings.policy_file)  # a bad one is told before anything is touched
    read_alerts_file(settings.alerts_file)
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
        _log_files(settings, directory) as logs,
        asyncio.Runner(loop_factory=_loop) as runner,
    ):
        backup.clear_away(directory)
        runner.run(_serve(settings, directory, logs, lock, on_ready))


def record(feed: Feed, bus: Bus, changes: Changes) -> None:
    """What has changed of a session goes to the store and the log, and to whoever watches here."""
    feed.record(changes)
    bus.publish(changes.session, changes)


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
    settings: Settings,
    directory: Path,
    logs: KindLogs,
    lock: DirectoryLock,
    on_ready: Callable[[str, bool], None],
) -> None:
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(bind(settings.api_host, settings.api_port))
        port = listener.getsockname()[1]
        parts = await build(settings, directory, logs, port, stack)
        await begin(parts, stack)
        app = create_app(parts.for_api(), _doorway(settings))
        await stack.enter_async_context(serving(app, listener))
        host = f"[{settings.api_host}]" if ":" in settings.api_host else settings.api_host
        address = f"http://{host}:{port}"
        lock.note(address)
        sessions = len(parts.fleet.sessions())
        log.info(f"ready on {address}", action="ready", api=address, sessions=sessions)
        on_ready(address, not sessions)
        await parts.stopping.wait()
        parts.fleet.ready = False
        detach = settings.detaches()
        log.info(
            "stopping; the workers live on" if detach else "stopping",
            action="stopping",
            detach=detach,
        )
    log.info("stopped", action="stopped")


def _doorway(settings: Settings) -> Doorway:
    return Doorway(
        connections=settings.api_connections,
        needs_token=settings.api_token is not None,
        everybody=settings.api_local_users == "all",
        origins=settings.allowed_origins,
        rate_per_minute=settings.api_rate_per_minute,
        burst=settings.api_burst,
        failures_per_minute=settings.api_failures_per_minute,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The program's parts, put together; `begin` sets them to work."""

    settings: Settings
    forever: Forever
    store: Store
    workers: Workers
    feed: Feed
    alerts: Alerts
    alerting: Alerting
    alerts_file: LiveAlertsFile
    thresholds: Thresholds
    webhooks: Webhooks
    keys: Keys
    access: Access
    audit: AuditLog
    memory: MemoryWatch
    websocket_log: tuple[LogFile, str] | None
    outward: Outward
    bus: Bus
    fleet: Fleet
    forecaster: Forecaster
    policy: LivePolicy
    roll: Roll
    sampler: WindowedHost
    host: HostWatch
    history: History
    feed_metrics: MetricsCollector
    measuring: Sampler
    diagnostics: Diagnostics
    reporter: Reporter
    upkeep: Upkeep
    shedding: Shedding
    stopping: asyncio.Event
    """Set by the first signal."""

    def for_api(self) -> Parts:
        """What the API's handlers ask."""
        return Parts(
            fleet=self.fleet,
            feed=self.feed,
            store=self.store,
            forever=self.forever,
            workers=self.workers,
            roll=self.roll,
            policy=self.policy,
            host=self.host,
            thresholds=self.thresholds,
            forecaster=self.forecaster,
            alerts=self.alerts,
            notifier=self.alerting.notifier,
            alerts_file=self.alerts_file,
            webhooks=self.webhooks,
            access=self.access,
            audit=self.audit,
            keys=self.keys,
            feed_limits=self.settings.feed_limits(),
            history=self.history,
            feed_metrics=self.feed_metrics,
            memory=self.memory,
            websocket_log=self.websocket_log,
            requests=self.outward.requests,
            exposition=self.outward.exposition,
            diagnostics=self.diagnostics,
            reporter=self.reporter,
            upkeep=self.upkeep,
            shedding=self.shedding,
        )


async def build(
    settings: Settings, directory: Path, logs: KindLogs, port: int, stack: AsyncExitStack
) -> Built:
    """Put the parts together, each given what it needs; what has to be closed is pushed onto the
    stack, in this order, and is closed in the reverse one.

    `port`: the API's. Raises StoreError, OSError, BadPolicy, BadAlertsFile.
    """
    detach, bus, rng = settings.detaches(), Bus(), random.Random()
    round_trips = Distribution()
    forever = Forever(bus.tell)
    write_alert = _alert_log(settings, directory, stack)
    store = await open_store(settings, forever, bus.tell)
    stack.push_async_callback(store.close)
    key_service = KeyService(store)
    stack.push_async_callback(key_service.close)
    workers = Workers(worker_config(settings, directory), store, forever, bus.tell)
    stopping = _stop_on_signal(workers)
    stack.push_async_callback(workers.close, detach)
    await workers.listen()  # who lives is known before anybody may ask for a worker
    feed = await Feed.open(store, settings.events_in_memory)
    bus.subscribe(EventData, feed.publish)
    alerts = Alerts(bus.publish, write=write_alert)
    bus.subscribe(AlertChange, alerts.on_change)
    bus.subscribe(SessionDeleted, alerts.on_deleted)
    own_parts.subscribe(bus, alerts)
    keys = await Keys.open(store)
    webhooks = Webhooks(
        store,
        feed,
        alerts,
        forever,
        settings.webhook_guards(port),
        keys.holds,
        bus.publish,
        rng,
        retry_seconds=settings.webhook_retry_hours * 3600.0,
        failing_seconds=settings.webhook_failing_minutes * 60.0,
    )
    stack.push_async_callback(webhooks.close)
    access = await _access(settings, store, keys)
    audit = AuditLog(directory)
    stack.push_async_callback(asyncio.to_thread, audit.close)
    config = settings.policy_config(read_rules(settings.policy_file))
    outages = OutageRecorder(store.records)
    bus.subscribe(OutageBegan, outages.on_began)
    bus.subscribe(OutageEnded, outages.on_ended)
    gate = Gate(
        settings.gate_config(),
        rng,
        bus.publish,
        correlated_reasons(config.rules),
        WayProber(settings.web_socket_url, store.proxy, worker_user.NODE),
    )
    stack.push_async_callback(gate.close)
    sampler = WindowedHost(settings.health_check_interval / 1000)
    fleet = Fleet(
        Dependencies(
            config=settings.session_config(config.rules),
            store=store,
            keys=key_service,
            workers=workers,
            gate=gate,
            publish=bus.publish,
            record=partial(record, feed, bus),
            deliver=feed.deliver,
            rng=rng,
            round_trips=round_trips,
        ),
        gate,
        feed,
        sampler,
        partial(store.origin_still_runs, directory, held_by),
    )
    stack.push_async_callback(fleet.close, detach)
    loop = asyncio.get_running_loop()
    costs = LoginCosts(fleet.worker_pid, cpu_seconds, loop.time, loop.call_later)
    bus.subscribe(Changes, costs.on_changes)
    bus.subscribe(SessionDeleted, costs.on_deleted)
    host = HostWatch(
        sampler,
        settings.web_socket_ports(port),
        lambda: tuple(worker.pid for worker in workers.alive),
        _watched_directories(settings),
    )
    history, feed_metrics = History(Archive(store.history_pages)), MetricsCollector()
    stack.push_async_callback(history.close)
    bus.subscribe(SessionDeleted, history.on_deleted)
    file = read_alerts_file(settings.alerts_file)
    thresholds = settings.thresholds(file)
    alerting = Alerting(
        alerts, store.alerts, forever, bus, fleet, host, history, settings.alerting_config(file)
    )
    stack.push_async_callback(alerting.close)
    roll = Roll(fleet.sessions, workers.code, bus.publish)
    stack.push_async_callback(roll.close)
    websocket_log = _websocket_log(settings, directory, stack)
    outward = Outward(settings, logs, history, bus)
    memory = MemoryWatch(history.latest, partial(_workers_memory, fleet))
    forecaster, backups = (
        Forecaster(fleet, costs, thresholds, refuses=settings.beyond_capacity == "refuse"),
        backups_of(settings, store, alerts),
    )
    alerts_file = LiveAlertsFile(
        settings.alerts_file,
        file,
        alerting.notifier,
        forever,
        bus.publish,
        fleet.get,
        store.must_work,
        settings.alerting_config,
    )
    reporter = reporter_of(
        settings,
        store,
        feed,
        history,
        alerts,
        fleet,
        forecaster,
        backups,
        alerts_file.readers,
        lambda: alerts_file.file,
    )
    return Built(
        settings=settings,
        forever=forever,
        store=store,
        workers=workers,
        feed=feed,
        alerts=alerts,
        alerting=alerting,
        thresholds=thresholds,
        alerts_file=alerts_file,
        webhooks=webhooks,
        keys=keys,
        access=access,
        audit=audit,
        memory=memory,
        websocket_log=websocket_log,
        outward=outward,
        bus=bus,
        fleet=fleet,
        forecaster=forecaster,
        policy=LivePolicy(settings.policy_file, config, bus.publish, fleet.follow),
        roll=roll,
        sampler=sampler,
        host=host,
        history=history,
        feed_metrics=feed_metrics,
        measuring=Sampler(
            history.take,
            [
                host_source(host),
                fleet_source(fleet, round_trips),
                store_source(store),
                webhook_source(webhooks),
                feed_metrics.measure,
                *outward.sources,
            ],
        ),
        shedding=Shedding(
            history.latest,
            limits_of(thresholds, process_limits(os.getpid())[OPEN_FILES].soft),
            alerts,
        ),
        reporter=reporter,
        upkeep=Upkeep(
            settings,
            store,
            feed,
            history,
            alerts,
            fleet,
            backups,
            rng,
            reporter.jobs(settings.report_schedules()),
        ),
        diagnostics=Diagnostics(
            within(settings, directory, store, host.reading, fleet, access, memory.view)
        ),
        stopping=stopping,
    )


async def _access(settings: Settings, store: Store, keys: Keys) -> Access:
    """The entrance. Raises StoreUnavailable."""
    given, refusals = settings.jwt_secret, Refusals()
    secret = await store.keys.token_secret() if given is None else given.get_secret_value().encode()
    token = None if settings.api_token is None else settings.api_token.get_secret_value()
    return Access(token, keys, ImprovedTokenValidator(secret, refusals), refusals)


async def begin(parts: Built, stack: AsyncExitStack) -> None:
    """Take up the sessions, and begin what runs for ever; its ends are pushed onto the stack.

    Raises StoreError.
    """
    settings, store = parts.settings, parts.store
    await parts.alerting.open()
    await parts.webhooks.open()
    for outage in await store.records.begin():
        parts.bus.tell(left_behind(outage))
    await parts.fleet.open()
    _tell_of_restored(parts.fleet)
    parts.alerts_file.begin()
    parts.bus.subscribe(Changes, parts.alerts_file.on_changes)
    stack.push_async_callback(parts.alerts_file.close)
    parts.workers.keep_spares()
    stack.callback(store.records.say_alive)  # after all that runs has ended: until then we lived
    interval_seconds = settings.health_check_interval / 1000
    count_host = partial(asyncio.to_thread, parts.sampler.count)
    looks: list[tuple[str, Look, float]] = [
        ("store file", store.look_at_file, STORE_FILE_SECONDS),
        ("sign of life", partial(say_alive, store.records), ALIVE_SECONDS),
        ("last uses of keys", parts.keys.write_uses, USED_SECONDS),
        ("host sampler", count_host, min(COUNT_SECONDS, interval_seconds)),
        *parts.alerting.looks,
    ]
    for name, look, every_seconds in looks:
        kept = parts.forever.keep(name, look, every_seconds=every_seconds)
        stack.push_async_callback(kept.close)
    await parts.upkeep.scheduler.open()
    parts.upkeep.scheduler.begin(parts.forever)
    stack.push_async_callback(parts.upkeep.scheduler.close)
    for kept in begin_measuring(parts.forever, parts.measuring, parts.history):
        stack.push_async_callback(kept.close)
    growth = parts.forever.keep(
        "memory growth", parts.memory.look, every_seconds=SAMPLE_SECONDS, at_once=False
    )
    stack.push_async_callback(growth.close)
    parts.outward.begin(parts.forever)
    stack.push_async_callback(parts.outward.close)
    if settings.performance_monitoring and settings.shed_load:
        kept = parts.forever.keep("shedding", parts.shedding.look, every_seconds=LOOK_SECONDS)
        stack.push_async_callback(kept.close)
    if settings.performance_monitoring:
        look = monitor(parts.fleet, parts.host, parts.thresholds, parts.alerts)
        kept = parts.forever.keep(
            "performance monitor", look, every_seconds=interval_seconds, at_once=False
        )
        stack.push_async_callback(kept.close)


def _workers_memory(fleet: Fleet) -> dict[Worker, int]:
    """What each session's worker has told that it weighs."""
    figures = ((session.id, session.performance()) for session in fleet.sessions())
    return {
        Worker(session, one.worker_pid): one.worker_memory
        for session, one in figures
        if one.worker_pid is not None and one.worker_memory is not None
    }


def _log_files(settings: Settings, directory: Path) -> AbstractContextManager[KindLogs]:
    return written(
        directory,
        settings.log_kinds,
        settings.log_format,
        settings.log_level,
        list(settings.secrets()),
    )


def _alert_log(
    settings: Settings, directory: Path, stack: AsyncExitStack
) -> Callable[[Mapping[str, Any]], None]:
    """Takes lines of the file of alerts; closed last, as an end may be an alert too."""
    file = LogFile(directory / DIRECTORY / "alerts.log")
    redaction = Redaction(settings.secrets())
    stack.push_async_callback(asyncio.to_thread, file.close)
    return lambda line: file.write(redaction(None, "", dict(line)))


def _websocket_log(
    settings: Settings, directory: Path, stack: AsyncExitStack
) -> tuple[LogFile, str] | None:
    """Where the live feed's clients are written down, and from which level on."""
    if settings.websocket_log_level == "off":
        return None
    file = LogFile(directory / DIRECTORY / "websocket.log")
    stack.push_async_callback(asyncio.to_thread, file.close)
    return file, settings.websocket_log_level


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


def _watched_directories(settings: Settings) -> list[Path]:
    """Whose file systems may not become full."""
    logs = log_directory()
    return [
        data_directory(settings),
        *([logs] if logs else []),
        *([settings.backups_directory()] if settings.backup_dir is not None else []),
        *settings.further_directories(),
    ]


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
