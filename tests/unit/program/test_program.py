"""What the program puts together: nothing of it holds up the loop."""

import asyncio
import threading
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from supervisor import program
from supervisor.process.log_files import LogFile
from supervisor.settings import Settings


async def test_the_loop_goes_on_while_the_log_of_the_live_feed_is_closed(
    tmp_path: Path, bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close, goes_on, went_on = LogFile.close, threading.Event(), list[bool]()

    def slowly(file: LogFile) -> None:
        went_on.append(goes_on.wait(10))
        close(file)

    monkeypatch.setattr(LogFile, "close", slowly)
    async with AsyncExitStack() as stack:
        assert program._websocket_log(Settings(), tmp_path, stack) is not None
        asyncio.get_running_loop().call_later(0.01, goes_on.set)
    assert went_on == [True]
