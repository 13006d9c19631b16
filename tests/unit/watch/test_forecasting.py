"""For which limit a new session is refused."""

from typing import Any

import pytest

from supervisor.host.needs.capacity import Figure, Row
from supervisor.watch.forecasting import BeyondCapacity, Forecaster, first_that_ended


def row(name: str, more: int | None, unit: str = "bytes") -> Row:
    return Row(
        name=name,
        unit=unit,
        per_session=Figure(value=1.0),
        maximum=100.0,
        used=80.0,
        kept=20.0,
        more_sessions=more,
        missing=0.0,
        remedy=f"More {name}.",
    )


class Full(Forecaster):
    """Forecasts what a test says."""

    def __init__(self, *rows: Row, refuses: bool = True) -> None:
        self._refuses = refuses
        self._rows = rows

    async def forecast(self, sessions: int | None = None) -> Any:
        return type("Forecast", (), {"rows": self._rows})


def test_the_first_limit_that_has_ended_refuses_but_never_the_load_of_the_cores() -> None:
    assert first_that_ended([row("memory", 3), row("ports", None)]) is None
    assert first_that_ended([row("CPU at rest", 0, "cores"), row("memory", 1)]) is None
    found = first_that_ended([row("CPU at rest", 0, "cores"), row("memory", 0), row("ports", 0)])
    assert found is not None
    assert found.name == "memory"


async def test_the_refusal_has_the_figure_and_what_to_do() -> None:
    with pytest.raises(BeyondCapacity) as refused:
        await Full(row("memory", 0)).must_fit()
    assert "memory has ended" in str(refused.value)
    assert refused.value.hint.startswith("More memory. `wasup capacity`")
    assert "WHATSAPP_BEYOND_CAPACITY=allow" in refused.value.hint


async def test_where_it_is_allowed_or_fits_nothing_is_refused() -> None:
    await Full(row("memory", 0), refuses=False).must_fit()
    await Full(row("memory", 1)).must_fit()
