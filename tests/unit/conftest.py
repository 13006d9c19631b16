"""What every unit test is held to: no task is left over, and nothing it starts touches the caller's environment."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What is logged of a thousand staged faults helps nobody, and rendering their tracebacks takes most of the time."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def bare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No `WHATSAPP_*` variable is set, and the working directory is empty (it has no `.env`)."""
    for name in [name for name in os.environ if name.upper().startswith("WHATSAPP_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest_asyncio.fixture
async def no_tasks_left() -> AsyncIterator[None]:
    """When the test is over, so is every task that it began."""
    yield
    for _ in range(10):
        await asyncio.sleep(0)
    left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert left == []
