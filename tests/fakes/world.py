"""One session among fakes: a world that a test can break."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sessions.lifecycle.dependencies import Dependencies, SessionConfig
from sessions.lifecycle.inbox import Command
from sessions.lifecycle.session import Session
from sessions.model import (
    AlertChange,
    EventData,
    SessionId,
    SessionNotFound,
    SessionState,
    StaleEpoch,
    WasupError,
)
from sessions.ports import Origin
from sessions.records.changes import Changes
from sessions.workers.keys import KeyService
from sessions.workers.worker_process import Exit
from tests.fakes.credentials import CREDS
from tests.fakes.gate import FakeGate
from tests.fakes.store import FakeStore
from tests.fakes.workers import FakeWorkers


class World:
    """One session among fakes, and a record of what it showed."""

    def __init__(self, config: SessionConfig | None = None, seed: int = 0) -> None:
        self.id = SessionId("shop")
        self.store = FakeStore()
        self.gate = FakeGate()
        self.workers = FakeWorkers()
        self.events: list[tuple[float, str, Mapping[str, Any]]] = []
        self.commits: list[Changes] = []
        self.delivered: set[tuple[int, int]] = set()
        self.dependencies = Dependencies(
            config=config or SessionConfig(),
            store=self.store,  # type: ignore[arg-type]
            keys=KeyService(self.store),  # type: ignore[arg-type]
            workers=self.workers,
            gate=self.gate,
            publish=self._publish,
            record=self._record,
            deliver=self._deliver,
            rng=random.Random(seed),
        )
        self.session: Session = None  # type: ignore[assignment]
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def start(self, wanted: bool = True) -> Session:
        """Create the session (once) and run its actor on what the store has of it."""
        if self.id not in self.store.rows:
            await self.store.create_session(self.id, wanted)
        self.session = Session(self.store.rows[self.id], self.dependencies)
        self._task = asyncio.create_task(self.session.run(), name="the session under test")
        return self.session

    async def crash(self, workers_live: bool = False) -> None:
        """The supervisor dies without a word, and its workers with it, unless they live on."""
        self.workers.supervisor_dies = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if self.id in task.get_name().split():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        for worker in [] if workers_live else self.workers.alive:
            worker.detach()
            worker.end(Exit(signal=9))
        self._forget_the_supervisor()

    async def leave(self) -> None:
        """The supervisor stops, and leaves its workers to its successor."""
        with contextlib.suppress(SessionNotFound):
            await self.session.ask(Command.LEAVE)
        if self._task is not None:
            await self._task
        self._forget_the_supervisor()

    def come_back(self, after: float = 0.0) -> None:
        """The workers that live on will call the next supervisor by then."""
        for worker in self.workers.alive:
            self.workers.calls(worker, after)

    def _forget_the_supervisor(self) -> None:
        self.store.forget_waiting()
        self.workers.supervisor_dies = False
        self.workers.live_on()
        self.workers.returning.clear()
        for permit in self.gate.unfinished:
            permit.finish(succeeded=False)

    async def __aenter__(self) -> "World":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: object, trace: object
    ) -> None:
        await self.close()
        if kind is None:
            assert self.breaches == []
            assert self.workers.alive == [], "a retired session leaves no worker behind"
            assert self.gate.unfinished == [], "a retired session holds no permit"

    async def close(self) -> None:
        """Retire the session."""
        if self.session is None:
            return
        if self._task is not None and self._task.done():
            self._task.result()  # an actor that has died of an error answers nobody
        with contextlib.suppress(SessionNotFound):
            await self.session.ask(Command.RETIRE)
        if self._task is not None:
            await self._task
        await self.workers.close()

    def paired(self, creds: bytes = CREDS) -> None:
        """The session has credentials already."""
        self.store.auth[self.id, "creds", "creds"] = creds

    async def ask(self, command: Command) -> WasupError | None:
        """Ask; the refusal, if it is refused."""
        try:
            await self.session.ask(command)
        except WasupError as refusal:
            return refusal
        return None

    async def until(self, *states: SessionState, within: float = 30.0) -> float:
        """Wait until it is in one of the states; the loop's time."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(within):
                while self.session.state not in states:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            shown = [
                f"{at:.1f}: {data['previousState']} -> {data['state']}"
                for at, kind, data in self.events
                if kind == "session.state"
            ]
            raise AssertionError(
                f"not {states} within {within} s but {self.session.state}; {shown}"
            ) from None
        return loop.time()

    async def until_true(self, condition: Callable[[], bool], within: float = 600.0) -> None:
        """Wait until something is so that an event may have changed."""
        async with asyncio.timeout(within):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def times(self, state: SessionState) -> list[float]:
        """When it came to be in that state."""
        return [
            at
            for at, kind, data in self.events
            if kind == "session.state" and data["state"] == state
        ]

    def alerts(self, name: str) -> list[float]:
        """When that alert was raised; its end is another matter."""
        return [
            at
            for at, kind, data in self.events
            if kind == "alert" and data["name"] == name and data["state"] != "ended"
        ]

    @property
    def breaches(self) -> list[str]:
        return [*self.workers.breaches, *self.gate.breaches]

    def _deliver(
        self, session: SessionId, event: EventData, origin: Origin
    ) -> asyncio.Future[bool]:
        """Once for each epoch and number, as the real one."""
        delivered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if origin.epoch != self.store.rows[session].epoch:
            delivered.set_exception(
                StaleEpoch(f"{session} is at another epoch than {origin.epoch}")
            )
            return delivered
        new = (origin.epoch, origin.seq) not in self.delivered
        self.delivered.add((origin.epoch, origin.seq))
        if new:
            self._publish(session, event)
        delivered.set_result(new)
        return delivered

    def _record(self, changes: Changes) -> None:
        self.commits.append(changes)
        self.store.commit(changes)
        self._changed.set()
        if changes.event is not None:
            self._publish(changes.session, changes.event)

    def _publish(self, _session: SessionId | None, told: EventData | AlertChange) -> None:
        kind = told.type if isinstance(told, EventData) else "alert"
        shown = msgspec.to_builtins(told)
        self.events.append((asyncio.get_running_loop().time(), kind, shown))
        self._changed.set()
