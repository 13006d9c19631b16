"""Rolling the workers over, among sessions that do as they are told, or not."""

import asyncio
from typing import Any

import msgspec
import pytest
import typer

from sessions.lifecycle.inbox import Command
from sessions.model import EventData, Refused, SessionNotFound, StoreUnavailable
from sessions.model import SessionState as S
from supervisor.cli import worker_commands
from supervisor.fleet.roll import (
    PATIENCE_SECONDS,
    Roll,
    RollView,
    WorkerReplaced,
)

pytestmark = [pytest.mark.looptime(noop_cycles=6), pytest.mark.usefixtures("no_tasks_left")]


class Runner:
    """A worker, as far as a roll looks at it."""

    def __init__(self, code: str) -> None:
        self.code = code


class Rolling:
    """A session that is asked to replace its worker; `fleet` sees how many do so at once."""

    def __init__(
        self, fleet: "RollingFleet", name: str, code: str | None = "old", state: S = S.OPEN
    ) -> None:
        self.id = name
        self.state = state
        self.worker = Runner(code) if code else None
        self.asked: list[float] = []
        self.refusals = 0
        self.answers = True
        self.error: Exception | None = None
        self.opens_again = True
        self._fleet = fleet
        self._work: set[asyncio.Task[None]] = set()

    @property
    def replacing(self) -> bool:
        return self.worker is not None and (self.id in self._fleet.handing_over or not self.answers)

    async def ask(self, command: Command) -> None:
        assert command is Command.REPLACE
        self.asked.append(asyncio.get_running_loop().time())
        if self.error is not None:
            raise self.error
        if self.refusals:
            self.refusals -= 1
            raise Refused("It connects just now.", "Look again.")
        if self.id in self._fleet.handing_over:
            raise Refused("It is being replaced already.", "Look again.")
        if self.answers:
            self._fleet.handing_over.add(self.id)
            self._work.add(asyncio.create_task(self._hand_over()))

    async def _hand_over(self) -> None:
        self._fleet.under_way += 1
        self._fleet.most = max(self._fleet.most, self._fleet.under_way)
        await asyncio.sleep(7.0)
        self.worker, self.state = Runner("new"), S.CONNECTING
        await asyncio.sleep(3.0)
        self.state = S.OPEN if self.opens_again else S.WAITING
        self._fleet.handing_over.discard(self.id)
        self._fleet.under_way -= 1


class RollingFleet:
    """Sessions, and the roll over them."""

    def __init__(self) -> None:
        self.sessions: list[Rolling] = []
        self.handing_over: set[str] = set()
        self.under_way = self.most = 0
        self.events: list[tuple[str | None, EventData]] = []
        self.roll = Roll(lambda: self.sessions, "new", lambda *event: self.events.append(event))  # type: ignore[arg-type, return-value]

    def add(self, name: str, code: str | None = "old", state: S = S.OPEN) -> Rolling:
        self.sessions.append(Rolling(self, name, code, state))
        return self.sessions[-1]

    async def over(self, within: float = 600.0) -> RollView:
        async with asyncio.timeout(within):
            while self.roll.view().running:  # noqa: ASYNC110 - a roll has no such event
                await asyncio.sleep(0.1)
        return self.roll.view()


async def test_the_outdated_workers_are_replaced_one_at_a_time() -> None:
    fleet = RollingFleet()
    for name in ("a", "b", "c"):
        fleet.add(name)
    current, stopped = fleet.add("current", "new"), fleet.add("stopped", None, S.STOPPED)
    assert [session.id for session in fleet.roll.outdated()] == ["a", "b", "c"]
    begun = fleet.roll.begin()
    assert (begun.running, begun.total, begun.replaced) == (True, 3, 0)
    await asyncio.sleep(15.0)
    half = fleet.roll.view()
    assert (half.running, half.replaced, half.current) == (True, 1, "b")
    assert half.words == "1 of 3 workers done; b is being replaced."
    view = await fleet.over()
    assert view == RollView(False, 3, 3, (), None, "3 of 3 workers done.")
    assert fleet.most == 1
    assert fleet.roll.outdated() == []
    assert current.asked == stopped.asked == []
    assert fleet.events == [
        ("a", WorkerReplaced(replaced=1, failed=0, total=3)),
        ("b", WorkerReplaced(replaced=2, failed=0, total=3)),
        ("c", WorkerReplaced(replaced=3, failed=0, total=3)),
    ]


async def test_the_next_begins_when_the_one_before_is_open_again() -> None:
    fleet = RollingFleet()
    first, second = fleet.add("a"), fleet.add("b")
    fleet.roll.begin()
    await fleet.over()
    assert second.asked[0] - first.asked[0] >= 10.0, (
        "seven seconds to change hands, three to log in"
    )


async def test_a_session_that_does_not_come_back_does_not_hold_up_the_others() -> None:
    fleet = RollingFleet()
    fleet.add("a").opens_again = False
    fleet.add("b")
    fleet.roll.begin()
    view = await fleet.over()
    assert (view.replaced, view.failed) == (
        2,
        (),
    ), "it runs on the new code, and WhatsApp's side is its own affair"


async def test_everybody_is_rolled_if_asked_for() -> None:
    fleet = RollingFleet()
    fleet.add("current", "new")
    fleet.add("old")
    fleet.add("stopped", None, S.STOPPED)
    assert fleet.roll.begin(everybody=True).total == 2
    view = await fleet.over()
    assert view.replaced == 2
    assert all(session.asked for session in fleet.sessions[:2])


async def test_a_session_that_connects_just_now_is_asked_again() -> None:
    fleet = RollingFleet()
    session = fleet.add("a", state=S.CONNECTING)
    session.refusals = 5
    fleet.roll.begin()
    view = await fleet.over()
    assert view.replaced == 1
    assert len(session.asked) >= 6
    assert fleet.most == 1
    assert session.asked[5] - session.asked[0] >= 2.0, "and not in a spin"


async def test_a_session_whose_worker_goes_meanwhile_needs_none() -> None:
    fleet = RollingFleet()
    session = fleet.add("a", state=S.WAITING)
    session.answers = False
    fleet.roll.begin()
    await asyncio.sleep(1.0)
    session.worker = None
    assert (await fleet.over()).replaced == 1


async def test_a_session_that_cannot_be_replaced_fails_in_time_and_the_others_go_on() -> None:
    fleet = RollingFleet()
    fleet.add("stubborn").answers = False
    qr = fleet.add("qr", state=S.QR)
    qr.refusals = 10**6
    fleet.add("willing")
    fleet.roll.begin()
    began = asyncio.get_running_loop().time()
    view = await fleet.over(within=3 * PATIENCE_SECONDS)
    assert (view.replaced, view.failed) == (1, ("stubborn", "qr"))
    assert view.words == "3 of 3 workers done, 2 failed."
    assert asyncio.get_running_loop().time() - began < 2 * PATIENCE_SECONDS + 20
    assert [told.type for _, told in fleet.events] == [
        "worker.not_replaced",
        "worker.not_replaced",
        "worker.replaced",
    ]
    assert fleet.events[-1][1] == WorkerReplaced(replaced=1, failed=2, total=3)


async def test_a_session_that_is_deleted_meanwhile_does_not_end_the_roll() -> None:
    fleet = RollingFleet()
    fleet.add("gone").error = SessionNotFound("Session gone is gone.")
    fleet.add("b")
    fleet.roll.begin()
    view = await fleet.over()
    assert fleet.sessions[1].asked, "the others are rolled all the same"
    assert view.replaced + len(view.failed) == 2
    assert view.current is None
    await fleet.roll.close()


async def test_only_one_roll_at_a_time() -> None:
    fleet = RollingFleet()
    fleet.add("a")
    fleet.roll.begin()
    with pytest.raises(Refused, match="under way") as caught:
        fleet.roll.begin()
    assert caught.value.code == "rolling"
    await fleet.over()
    fleet.sessions[0].worker = Runner("older still")
    assert fleet.roll.begin().total == 1, "and another one afterwards, counted anew"
    assert (await fleet.over()).replaced == 1


async def test_what_is_said_before_the_first_one_begins_names_nobody() -> None:
    fleet = RollingFleet()
    assert fleet.roll.view().words == "0 of 0 workers done."
    for number in range(2):
        words = fleet.roll.begin().words
        assert "None" not in words, number
        await fleet.over()
        fleet.add("a")


async def test_a_roll_over_nobody_is_over_at_once() -> None:
    fleet = RollingFleet()
    fleet.add("current", "new")
    assert fleet.roll.begin().total == 0
    assert (await fleet.over(within=1.0)).words == "0 of 0 workers done."


async def test_close_stops_in_the_middle_and_leaves_what_was_replaced() -> None:
    fleet = RollingFleet()
    for name in ("a", "b", "c"):
        fleet.add(name)
    fleet.roll.begin()
    await asyncio.sleep(15.0)
    await fleet.roll.close()
    await asyncio.sleep(600.0)
    assert [bool(session.asked) for session in fleet.sessions] == [True, True, False]
    assert fleet.roll.view().running is False
    await RollingFleet().roll.close()


@pytest.mark.parametrize("error", [StoreUnavailable("The disk is full."), RuntimeError("a bug")])
async def test_a_session_that_fails_does_not_end_the_roll(error: Exception) -> None:
    fleet = RollingFleet()
    fleet.add("a").error = error
    fleet.add("b")
    fleet.roll.begin()
    view = await fleet.over()
    assert (view.total, view.replaced, view.failed) == (2, 1, ("a",))


@pytest.mark.parametrize(
    ("ended", "says"),
    [
        (RollView(False, 5, 1, (), None, "1 of 5 workers done."), "broke off"),
        (RollView(False, 5, 4, ("a",), None, "5 of 5 workers done, 1 failed."), "Not replaced: a"),
    ],
)
def test_the_command_succeeds_only_if_all_were_replaced(
    ended: RollView, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Client:
        """A supervisor whose roll ends so."""

        def call(self, method: str, path: str) -> Any:
            return {"roll": msgspec.to_builtins(ended)}

    monkeypatch.setattr(worker_commands, "must_run", Client)
    with pytest.raises(typer.Exit) as left:
        worker_commands.roll(everybody=False, wait=True)
    assert left.value.exit_code == 1
    assert says in capsys.readouterr().err
