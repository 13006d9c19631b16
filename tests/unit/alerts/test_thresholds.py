"""Which number counts: an explicit setting, else the alerts file, else the profile, else the
default.
"""

import pytest

from supervisor.alerts.channels.alerts_file import AlertsFile
from supervisor.alerts.judging.thresholds import PROFILES, Thresholds, thresholds
from supervisor.settings import BadSettings, load


def test_the_one_rule() -> None:
    assert thresholds({}) == Thresholds()
    assert thresholds({}, profile="production").cpu == 0.7
    assert thresholds({}, {"cpu": 0.6}, "production").cpu == 0.6
    assert thresholds({"cpu": 0.5}, {"cpu": 0.6}, "production").cpu == 0.5


def test_production_has_the_percentages_of_the_guide() -> None:
    found = thresholds({}, profile="production")
    assert (found.cpu, found.cpu_critical) == (0.7, 0.85)
    assert (found.memory, found.memory_critical) == (0.8, 0.9)
    assert (found.disk, found.disk_critical) == (0.85, 0.95)
    assert (found.response_time_ms, found.response_time_ms_critical) == (2000, 5000)
    assert (found.error_rate, found.error_rate_critical) == (0.05, 0.1)


@pytest.mark.parametrize("profile", list(PROFILES))
def test_every_profile_says_the_same_things_and_is_in_order(profile: str) -> None:
    said = PROFILES[profile]  # type: ignore[index]
    assert list(said) == list(PROFILES["production"])
    for name, critical in said.items():
        if name.endswith("_critical") and critical is not None:
            assert critical > said[name.removesuffix("_critical")]


def test_a_warning_above_the_profiles_critical_leaves_nothing_critical() -> None:
    found = thresholds({"cpu": 0.9}, profile="production")
    assert (found.cpu, found.cpu_critical) == (0.9, None)
    assert thresholds({"disk": 0.97}).disk_critical == 0.97


def test_settings_that_are_said_win_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATSAPP_ALERT_PROFILE", "production")
    monkeypatch.setenv("WHATSAPP_MEMORY_THRESHOLD", "0.5")
    monkeypatch.setenv("WHATSAPP_DOWN_ALERT_AFTER", "60000")
    found = load().thresholds(AlertsFile(thresholds={"memory": 0.6, "error_rate": 0.2}))
    assert (found.cpu, found.memory, found.error_rate) == (0.7, 0.5, 0.2)
    assert load().alerting_config().limits.down_seconds == 60.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALERT_PROFILE", "prod"),
        ("CPU_CRITICAL_THRESHOLD", "85"),
        ("ALERT_QUIET_HOURS", "22-7"),
        ("MAINTENANCE_WINDOWS", "sunday 02:00-04:00"),
        ("LANGUAGE", "pt"),
        ("ALERT_REPEAT_HOURS", "0"),
        ("AVAILABILITY_TARGET", "0.999"),
        ("FLAPPING_ALERT_CLOSES", "1"),
    ],
)
def test_what_cannot_be_used_refuses_the_start(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"WHATSAPP_{name}", value)
    with pytest.raises(BadSettings, match=f"WHATSAPP_{name} is '?{value}"):
        load()


def test_a_critical_limit_below_its_warning_refuses_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHATSAPP_CPU_THRESHOLD", "0.9")
    monkeypatch.setenv("WHATSAPP_CPU_CRITICAL_THRESHOLD", "0.85")
    with pytest.raises(BadSettings, match=r"WHATSAPP_CPU_CRITICAL_THRESHOLD is 0\.85"):
        load()
