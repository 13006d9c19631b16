"""What every unit test is held to: no task is left over, and nothing it starts touches the caller's
environment.
"""

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from supervisor.places import installation
from tests.fakes import fake_time


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What is logged of a thousand staged faults helps nobody, and rendering their tracebacks takes
    most of the time.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def bare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No `WHATSAPP_*` variable is set, and the installation's folder, where we stand, is empty (it
    has no `.env`).
    """
    for name in [name for name in os.environ if name.upper().startswith("WHATSAPP_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(installation, "INSTALLED", tmp_path)
    return tmp_path


@pytest.fixture
def wall_clock_in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored in wall-clock time ages with the loop's clock."""
    clock = fake_time()
    for name, module in list(sys.modules.items()):
        if (
            name.startswith("sessions.")
            and not name.startswith("sessions.store")
            and vars(module).get("time") is time
        ):
            monkeypatch.setattr(module, "time", clock)


@pytest_asyncio.fixture
async def no_tasks_left() -> AsyncIterator[None]:
    """When the test is over, so is every task that it began."""
    yield
    for _ in range(10):
        await asyncio.sleep(0)
    left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert left == []
