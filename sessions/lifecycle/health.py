"""Health checks of an open session: a real round trip to the server, the worker's heartbeat and its
event-loop lag.

A session is deaf when probes go unanswered although bytes come, or when they are answered and yet
nothing moves: what the server has announced, or its acks of what we send. Never a verdict on
silence of incoming messages alone: a quiet number is not a deaf one
(docs/evidence.md#a-deaf-session).
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from sessions.model import CloseReason, SessionId, WorkerGone
from sessions.ports import WorkerHandle
from sessions.records.counters import Counters
from sessions.workers import wire

FIRST_CHECK_SECONDS: Final = 1.0
"""How soon after `open` the first check is made: a login that is accepted and then met with silence
is noticed early.
"""
EARLY: Final = 0.95
"""Each check comes a twentieth early: a dead socket is noticed within interval + time-out of its
last sign of life, our own delays included.
"""
WORKER_GRACE_SECONDS: Final = 5.0
"""How much later than the probe's own deadline the worker may answer before it is taken for
hung.
"""
SECOND_LOOK_SECONDS: Final = 1.0

Lag = Callable[[bool, str], None]
"""Told when the worker's event loop begins to lag (True), and when it keeps up again; in which
words.
"""

log = structlog.get_logger("session")


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthConfig:
    """How often to look, and what is too slow; seconds."""

    interval_seconds: float = 30.0
    probe_timeout_seconds: float = 5.0
    heartbeat_timeout_seconds: float = 20.0


async def check_until_failed(
    session: SessionId,
    worker: WorkerHandle,
    counters: Counters,
    config: HealthConfig,
    lag: Lag,
    doubt: asyncio.Event,
) -> CloseReason:
    """Check for as long as all is well; the verdict when it is not: `connection_lost`, `deaf` or
    `worker_hung`.

    `doubt`, when set, has it look at once; it is cleared then.
    """
    checks = [
        asyncio.create_task(
            _probe_until_failed(session, worker, counters, config, lag, doubt),
            name=f"probes of {session}",
        ),
        asyncio.create_task(_listen_until_silent(worker, config), name=f"heartbeat of {session}"),
    ]
    try:
        done, _ = await asyncio.wait(checks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)


async def _probe_until_failed(
    session: SessionId,
    worker: WorkerHandle,
    counters: Counters,
    config: HealthConfig,
    lag: Lag,
    doubt: asyncio.Event,
) -> CloseReason:
    lagging = False
    while True:
        doubt.clear()
        verdict = await _probe(session, worker, counters, config)
        if verdict is not None:
            return verdict
        lagging = _watch_lag(worker, config, lagging, lag)
        await _wait(doubt, config.interval_seconds * EARLY)


async def _wait(doubt: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await doubt.wait()


async def _listen_until_silent(worker: WorkerHandle, config: HealthConfig) -> CloseReason:
    """Wait until its heartbeat stops.

    An old one is looked at twice: if it was we who slept, the beats are in the socket's buffer.
    """
    while True:
        left_seconds = (
            worker.beat_at + config.heartbeat_timeout_seconds - asyncio.get_running_loop().time()
        )
        if left_seconds > 0:
            await asyncio.sleep(left_seconds)
            continue
        seen = worker.beat_at
        await asyncio.sleep(SECOND_LOOK_SECONDS)
        if worker.beat_at == seen:
            return CloseReason.WORKER_HUNG


async def _probe(
    session: SessionId, worker: WorkerHandle, counters: Counters, config: HealthConfig
) -> CloseReason | None:
    now = asyncio.get_running_loop().time
    patience = config.probe_timeout_seconds + WORKER_GRACE_SECONDS
    try:
        # Only the time counts that we are awake ourselves.
        reply = await worker.request(lambda number: wire.Probe(session, number), patience)
    except TimeoutError:
        return CloseReason.WORKER_HUNG
    except WorkerGone:  # its end is told to the session by itself
        return None
    assert isinstance(reply, wire.Probed), "a probe is answered with probed"
    if reply.ok and reply.stalled is not None:
        log.warning(
            "the server answers, and yet", action="stalled", session=session, stalled=reply.stalled
        )
        return CloseReason.DEAF
    if reply.ok:
        counters.succeeded(now(), reply.round_trip_ms)
        return None
    return CloseReason.CONNECTION_LOST if reply.silent else CloseReason.DEAF


def _watch_lag(worker: WorkerHandle, config: HealthConfig, lagging: bool, lag: Lag) -> bool:
    """Tell when the worker's event loop begins to lag as much as a probe may take, and when it is
    over.
    """
    lag_ms = worker.beat.lag_ms if worker.beat else 0.0
    lags = lag_ms > config.probe_timeout_seconds * 1000
    if lags != lagging:
        lag(
            lags,
            f"The worker's event loop lags {lag_ms:.0f} ms."
            if lags
            else "The worker's event loop keeps up again.",
        )
    return lags
