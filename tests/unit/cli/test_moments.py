"""When a key ends, and since when the audit log is shown, as operators write it."""

import time

import pytest

from supervisor.cli.common.moments import seconds_ago, seconds_away


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("12h", 43_200), ("30d", 2_592_000)])
def test_a_span_is_from_now_in_either_direction(text: str, seconds: float) -> None:
    assert seconds_away(text) == seconds
    assert seconds_ago(text) == seconds


def test_a_date_is_its_first_moment_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)  # 2027-01-15T08:00Z
    assert seconds_away("2027-01-16") == 16 * 3600
    assert seconds_away("2027-01-15T09:00:00+01:00") == 0
    assert seconds_ago("2027-01-15") == 8 * 3600
    assert seconds_away("2027-01-15") == -8 * 3600


@pytest.mark.parametrize(
    "text", ["", "0d", "-1d", "1w", "tomorrow", "2027-13-01", "1.5h", "9999999d"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the command says what is accepted
        seconds_away(text)
