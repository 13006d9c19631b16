"""What runs for ever goes on, whatever it raises; it is logged and told on edges; and nothing in
the program runs for ever without it.
"""

import ast
import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from sessions.forever import FAILING_AFTER, LAST_RETRY_SECONDS, Forever, TaskHealth, describe
from sessions.model import StoreUnavailable

pytestmark = [pytest.mark.looptime(noop_cycles=6), pytest.mark.usefixtures("no_tasks_left")]


class Look:
    """Fails while it is told to, and counts."""

    def __init__(self) -> None:
        self.turns: list[float] = []
        self.error: BaseException | None = None

    async def __call__(self) -> None:
        self.turns.append(asyncio.get_running_loop().time())
        if self.error is not None:
            raise self.error


@pytest.fixture
def logs() -> Iterator[list[structlog.typing.EventDict]]:
    """What is logged, whatever its level."""
    structlog.reset_defaults()
    with capture_logs() as seen:
        yield seen


def emfile() -> OSError:
    return OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def test_a_look_that_fails_is_taken_again_and_logged_on_edges_only(
    logs: list[structlog.typing.EventDict],
) -> None:
    look, told = Look(), list[TaskHealth]()
    forever = Forever(told.append)
    kept = forever.keep("looker", look, every_seconds=3.0)
    await asyncio.sleep(10)
    look.error = emfile()
    before = len(look.turns)
    await asyncio.sleep(3600)
    assert len(look.turns) - before > 3600 / (LAST_RETRY_SECONDS + 3) - 1, (
        "it goes on, at least once a minute"
    )
    (failing,) = forever.health()
    assert (failing.state, failing.error) == ("failing", "OSError: [Errno 24] Too many open files")
    look.error = None
    await asyncio.sleep(120)
    assert forever.health() == [TaskHealth("looker")]
    pace = look.turns[-1] - look.turns[-2]
    assert pace == pytest.approx(3.0), "as if nothing had been"
    assert [health.state for health in told] == ["failing", "ok"]
    assert [entry["action"] for entry in logs] == ["task_failed", "task_works"]
    await kept.close()


async def test_a_hiccup_is_logged_and_wakes_nobody() -> None:
    look, told = Look(), list[TaskHealth]()
    forever = Forever(told.append)
    look.error = emfile()
    kept = forever.keep("looker", look, every_seconds=0.1)
    await asyncio.sleep(1.5)
    assert len(look.turns) == FAILING_AFTER - 1
    look.error = None
    await asyncio.sleep(60)
    assert told == []
    assert len(look.turns) > FAILING_AFTER
    await kept.close()


async def test_a_look_that_hangs_is_called_off_and_has_failed() -> None:
    forever, hanging = Forever(), asyncio.Event()
    turns = 0

    async def look() -> None:
        nonlocal turns
        turns += 1
        await hanging.wait()

    kept = forever.keep("looker", look, every_seconds=1.0, within_seconds=10.0)
    await asyncio.sleep(15)
    assert turns == 2
    assert forever.health()[0].error == "it hangs, and was called off"
    await kept.close()


async def test_what_it_waits_for_may_be_cancelled_and_it_goes_on() -> None:
    """A future that somebody else cancels raises CancelledError here: that ends no task that was
    not asked to end.
    """
    forever, look = Forever(), Look()
    look.error = asyncio.CancelledError()
    kept = forever.keep("looker", look, every_seconds=1.0)
    await asyncio.sleep(30)
    assert len(look.turns) > 2
    assert not kept.done
    await kept.close()


async def test_one_that_has_ended_although_nobody_asked_it_to_is_told_and_stays_on_show() -> None:
    look, told = Look(), list[TaskHealth]()
    forever = Forever(told.append)
    kept = forever.keep("looker", look, every_seconds=1.0)
    await asyncio.sleep(0.1)
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "looker"]
    task.cancel()
    await kept.ended()
    await asyncio.sleep(0)
    assert [(health.name, health.state) for health in told] == [("looker", "ended")]
    assert "Restart the supervisor" in told[0].words
    assert [health.state for health in forever.health()] == ["ended"]


async def test_one_that_is_ended_is_no_trouble() -> None:
    told, done = list[TaskHealth](), False
    forever = Forever(told.append)
    stopped = forever.keep("stopped", Look(), every_seconds=1.0)
    finished = forever.keep("finished", Look(), every_seconds=1.0, until=lambda: done)
    await asyncio.sleep(5)
    done = True
    await finished.ended()
    await stopped.close()
    assert told == []
    assert forever.health() == []


async def test_whoever_is_told_and_fails_ends_nothing() -> None:
    look = Look()
    look.error = ValueError("secret")

    def fail(_: TaskHealth) -> None:
        raise RuntimeError

    forever = Forever(fail)
    kept = forever.keep("looker", look, every_seconds=1.0)
    await asyncio.sleep(600)
    assert forever.health()[0].state == "failing"
    assert len(look.turns) > FAILING_AFTER
    await kept.close()


def test_an_error_is_described_without_what_it_may_quote() -> None:
    assert describe(ValueError("the key is 5ecret")) == "ValueError"
    assert describe(emfile()) == "OSError: [Errno 24] Too many open files"
    assert describe(StoreUnavailable("The disk is full.")) == "StoreUnavailable: The disk is full."


# --- nothing runs for ever without it -------------------------------------------------------------

ROOT = Path(__file__).parents[3]
ENDED_BY: dict[tuple[str, str], str] = {
    ("sessions/forever.py", "begin"): "the one place",
    (
        "api/gatehouse/fences.py",
        "carry_through",
    ): "one call: its answer is awaited there, or its end is logged",
    (
        "api/live/broadcast.py",
        "begin",
    ): "one client that catches up: it ends with that or its client, and logs what it raises",
    (
        "api/live/admission/resource_monitor.py",
        "_fresh",
    ): "one look at the host: its end is looked at in _on_read",
    (
        "sessions/lifecycle/pending.py",
        "begin",
    ): "a step: its error is put into the inbox, and its session gives it up",
    (
        "sessions/lifecycle/attempt.py",
        "watch",
    ): "health checks: they end with the attempt, and catch what they raise",
    ("sessions/lifecycle/health.py", "check_until_failed"): "two checks: awaited there",
    ("sessions/workers/keys.py", "read"): "one read: it ends with its answer or its worker",
    (
        "sessions/workers/connection.py",
        "_on_process_end",
    ): "last words: bounded by LAST_WORDS_SECONDS",
    (
        "supervisor/delivery/deliverer.py",
        "run",
    ): "one attempt to deliver: it ends within TOTAL_SECONDS, and what it raises is logged",
    (
        "sessions/workers/returning.py",
        "_begin_termination",
    ): "the end of workers that nobody claims: logged when it fails",
    (
        "sessions/workers/table.py",
        "_on_end",
    ): "the removal of one row: it catches what it raises, and is bounded at the end",
    ("sessions/lifecycle/actor/open_socket.py", "note_pairing"): "one snapshot",
    ("supervisor/fleet/fleet.py", "_run"): "a session: its end is looked at there",
    (
        "supervisor/fleet/fleet.py",
        "_on_end",
    ): "a session that begins anew: bounded by the end of its worker",
    (
        "supervisor/gate/reachability.py",
        "_begin",
    ): "looks while a way is in doubt: their end is looked at there, and they begin anew",
    ("supervisor/gate/way_probe.py", "look"): "one look: it waits for it, and ends it with itself",
    ("supervisor/fleet/roll.py", "begin"): "one roll: its end is looked at there",
    (
        "supervisor/host/tuning/validation.py",
        "open_connections",
    ): "a test of the host's: ended there",
    ("supervisor/host/tuning/validation.py", "answer"): "an echo of that test's: ended with it",
    ("supervisor/host/tuning/validation.py", "_until_one_fails"): "awaited there",
    (
        "supervisor/upkeep/backups/hand.py",
        "do",
    ): "one call to a disk: its answer is awaited there, or the next one says that it hangs",
    ("supervisor/upkeep/scheduler.py", "_start"): "a run says itself what came of it",
}
"""Every task of the program that is not kept for ever: where it is made, and why it needs no
keeping.
"""


def tasks_made() -> set[tuple[str, str]]:
    """File and function of everything that makes a task."""
    made = set()
    for room in ("sessions", "supervisor", "api"):
        for file in sorted((ROOT / room).rglob("*.py")):
            if "node_modules" in file.parts:
                continue
            for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                for call in ast.walk(function):
                    if isinstance(call, ast.Call) and _name(call) in {
                        "create_task",
                        "ensure_future",
                    }:
                        made.add((str(file.relative_to(ROOT)), function.name))
    return made


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def test_every_task_of_the_program_is_kept_for_ever_or_has_an_end_that_somebody_looks_at() -> None:
    """A new task belongs to `Forever.keep`; if it is one that ends, say here who looks at its
    end.
    """
    assert tasks_made() == set(ENDED_BY)
