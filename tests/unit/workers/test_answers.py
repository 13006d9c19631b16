"""How long a worker may take to answer: only the time counts that the supervisor is awake itself."""

import asyncio
import time

import pytest

from sessions.workers import connection
from sessions.workers.connection import awake_within
from tests.unit.workers.test_connection import HELLO, idle

pytestmark = pytest.mark.usefixtures("no_tasks_left")


@pytest.fixture(autouse=True)
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "AWAKE_STEP_SECONDS", 0.2)


async def read_at_last(answer: asyncio.Future[str]) -> None:
    """As a line that lies in the socket's buffer: it takes the loop some turns to come to it."""
    for _ in range(5):
        await asyncio.sleep(0)
    answer.set_result("well")


@pytest.mark.parametrize("seconds", [0.1, 0.6])
async def test_an_answer_that_came_while_we_were_frozen_counts(seconds: float) -> None:
    answer = asyncio.get_running_loop().create_future()
    never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    asked = asyncio.create_task(awake_within(seconds, answer, never))
    await asyncio.sleep(0)
    time.sleep(1.0)  # noqa: ASYNC251 - nothing of this process runs, and its clock goes on
    read = asyncio.create_task(read_at_last(answer))
    await asked
    assert answer.result() == "well"
    await read


async def test_who_does_not_answer_is_not_waited_for_longer_than_it_may_take() -> None:
    answer = asyncio.get_running_loop().create_future()
    with pytest.raises(TimeoutError):
        await awake_within(0.3, answer)


async def test_an_answer_that_is_there_is_given_at_once() -> None:
    answer = asyncio.get_running_loop().create_future()
    answer.set_result("well")
    await awake_within(0.0, answer)


@pytest.mark.parametrize("seconds", [0.1, 0.6])
async def test_a_worker_whose_hello_came_while_we_were_frozen_is_not_taken_for_silent(
    seconds: float,
) -> None:
    worker, _ = idle()
    awaited = asyncio.create_task(worker.wait_connected(seconds))
    await asyncio.sleep(0)
    time.sleep(1.0)  # noqa: ASYNC251
    for _ in range(5):
        await asyncio.sleep(0)
    worker.connected.set_result(HELLO)
    assert await awaited is HELLO
