"""A session's deadlines: each comes once, none is kept that has come, on the loop that the program
runs on.
"""

import asyncio
import time

import uvloop

from sessions.lifecycle.inbox import Event, Overdue
from sessions.lifecycle.pending import Pending


def test_deadlines_come_and_are_let_go_on_the_programs_own_loop() -> None:
    """Its timers are others than asyncio's: one of a delay of 0 does not say when it is due."""

    async def session() -> None:
        inbox: asyncio.Queue[Event] = asyncio.Queue()
        agenda = Pending("shop", inbox)
        for number in range(100):
            agenda.later(0.0, Overdue(number))
            assert await inbox.get() == Overdue(number)
        assert len(vars(agenda)["_deadlines"]) <= 2
        agenda.later(0.0, Overdue(100))
        agenda.later(3600.0, Overdue(101))
        agenda.clear_deadlines()
        agenda.later(0.01, Overdue(102))
        assert await inbox.get() == Overdue(102)
        agenda.clear_deadlines()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(session())


def test_what_lay_unread_while_we_were_frozen_is_read_before_its_deadline_comes() -> None:
    """A healthy worker's report must not lose against a deadline that ran out in our sleep."""

    async def session() -> None:
        inbox: asyncio.Queue[Event] = asyncio.Queue()
        pending = Pending("shop", inbox)
        pending.later(0.01, Overdue(1))
        time.sleep(2.0)  # noqa: ASYNC251 - nothing of this process runs, and its clock goes on
        for _ in range(5):
            await asyncio.sleep(0)
        assert inbox.empty()
        assert pending.owes
        assert await inbox.get() == Overdue(1), "it comes, if nothing else has"
        pending.later(0.01, Overdue(2))
        time.sleep(2.0)  # noqa: ASYNC251
        await asyncio.sleep(0.01)
        pending.clear_deadlines()
        pending.later(0.02, Overdue(3))
        assert await inbox.get() == Overdue(3), "what came in time has ended the other"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(session())
