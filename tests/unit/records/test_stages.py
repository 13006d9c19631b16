"""What each stage of a login took; what cannot be told is left out, never guessed."""

from sessions.records.stages import StageClock, StageSummary, StageTimes, summaries


def test_each_stage_is_timed_from_the_end_of_the_one_before() -> None:
    clock = StageClock()
    clock.begin(10.0)
    clock.passed("spawn", 10.5)
    clock.passed("gate", 11.5)
    clock.passed("upgrade", 11.7)
    clock.passed("handshake", 11.75)
    assert clock.last is None, "it has not come through yet"
    clock.opened(12.0)
    assert clock.last == StageTimes(500, 1000, 200, 50, 250)


def test_a_session_that_has_a_worker_already_has_no_spawn_and_a_wait_before_is_no_stage() -> None:
    clock = StageClock()
    clock.begin(10.0)
    clock.passed("spawn", 10.5)
    clock.begin(70.0)  # it failed, and a minute later comes the next
    clock.passed("gate", 70.0)
    clock.passed("upgrade", 70.1)
    clock.passed("handshake", 70.2)
    clock.opened(70.4)
    assert clock.last == StageTimes(None, 0, 100, 100, 200)


def test_an_old_worker_tells_of_no_upgrade_so_what_follows_is_not_told_either() -> None:
    clock = StageClock()
    clock.begin(0.0)
    clock.passed("gate", 1.0)
    clock.passed("handshake", 3.0)
    clock.opened(4.0)
    assert clock.last == StageTimes(gate_ms=1000)


def test_how_long_somebody_takes_to_scan_is_no_login_of_whatsapps() -> None:
    clock = StageClock()
    clock.begin(0.0)
    clock.passed("gate", 0.0)
    clock.passed("upgrade", 0.1)
    clock.passed("handshake", 0.2)
    clock.waits_for_somebody()
    clock.opened(60.0)
    assert clock.last == StageTimes(None, 0, 100, 100, None)


def test_what_was_adopted_was_timed_by_nobody() -> None:
    clock = StageClock()
    clock.passed("handshake", 5.0)
    clock.opened(6.0)
    assert clock.last is None


def test_the_fleet_s_stages_are_medians_of_those_that_have_them() -> None:
    some = [StageTimes(gate_ms=0), StageTimes(gate_ms=10, login_ms=400), StageTimes(gate_ms=2)]
    assert summaries(some) == {
        "gate": StageSummary(3, 2, 10),
        "login": StageSummary(1, 400, 400),
    }
    assert summaries([]) == {}
