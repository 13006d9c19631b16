"""What is judged beside figures: sessions that are away or come and go, the service level, disks
that fill, the clock, errors of our own, outages.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sessions.forever import TaskHealth
from sessions.model import EventData, SessionId, SessionState, StoreUnavailable
from sessions.records.changes import Changes
from sessions.records.incidents import Move, Presence
from supervisor.alerts.alerts import Alerts
from supervisor.alerts.judging import clock, exceptions, filling, own_parts, service_level
from supervisor.alerts.judging.clock import ClockWatch
from supervisor.alerts.judging.exceptions import ExceptionWatch
from supervisor.alerts.judging.figures import Debouncer, error_rate
from supervisor.alerts.judging.filling import FillingWatch, seconds_to_full
from supervisor.alerts.judging.outages import OutageWatch
from supervisor.alerts.judging.service_level import ServiceLevelWatch
from supervisor.alerts.judging.sessions import SessionLimits, SessionWatch
from supervisor.alerts.muting import NO_OUTAGES, Outages
from supervisor.fleet.bus import Bus
from supervisor.fleet.fleet import Fleet
from supervisor.gate.view import OutageBegan, OutageEnded
from supervisor.history.points import Point
from supervisor.host.reading.alarms import Judged
from supervisor.host.reading.disks import DiskReading

SHOP = SessionId("shop")
S = SessionState


@dataclass
class Member:
    """As much of a session as is looked at."""

    id: SessionId
    state: SessionState = S.OPEN
    may_show_qr: bool = False
    counted: tuple[int, int] = (0, 0)

    def reconnection(self) -> Any:
        return SimpleNamespace(
            close_reason="proxy", close_message="refused", human_action="Mend the proxy."
        )

    def outcomes(self) -> tuple[int, int]:
        return self.counted


@dataclass
class World:
    """A fleet, a clock, and the alerts that are on."""

    now: float = 1_764_590_400.0
    members: list[Member] = field(default_factory=list)
    holds: list[Any] = field(default_factory=list)
    outages: Outages = NO_OUTAGES
    paused: set[SessionId] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.edges: list[tuple[str, str, str]] = []
        self.alerts = Alerts(self._publish, self.clock)
        fleet = SimpleNamespace(
            sessions=lambda: self.members,
            gate=lambda: SimpleNamespace(holds=self.holds),
            pause_of=lambda session: object() if session in self.paused else None,
        )
        self.fleet = cast("Fleet", fleet)

    def clock(self) -> float:
        return self.now

    def _publish(self, _: SessionId | None, told: EventData) -> None:
        seen = cast("Any", told)
        self.edges.append((seen.name, seen.state, seen.severity))

    def passes(self, watch: Any, seconds: float, step: float = 10.0) -> None:
        for _ in range(round(seconds / step)):
            self.now += step
            watch.look()


def session_watch(world: World, **limits: Any) -> SessionWatch:
    def explained() -> Outages:
        return world.outages

    return SessionWatch(
        world.fleet, world.alerts, explained, SessionLimits(**limits), now=world.clock
    )


def test_a_session_that_is_away_for_long_is_an_alert_until_it_is_open() -> None:
    member = Member(SHOP, S.WAITING)
    world = World(members=[member])
    watch = session_watch(world)
    world.passes(watch, 300)
    assert world.alerts.active() == []
    world.passes(watch, 20)
    (alert,) = world.alerts.active()
    assert (alert.name, alert.severity, alert.limit) == ("down", "critical", 300.0)
    assert "(proxy: refused). Mend the proxy." in alert.message
    member.state = S.CONNECTING
    world.passes(watch, 60)
    assert [edge[1] for edge in world.edges] == ["began"]
    member.state = S.OPEN
    world.passes(watch, 10)
    assert world.edges[1:] == [("down", "ended", "critical")]


@pytest.mark.parametrize("state", [S.STOPPED, S.PARKED, S.QUARANTINED, S.QR, S.OPEN])
def test_who_is_not_on_its_way_is_not_away(state: SessionState) -> None:
    world = World(members=[Member(SHOP, state)])
    world.passes(session_watch(world), 3600)
    assert world.edges == []


def test_a_session_that_was_never_paired_is_not_away() -> None:
    world = World(members=[Member(SHOP, S.WAITING, may_show_qr=True)])
    world.passes(session_watch(world), 3600)
    assert world.edges == []


def test_an_outages_time_does_not_count() -> None:
    world = World(members=[Member(SHOP, S.HELD)])
    watch = session_watch(world)
    world.passes(watch, 200)
    world.outages = Outages(everything=True)
    world.passes(watch, 3600)
    world.outages = NO_OUTAGES
    world.passes(watch, 290)
    assert world.edges == []
    world.passes(watch, 20)
    assert world.edges == [("down", "began", "critical")]


def close(world: World, watch: SessionWatch, times: int, every: float = 60.0) -> None:
    def moved(presence: Presence) -> None:
        watch.on_changes(SHOP, Changes(session=SHOP, move=Move(presence, world.now)))

    for _ in range(times):
        moved("open")
        moved("down")
        world.passes(watch, every)
        moved("open")


def test_a_session_that_comes_and_goes_is_one_alert_until_it_is_calm() -> None:
    world = World(members=[Member(SHOP)])
    watch = session_watch(world)
    close(world, watch, 5)
    assert world.edges == []
    close(world, watch, 10)
    assert world.edges == [("flapping", "began", "warning")]
    world.passes(watch, 1700)
    assert len(world.edges) == 1
    world.passes(watch, 2000)
    assert world.edges[1:] == [("flapping", "ended", "warning")]


def test_closes_of_a_day_and_those_of_an_outage_are_no_flapping() -> None:
    world = World(members=[Member(SHOP)])
    watch = session_watch(world)
    close(world, watch, 24, every=900)
    world.outages = Outages(sessions=frozenset({SHOP}))
    close(world, watch, 24)
    assert world.edges == []


def fleet_of(count: int, down: int) -> list[Member]:
    return [Member(SessionId(f"s{n}"), S.WAITING if n < down else S.OPEN) for n in range(count)]


@pytest.mark.parametrize(
    ("sessions", "down", "seconds", "severity"),
    [
        (100, 1, 3600, None),  # a pace of 10 over an hour: the six hours' rule needs longer
        (100, 1, 4 * 3600, "critical"),
        (100, 20, 60, None),  # 3.3 of an hour
        (100, 20, 300, "critical"),
        (100, 0, 3600, None),
        (9, 9, 3600, None),  # each of them is its own alert
    ],
)
def test_the_allowance_that_is_used_up_too_fast(
    sessions: int, down: int, seconds: float, severity: str | None
) -> None:
    world = World(members=fleet_of(sessions, down))
    watch = ServiceLevelWatch(world.fleet, world.alerts, 0.999, world.clock)
    world.passes(watch, seconds + 10)
    assert [alert.severity for alert in world.alerts.active()] == ([severity] if severity else [])


def test_a_slow_loss_is_a_warning_of_days() -> None:
    world = World(members=fleet_of(500, 1))  # a pace of 2
    watch = ServiceLevelWatch(world.fleet, world.alerts, 0.999, world.clock)
    world.passes(watch, 30 * 3600)
    assert world.edges == []
    world.passes(watch, 10 * 3600)
    assert world.edges == [("service_level", "began", "warning")]


def test_the_service_level_is_safe_again_when_the_short_window_is() -> None:
    world = World(members=fleet_of(100, 20))
    watch = ServiceLevelWatch(world.fleet, world.alerts, 0.999, world.clock)
    world.passes(watch, 600)
    (alert,) = world.alerts.active()
    assert "99.900%" in alert.message
    world.members = fleet_of(100, 0)
    world.passes(watch, 150)
    assert world.alerts.active()
    world.passes(watch, 2 * 3600)
    assert world.alerts.active() == []


async def test_time_down_before_a_restart_counts() -> None:
    world = World(members=fleet_of(100, 20))
    began = world.now - 600

    class Past:
        async def read(self, series: str, *_: object) -> list[Point]:
            assert series == "fleet.away"
            return [Point(began + 60.0 * n, 6, 120.0, 20.0, 20.0) for n in range(10)]

    watch = ServiceLevelWatch(world.fleet, world.alerts, 0.999, world.clock)
    await watch.recall(cast("Any", Past()))
    world.passes(watch, 30)
    assert [alert.name for alert in world.alerts.active()] == ["service_level"]


async def test_a_history_that_cannot_be_read_costs_no_start() -> None:
    world = World(members=fleet_of(100, 0))

    class Past:
        async def read(self, *_: object) -> list[Point]:
            raise StoreUnavailable("The store could not read.")

    await ServiceLevelWatch(world.fleet, world.alerts, 0.999, world.clock).recall(
        cast("Any", Past())
    )


def test_a_clock_that_jumps_costs_no_allowance() -> None:
    world = World(members=fleet_of(100, 1))
    watch = ServiceLevelWatch(world.fleet, world.alerts, 0.999, world.clock)
    watch.look()
    world.now += 40 * 3600
    watch.look()
    world.now -= 80 * 3600
    watch.look()
    assert world.edges == []


def test_when_a_disk_is_full() -> None:
    steady = [(300.0 * n, 0.6 + 0.001 * n) for n in range(10)]
    left = seconds_to_full(steady)
    assert left == pytest.approx(0.391 / 0.001 * 300)
    assert seconds_to_full(steady[:5]) is None
    assert seconds_to_full([(300.0 * n, 0.6) for n in range(10)]) is None
    assert seconds_to_full([(300.0 * n, 0.6 - 0.001 * n) for n in range(10)]) is None


async def test_a_disk_that_fills_warns_before_it_is_full() -> None:
    world, used = World(), 0.4

    async def disks() -> Sequence[DiskReading]:
        return [DiskReading(directories=("/data",), used_fraction=used)]

    watch = FillingWatch(disks, world.alerts, world.clock)
    for _ in range(110):
        used += 0.005
        world.now += filling.LOOK_SECONDS
        await watch.look()
    assert world.edges == [
        ("disk_filling", "began", "warning"),
        ("disk_filling", "began", "critical"),
    ]
    (alert,) = world.alerts.active()
    assert (alert.about, alert.name) == ("/data", "disk_filling")
    used = 0.3
    world.now += filling.LOOK_SECONDS
    await watch.look()
    assert world.edges[-1] == ("disk_filling", "ended", "critical")


def test_a_clock_that_jumps_is_an_alert_and_one_that_drifts_is_none() -> None:
    world, steady = World(), [0.0]
    watch = ClockWatch(world.alerts, world.clock, lambda: steady[0])
    for _ in range(100):
        world.now, steady[0] = world.now + 10.1, steady[0] + 10
        watch.look()
    assert world.edges == []
    world.now -= 3600
    watch.look()
    (alert,) = world.alerts.active()
    assert alert.message.startswith("The host's clock was put back by 1 h")
    steady[0], world.now = steady[0] + clock.CALM_SECONDS + 1, world.now + clock.CALM_SECONDS + 1
    watch.look()
    assert world.edges[1:] == [("clock", "ended", "warning")]


def test_several_errors_of_our_own_are_an_alert() -> None:
    world, seen = World(), [7]
    watch = ExceptionWatch(lambda: seen[0], world.alerts, world.clock)
    world.passes(watch, 60)
    seen[0] += 2
    world.passes(watch, 60)
    assert world.edges == []
    seen[0] += 1
    world.passes(watch, 60)
    assert world.edges == [("exceptions", "began", "warning")]
    world.passes(watch, exceptions.CALM_SECONDS)
    assert world.edges[1:] == [("exceptions", "ended", "warning")]


def outage(kind: type[Any], sessions: int, scope: str = "fleet", value: str = "all") -> Any:
    return kind(
        scope=scope,
        value=value,
        reason="unavailable",
        sessions=sessions,
        held_for_seconds=1.0,
        words="Held: everybody.",
    )


def test_an_outage_is_one_alert_with_its_greatest_number() -> None:
    world = World(members=fleet_of(300, 214))
    watch = OutageWatch(world.fleet, world.alerts)
    watch.on_began(None, outage(OutageBegan, 43))
    assert watch.explained().everything
    world.holds = [SimpleNamespace(whom="fleet", words="214 are held.", sessions_held=214)]
    watch.look()
    world.holds = [SimpleNamespace(whom="fleet", words="10 are held.", sessions_held=10)]
    watch.look()
    (alert,) = world.alerts.active()
    assert (alert.value, alert.severity, alert.about) == (214.0, "critical", "fleet")
    watch.on_ended(None, outage(OutageEnded, 10))
    assert watch.explained() == NO_OUTAGES
    assert world.edges == [("outage", "began", "critical"), ("outage", "ended", "critical")]


def test_an_outage_that_the_gate_does_not_know_any_more_is_over() -> None:
    world = World()
    watch = OutageWatch(world.fleet, world.alerts)
    watch.on_began(None, outage(OutageBegan, 43))
    watch.look()
    assert len(world.edges) == 1
    watch.look()
    assert world.edges[1:] == [("outage", "ended", "critical")]
    assert watch.explained() == NO_OUTAGES


def test_a_proxys_outage_explains_whom_it_holds() -> None:
    queued = Member(SessionId("queued"), S.HELD)  # for its login, as everybody's
    members = [Member(SHOP, S.HELD), Member(SessionId("other"), S.WAITING), queued]
    world = World(members=members, paused={SHOP})
    watch = OutageWatch(world.fleet, world.alerts)
    watch.on_began(None, outage(OutageBegan, 1, "egress", "http://p:1"))
    assert watch.explained() == Outages(sessions=frozenset({SHOP}))
    (alert,) = world.alerts.active()
    assert (alert.severity, alert.about) == ("warning", "egress http://p:1")
    members[0].state = S.CONNECTING
    world.paused.clear()
    watch.look()
    assert SHOP in watch.explained().sessions, "it was held, and logs in because of that"


@pytest.mark.parametrize(
    ("counted", "rate"),
    [([(1, 1)], None), ([(5, 19)], None), ([(1, 10), (1, 10)], 0.1), ([], None)],
)
def test_an_error_rate_needs_operations(counted: list[tuple[int, int]], rate: float | None) -> None:
    members = [Member(SHOP, counted=one) for one in counted]
    assert error_rate(cast("Any", members)) == rate


def judged(value: float, critical: bool = False) -> Judged:
    severity = "critical" if critical else "warning"
    return Judged(value=value, limit=0.7, words="", limit_words="", severity=cast("Any", severity))


def test_a_figure_at_its_critical_limit_does_not_become_critical_again_and_again() -> None:
    debouncer, told = Debouncer(), list[str]()
    for value in (0.8, 0.8, 0.9, 0.8, 0.9, 0.8, 0.8, 0.8, 0.8):
        on, _ = debouncer.look({(None, "memory"): judged(value, value > 0.85)})
        told += [one.severity for one in on.values()]
    assert told == ["warning"] * 2 + ["critical"] * 5 + ["warning"] * 2


def test_an_alarm_that_is_not_measured_any_more_is_over_after_a_while() -> None:
    debouncer = Debouncer()
    debouncer.look({(SHOP, "memory"): judged(0.9)})
    assert [debouncer.look({})[1] for _ in range(3)] == [[], [], [(SHOP, "memory")]]


def test_service_level_rules_are_the_workbooks() -> None:
    assert [(one.pace, one.long_seconds, one.short_seconds) for one in service_level.BURNS] == [
        (14.4, 3600, 300),
        (6.0, 6 * 3600, 1800),
        (1.0, 72 * 3600, 6 * 3600),
    ]


def test_each_task_in_trouble_is_an_alert_until_it_works_again() -> None:
    world, bus = World(), Bus()
    own_parts.subscribe(bus, world.alerts)
    failing = TaskHealth("limit watch", "failing", failures=3, error="OSError")
    ended = TaskHealth("sampler", "ended", error="RuntimeError")
    for health in (failing, ended):
        bus.publish(None, health)
    shown = {one.about: (one.name, one.severity, one.message) for one in world.alerts.active()}
    assert shown == {
        "limit watch": ("task", "critical", failing.words),
        "sampler": ("task", "critical", ended.words),
    }
    bus.publish(None, TaskHealth("limit watch"))
    assert [one.about for one in world.alerts.active()] == ["sampler"]
    assert world.edges[-1] == ("task", "ended", "critical")
