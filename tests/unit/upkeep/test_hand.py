"""The backups' directory is touched by one thread alone; one that hangs keeps nobody else."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from sessions.store import Store, sqlite_url
from supervisor.alerts.alerts import Alerts
from supervisor.upkeep.backups import backups, process
from supervisor.upkeep.backups.backups import BackupConfig, Backups
from supervisor.upkeep.backups.hand import DirectorySilent, Hand
from supervisor.upkeep.backups.keeping import Keep
from supervisor.upkeep.backups.shelf import Shelf
from supervisor.upkeep.jobs import JobFailed
from supervisor.upkeep.schedule import Schedule


@pytest.fixture
def back() -> Iterator[threading.Event]:
    """When the disk answers again."""
    event = threading.Event()
    yield event
    event.set()


def backups_at(directory: Path, store: Store) -> Backups:
    zone = ZoneInfo("UTC")
    config = BackupConfig(
        directory=directory,
        schedule=Schedule("0 * * * *", zone),
        keep=Keep(2, 0, 0),
        most_used=1.0,
    )
    return Backups(config, store, Alerts(lambda session, event: None))


async def test_a_directory_that_hangs_is_told_and_takes_no_thread_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back: threading.Event
) -> None:
    looks = list[threading.Thread]()

    def hangs(_shelf: Shelf) -> list[object]:
        looks.append(threading.current_thread())
        back.wait()
        return []

    monkeypatch.setattr(Shelf, "backups", hangs)
    monkeypatch.setattr(backups, "LOOK_SECONDS", 0.1)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    store = await Store.open(sqlite_url(tmp_path / "wasup.db"))
    asked = backups_at(tmp_path / "lost", store)
    async with asyncio.timeout(60):
        for _ in range(3):
            problem = (await asked.view()).problem
            assert problem is not None
            assert problem.startswith("has not answered for ")
        assert await asyncio.to_thread(lambda: 7) == 7
        assert len(looks) == 1, "no second look at what hangs"
        assert looks[0].daemon, "it does not keep the program from ending"
        back.set()
        while (await asked.view()).problem is not None:  # noqa: ASYNC110  # it may not be awaited
            await asyncio.sleep(0.01)
        await store.close()


async def test_a_job_ends_although_what_it_cleans_up_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back: threading.Event
) -> None:
    async def refused(*_arguments: str) -> process.Ended:
        return process.Ended(1, b"", "the disk is full")

    monkeypatch.setattr(process, "wasup", refused)
    monkeypatch.setattr(Shelf, "begin", lambda shelf: shelf.directory)
    monkeypatch.setattr(Shelf, "end", lambda _shelf: back.wait())
    monkeypatch.setattr(Hand.do, "__defaults__", (2.0,))
    store = await Store.open(sqlite_url(tmp_path / "wasup.db"))
    async with asyncio.timeout(60):
        with pytest.raises(JobFailed, match="No backup was made"):
            await backups_at(tmp_path / "lost", store).make()
        await store.close()


async def test_one_thing_after_the_other_whoever_is_called_off(
    tmp_path: Path, back: threading.Event
) -> None:
    hand, began, order = Hand(tmp_path), threading.Event(), list[str]()

    def first() -> None:
        began.set()
        back.wait()
        order.append("first")

    called_off = asyncio.create_task(hand.do(first))
    async with asyncio.timeout(60):
        while not began.is_set():  # noqa: ASYNC110  # a thread sets it
            await asyncio.sleep(0.01)
        called_off.cancel()
        second = asyncio.create_task(hand.do(lambda: order.append("second")))
        await asyncio.sleep(0)
        with pytest.raises(DirectorySilent) as failure:
            await hand.do(time.monotonic, 0.0)
        assert str(tmp_path) in str(failure.value)
        assert order == []
        back.set()
        await second
    assert order == ["first", "second"]
    assert hand.silent_seconds == 0.0


async def test_what_goes_wrong_there_is_told() -> None:
    with pytest.raises(FileNotFoundError):
        await Hand(Path("/nowhere")).do(Path("/nowhere/at/all").stat)


async def test_a_command_that_is_not_ours_inherits_no_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHATSAPP_STORE_KEY", "6b" * 32)
    ended = await process.gentle("env")
    names = {line.partition(b"=")[0].decode() for line in ended.output.splitlines()}
    assert names <= {*process.PASSED_ON, "NO_COLOR"}
    assert "PATH" in names


async def test_a_command_that_no_signal_ends_is_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(_process: object) -> int:
        await asyncio.get_running_loop().create_future()
        return 0

    monkeypatch.setattr(asyncio.subprocess.Process, "wait", never)
    monkeypatch.setattr(process, "KILLED_SECONDS", 0.05)
    called_off = asyncio.create_task(process.gentle("sleep", "600"))
    await asyncio.sleep(0.2)
    called_off.cancel()
    ended, _ = await asyncio.wait([called_off], timeout=30)
    assert ended, "it waits for what does not end"
    assert called_off.cancelled()
