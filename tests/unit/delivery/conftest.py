"""A webhook at work, on a clock that is moved by hand."""

import pytest

from supervisor.delivery import deliverer, late, views
from tests.delivery_tools import World
from tests.fakes import fake_time


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A webhook and all that surrounds it; the wall clock goes with the loop's."""
    for module in (deliverer, late, views):
        monkeypatch.setattr(module, "time", fake_time())
    return World()
