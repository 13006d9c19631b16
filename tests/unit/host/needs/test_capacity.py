"""The forecast: what ends first, how many more fit, what is missing, and how long all take to come
back. And what its figures rest on.
"""

import dataclasses
import errno
import itertools
import math
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.handlers.machine.capacity import shown
from sessions.model import SessionId, SessionState
from sessions.records.changes import Changes
from sessions.views.events import SessionDeleted, SessionMoved
from sessions.views.session_view import BreakerSnapshot
from supervisor.cli.watch_commands.capacity import bar
from supervisor.host.needs.capacity import (
    ASSUMED_LOGIN,
    ASSUMED_START,
    ASSUMED_WORKER_CPU,
    Capacity,
    Figure,
    HostLimits,
    Measured,
    TaskLimit,
    amount,
    duration,
    forecast,
)
from supervisor.host.needs.capacity_readings import (
    MORE_MEMORY,
    KernelUse,
    OwnUse,
    host_limits,
    read_kernel_use,
)
from supervisor.host.needs.facts import Fact, Facts
from supervisor.host.needs.process_limits import Manager, StartedBy
from supervisor.host.numbers import number
from supervisor.host.reading.alarms import AlertLimits
from supervisor.host.reading.processes import ProcessReading
from supervisor.host.reading.readings import HostSample
from supervisor.watch.forecasting import effective_rate, measure, remember, spread
from supervisor.watch.login_costs import SETTLED_SECONDS, LoginCosts

MIB = 1024**2
GIB = 1024**3
PLENTY = 10**9


def host(**changed: Any) -> HostLimits:
    """A host on which memory ends first: 100 GiB, 20 in use."""
    limits = HostLimits(
        total_memory_bytes=100 * GIB,
        used_memory_bytes=20 * GIB,
        memory_remedy="buy memory",
        cores=16,
        used_cores=1.0,
        cpu_remedy="more cores",
        supervisor_descriptors=100,
        supervisor_max_descriptors=PLENTY,
        supervisor_remedy="raise descriptors",
        system_descriptors=5000,
        system_max_descriptors=PLENTY,
        optimize="run the optimizer",
    )
    return dataclasses.replace(limits, **changed)


def of_workers(sessions: int = 20, **changed: Figure) -> Measured:
    figures: dict[str, Any] = {"worker_memory_bytes": Figure(value=50 * MIB, samples=sessions)}
    return Measured(sessions=sessions, **figures | changed)


def row(capacity: Capacity, name: str) -> Any:
    return next(row for row in capacity.rows if row.name == name)


# --- what ends first ------------------------------------------------------------------------------


def test_the_limit_that_ends_first_stands_first_and_is_told_with_its_remedy() -> None:
    told = forecast(of_workers(), host())
    assert told.rows[0].name == "memory"
    # 100 GiB, 15 % kept, 20 in use: 65 GiB are free, a session takes 50 MiB
    assert told.more_sessions == told.rows[0].more_sessions == 65 * 1024 // 50
    assert f"About {told.more_sessions:,} more sessions fit" in told.words
    assert "memory ends first" in told.words
    assert "buy memory" in told.words
    assert told.fits


@pytest.mark.parametrize(
    ("changed", "name", "more"),
    [
        ({"supervisor_max_descriptors": 1000}, "descriptors of the supervisor", (900 - 100) // 3),
        ({"system_max_descriptors": 10_000}, "descriptors of the system", (9000 - 5000) // 43),
        # 0.2 cores are free, a session takes 0.0006
        ({"cores": 2.0, "used_cores": 1.4}, "CPU at rest", 333),
        ({"ports": 1000}, "ports towards one address", (900 - 2 * 20) // 2),
        (
            {"tasks": (TaskLimit(name="pids", maximum=2000, used=800, remedy="more"),)},
            "pids",
            1000 // 11,
        ),
        (
            {"connections": TaskLimit(name="track", maximum=1000, used=700, remedy="more")},
            "track",
            100,
        ),
        ({"total_memory_bytes": 30 * GIB}, "memory", int(5.5 * 1024) // 50),
    ],
)
def test_each_limit_can_be_the_one_that_ends_first(
    changed: Mapping[str, Any], name: str, more: int
) -> None:
    told = forecast(of_workers(), host(**changed))
    assert (told.rows[0].name, told.more_sessions) == (name, more)


def test_what_is_over_its_alert_already_leaves_nothing_and_says_so() -> None:
    told = forecast(of_workers(), host(used_memory_bytes=90 * GIB))
    assert told.more_sessions == 0
    assert not told.fits
    assert "No more sessions fit" in told.words
    assert "-" not in told.words.split("Change first")[0], "no negative number of anything"


@pytest.mark.parametrize(
    ("memory_used", "descriptors_used", "first"),
    [(99 * GIB, 901, "memory"), (86 * GIB, 999, "descriptors of the supervisor")],
)
def test_of_two_that_have_ended_the_one_that_is_over_the_most_comes_first(
    memory_used: int, descriptors_used: int, first: str
) -> None:
    over = host(
        used_memory_bytes=memory_used,
        supervisor_max_descriptors=1000,
        supervisor_descriptors=descriptors_used,
    )
    told = forecast(of_workers(), over)
    assert {row.name for row in told.rows[:2]} == {"descriptors of the supervisor", "memory"}
    assert told.rows[0].name == first


def test_no_limit_is_no_end() -> None:
    told = forecast(
        of_workers(), host(supervisor_max_descriptors=None, system_max_descriptors=None)
    )
    assert row(told, "descriptors of the supervisor").more_sessions is None
    assert told.rows[-1].more_sessions is None, "what has no end stands last"


def test_what_the_kernel_does_not_tell_is_no_row() -> None:
    told = forecast(of_workers(), host(system_descriptors=None))
    assert "descriptors of the system" not in [row.name for row in told.rows]


def test_what_is_kept_is_what_the_seeds_alerts_leave() -> None:
    told = forecast(of_workers(), host())
    assert row(told, "memory").kept == pytest.approx(100 * GIB * (1 - number("memory_alert") / 100))
    assert row(told, "descriptors of the supervisor").kept == pytest.approx(
        PLENTY * (1 - number("descriptors_alert") / 100)
    )
    assert row(told, "CPU at rest").kept == pytest.approx(16 * (1 - number("cpu_alert") / 100))


# --- what if --------------------------------------------------------------------------------------


def test_as_many_as_fit_fit_and_one_more_does_not() -> None:
    more = forecast(of_workers(), host()).more_sessions
    assert more is not None
    assert forecast(of_workers(), host(), 20 + more).fits
    told = forecast(of_workers(), host(), 20 + more + 1)
    assert not told.fits
    assert [row.name for row in told.rows if row.missing] == ["memory"]
    assert 0 < row(told, "memory").missing <= 50 * MIB


def test_what_is_missing_is_told_for_every_limit() -> None:
    told = forecast(of_workers(), host(supervisor_max_descriptors=1000), 5000)
    assert row(told, "memory").missing == pytest.approx(4980 * 50 * MIB - 65 * GIB)
    assert row(told, "descriptors of the supervisor").missing == pytest.approx(4980 * 3 - 800)
    assert "5,000 sessions do not fit" in told.words
    assert "memory: 178.2 GiB missing" in told.words
    assert "raise descriptors" in told.words, "what ends first is to be changed first"


def test_no_more_than_run_already_is_no_question() -> None:
    told = forecast(of_workers(), host(), 20)
    assert told.fits
    assert "nothing is missing" in told.words
    assert "Change first" not in told.words


def test_fewer_than_run_do_not_make_room() -> None:
    assert not forecast(of_workers(), host(used_memory_bytes=90 * GIB), 5).fits


@pytest.mark.parametrize("sessions", [0, -1])
def test_no_session_is_no_question(sessions: int) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        forecast(of_workers(), host(), sessions)


limits_drawn = st.builds(
    host,
    total_memory_bytes=st.integers(0, 10**14),
    used_memory_bytes=st.integers(0, 10**14),
    cores=st.floats(0.1, 512),
    used_cores=st.floats(0, 512),
    supervisor_descriptors=st.integers(0, 10**7),
    supervisor_max_descriptors=st.none() | st.integers(0, 10**7),
    system_descriptors=st.none() | st.integers(0, 10**7),
    system_max_descriptors=st.none() | st.integers(0, 10**9),
    ports=st.none() | st.integers(0, 65_536),
    gate_rate_per_second=st.floats(0.001, 1000),
)
figures_drawn = st.builds(Figure, value=st.floats(0, 10**10), samples=st.integers(0, 100))
measured_drawn = st.builds(
    Measured,
    sessions=st.integers(0, 100_000),
    worker_memory_bytes=figures_drawn,
    worker_descriptors=figures_drawn,
    worker_threads=figures_drawn,
    worker_cpu_fraction=figures_drawn,
    login_cpu_seconds=figures_drawn,
    start_cpu_seconds=figures_drawn,
)


@given(measured=measured_drawn, limits=limits_drawn, sessions=st.none() | st.integers(1, 200_000))
def test_whatever_is_measured_the_forecast_is_one(
    measured: Measured, limits: HostLimits, sessions: int | None
) -> None:
    told = forecast(measured, limits, sessions)
    ends = [math.inf if row.more_sessions is None else row.more_sessions for row in told.rows]
    assert ends == sorted(ends)
    assert all(row.missing >= 0 for row in told.rows)
    assert told.words
    if sessions is not None and sessions > measured.sessions:
        for each in told.rows:
            fits = each.more_sessions is None or each.more_sessions >= sessions - measured.sessions
            over = each.maximum is not None and each.used > each.maximum - each.kept
            assert fits == (each.missing == 0) or over, each
    assert all(storm.seconds >= 0 for storm in told.storms)


# --- everybody comes back -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cores", "login", "decided_by", "seconds"),
    [(16, 0.06, "gate", 200.0), (2, 0.6, "cpu", 300.0), (1, 0.2, "gate", 200.0)],
)
def test_the_slower_of_gate_and_cpu_decides_how_long_a_storm_takes(
    cores: float, login: float, decided_by: str, seconds: float
) -> None:
    measured = of_workers(1000, login_cpu_seconds=Figure(value=login, samples=7))
    outage, start = forecast(measured, host(cores=cores)).storms
    assert (outage.decided_by, outage.seconds) == (decided_by, pytest.approx(seconds))
    assert start.name == "after the host's start"
    assert "measured on 7" in forecast(measured, host(cores=cores)).words


def test_a_storm_is_told_of_the_sessions_asked_for() -> None:
    assert [storm.sessions for storm in forecast(of_workers(20), host(), 1000).storms] == [
        1000,
        1000,
    ]
    assert [storm.sessions for storm in forecast(of_workers(20), host(), 5).storms] == [20, 20]


def test_without_a_session_the_figures_are_assumed_and_it_is_said() -> None:
    told = forecast(Measured(sessions=0), host())
    assert row(told, "memory").per_session.assumed
    assert "assumed" in told.words
    assert "all 0" not in told.words
    assert (
        "assumed"
        not in forecast(
            of_workers(
                login_cpu_seconds=Figure(value=1, samples=1),
                start_cpu_seconds=Figure(value=1, samples=1),
            ),
            host(),
        ).words
    )


@pytest.mark.parametrize(
    ("rate", "egress", "sessions", "expected"),
    [
        (5, 5, [], 5),
        (5, 5, ["direct"] * 10, 5),
        (5, 1, ["direct"] * 10, 1),  # all behind one address
        (5, 1, ["a", "b", "c", "d"], 4),  # four addresses, a login a second each
        (5, 1, ["a", "a", "a", "b"], 4 / 3),  # the busiest takes 3 s for four sessions
        (5, 100, ["a", "b"], 5),
    ],
)
def test_the_busiest_egress_may_hold_everybody_up(
    rate: float, egress: float, sessions: list[str], expected: float
) -> None:
    assert effective_rate(rate, egress, sessions) == pytest.approx(expected)


# --- what a login costs ---------------------------------------------------------------------------

SHOP = SessionId("shop")


class Told:
    """Costs of a fleet that is told what the test says."""

    def __init__(self) -> None:
        self.cpu: dict[int, float] = {}
        self.pid: int | None = 7
        self.now = 0.0
        self.due: list[tuple[float, Any]] = []
        self.costs = LoginCosts(
            lambda _: self.pid,
            self.cpu.get,
            lambda: self.now,
            lambda seconds, work: self.due.append((self.now + seconds, work)),
        )

    def wait(self, seconds: float) -> None:
        self.now += seconds
        due, self.due = (
            [work for at, work in self.due if at <= self.now],
            [e for e in self.due if e[0] > self.now],
        )
        for work in due:
            work()

    def states(self, *states: str, cpu: float | None) -> None:
        for before, state in itertools.pairwise(states):
            self.costs.on_changes(SHOP, Changes(session=SHOP, event=moved(before, state)))
        if cpu is None:
            self.cpu.pop(self.pid or 0, None)
        elif self.pid is not None:
            self.cpu[self.pid] = cpu


def test_a_process_that_cannot_be_read_fails_no_session() -> None:
    """The event is passed on by the session's own actor: what fails here would close an open
    socket.
    """
    told = Told()

    def without_descriptors(_: int) -> float:
        raise OSError(errno.EMFILE, "Too many open files")

    vars(told.costs)["_cpu_seconds"] = without_descriptors
    told.states("starting", "held", "connecting", "open", cpu=1.0)
    told.wait(3600)
    assert told.costs.login().samples == 0


def test_a_login_costs_what_the_worker_used_between_connect_and_open() -> None:
    told = Told()
    told.cpu[7] = 0.4
    told.states("starting", "connecting", cpu=0.55)
    told.states("connecting", "open", cpu=2.0)
    assert told.costs.start() == Figure(value=0.55, samples=1), (
        "the first time it is open, the start counts"
    )
    assert told.costs.login() == ASSUMED_LOGIN
    told.states("open", "waiting", "connecting", cpu=2.07)
    told.states("connecting", "open", cpu=3.0)
    assert told.costs.login().value == pytest.approx(0.07)
    assert told.costs.login().samples == 1


def test_what_is_no_login_is_not_counted_as_one() -> None:
    told = Told()
    told.cpu[7] = 0.4
    # a pairing
    told.states(
        "starting", "connecting", "qr", "connecting", "waiting", "connecting", "open", cpu=0.9
    )
    told.states("open", "waiting", "starting", "open", cpu=1.0)  # adopted
    told.states("open", "waiting", "connecting", "waiting", cpu=1.1)  # failed
    told.states("connecting", "open", cpu=1.2)  # its beginning was not seen
    assert told.costs.login() == ASSUMED_LOGIN
    assert told.costs.start() == ASSUMED_START


def test_another_worker_or_none_is_not_counted() -> None:
    told = Told()
    told.cpu |= {7: 0.4, 8: 9.0}
    told.states("starting", "connecting", cpu=0.5)
    told.pid = 8
    told.states("connecting", "open", cpu=9.0)
    told.pid = None
    told.states("open", "connecting", cpu=None)
    told.pid = 9
    told.states("connecting", "open", cpu=None)  # it has ended meanwhile
    assert (told.costs.login(), told.costs.start()) == (ASSUMED_LOGIN, ASSUMED_START)


def test_a_successor_counts_as_a_start_again() -> None:
    told = Told()
    for pid in (7, 8):
        told.pid = pid
        told.cpu[pid] = 0.3
        told.states("starting", "connecting", cpu=0.5)
        told.states("connecting", "open", "waiting", cpu=1.0)
    assert told.costs.start() == Figure(value=0.5, samples=2)


def test_only_who_is_open_for_a_while_is_settled_and_tells_what_rest_costs() -> None:
    told = Told()
    told.cpu[7] = 1.0
    told.states("starting", "open", cpu=3.0)  # what it uses in its first minute is no rest
    told.wait(SETTLED_SECONDS - 1)
    assert told.costs.settled() == {}
    told.wait(1)
    assert told.costs.settled() == {SHOP: 7}
    assert told.costs.at_rest({SHOP: 3.1}) == ASSUMED_WORKER_CPU, "a share of no time is none"
    told.wait(100)
    assert told.costs.at_rest({SHOP: 3.5}) == Figure(value=0.005, samples=1)
    told.states("open", "waiting", cpu=3.5)
    assert told.costs.settled() == {}


def test_who_closes_or_changes_its_worker_meanwhile_is_not_settled() -> None:
    told = Told()
    told.cpu |= {7: 1.0, 8: 1.0}
    told.states("starting", "open", cpu=1.0)
    told.wait(30)
    told.states("open", "waiting", "open", cpu=1.0)
    told.wait(30)
    assert told.costs.settled() == {}, (
        "the first minute of the first time is not that of the second"
    )
    told.wait(30)
    assert told.costs.settled() == {SHOP: 7}
    told.states("open", "waiting", "open", cpu=1.0)
    told.pid = 8
    told.wait(100)
    assert told.costs.settled() == {}


def test_a_deleted_session_is_forgotten() -> None:
    told = Told()
    told.cpu[7] = 1.0
    told.states("starting", "open", cpu=1.0)
    told.wait(100)
    assert told.costs.settled() == {SHOP: 7}
    told.pid = None
    assert told.costs.settled() == {}
    told.costs.on_deleted(SHOP, SessionDeleted(purged=False))
    told.pid = 7
    told.states("waiting", "connecting", cpu=3.0)
    told.states("connecting", "open", cpu=4.0)
    assert told.costs.start().value == 3.0, "of one that has the same name, nothing is remembered"


# --- put together ---------------------------------------------------------------------------------


def reading(
    pid: int = 1, pss: int | None = 50, threads: int = 7, descriptors: int | None = 23
) -> ProcessReading:
    return ProcessReading(
        pid=pid,
        pss_bytes=pss,
        rss_bytes=99,
        cpu_seconds=1.0,
        descriptors=descriptors,
        threads=threads,
        age_seconds=100.0,
    )


def test_the_workers_cost_is_the_median_and_their_threads_the_most() -> None:
    workers = {
        SessionId(f"s{n}"): reading(n, pss=pss, threads=threads)
        for n, (pss, threads) in enumerate([(40, 7), (50, 11), (400, 7)])
    }
    measured = measure(5, workers, Told().costs)
    assert measured.sessions == 5
    assert measured.worker_memory_bytes == Figure(value=50, samples=3)
    assert measured.worker_threads == Figure(value=11, samples=3)
    assert measured.worker_descriptors == Figure(value=23, samples=3)


def test_what_the_kernel_hides_of_a_worker_is_assumed() -> None:
    measured = measure(1, {SHOP: reading(pss=None, descriptors=None)}, Told().costs)
    assert measured.worker_memory_bytes.assumed
    assert measured.worker_descriptors.assumed
    assert measured.worker_threads == Figure(value=7, samples=1)


def test_what_was_measured_before_an_outage_counts_while_nobody_can_be_measured() -> None:
    before = Measured(
        sessions=9,
        worker_memory_bytes=Figure(value=60.0, samples=9),
        login_cpu_seconds=Figure(value=1.0, samples=9),
    )
    after = Measured(sessions=3, login_cpu_seconds=Figure(value=2.0, samples=1))
    assert remember(after, before) == dataclasses.replace(
        before, sessions=3, login_cpu_seconds=after.login_cpu_seconds
    )


@pytest.mark.parametrize(("count", "most"), [(0, 60), (60, 60), (61, 60), (5000, 60)])
def test_of_many_workers_some_are_weighed_from_the_oldest_to_the_newest(
    count: int, most: int
) -> None:
    workers = [(SessionId(str(n)), n) for n in range(count)]
    chosen = spread(workers, most)
    assert len(chosen) == len(set(chosen)) == min(count, most)
    if count > most:
        assert chosen[0] == workers[0]
        assert chosen[-1][1] >= count - count / most - 1


SAMPLE = HostSample(
    total_memory_bytes=100 * GIB, used_memory_bytes=20 * GIB, available_memory_bytes=80 * GIB,
    swap_total_bytes=0, swap_used_bytes=0, cpu_fraction=0.25, cores=8, usable_cores=8, load_1=0, load_5=2.5, load_15=0,
    open_descriptors=4000, max_descriptors=None, network_in_bytes_per_second=0, network_out_bytes_per_second=0,
    network_in_packets_per_second=0, network_out_packets_per_second=0,
)  # fmt: skip


def own(manager: Manager = Manager.SHELL, root: bool = False) -> OwnUse:
    return OwnUse(
        cpu_cores=0.5, tasks=500, descriptors=80, max_descriptors=65_536, runs_as_root=root,
        started_by=StartedBy(manager=manager, unit="wasup.service" if manager is Manager.SYSTEMD else None),
    )  # fmt: skip


def facts(**values: float) -> Facts:
    return Facts(
        values={name.replace("__", "."): Fact(value, str(value)) for name, value in values.items()}
    )


def limits_of(
    found: Facts,
    mine: OwnUse,
    tasks: int | None = 900,
    tracked: int | None = None,
    grouped: int | None = None,
) -> HostLimits:
    kernel = KernelUse(tasks=tasks, tracked_connections=tracked, group_tasks=grouped)
    return host_limits(SAMPLE, found, kernel, mine, 5.0, 1000)


def test_who_has_a_control_groups_memory_is_told_how_to_get_more_of_it() -> None:
    # the sample's memory is the group's
    told = limits_of(facts(cgroup_memory=100 * GIB), own(Manager.SYSTEMD))
    assert (told.total_memory_bytes, told.used_memory_bytes) == (100 * GIB, 20 * GIB)
    assert "MemoryMax" in told.memory_remedy
    assert "wasup.service" in told.memory_remedy
    assert (
        "--memory" in limits_of(facts(cgroup_memory=100 * GIB), own(Manager.DOCKER)).memory_remedy
    )
    for none in (facts(), facts(cgroup_memory=math.inf), facts(cgroup_memory=200 * GIB)):
        assert limits_of(none, own()).memory_remedy == MORE_MEMORY


def test_the_cpu_in_use_is_that_of_five_minutes_and_never_more_than_there_is() -> None:
    assert limits_of(facts(), own()).used_cores == 2.5
    busy = dataclasses.replace(SAMPLE, load_5=300.0)
    kernel = KernelUse(tasks=1, tracked_connections=None)
    assert host_limits(busy, facts(), kernel, own(), 5.0, 10).used_cores == 8.0


def test_in_a_control_group_with_fewer_cores_the_machines_load_says_nothing() -> None:
    """The load of a container is that of the whole machine."""
    sample = dataclasses.replace(SAMPLE, usable_cores=1.5, load_5=7.0)
    told = host_limits(
        sample, facts(), KernelUse(tasks=1, tracked_connections=None), own(), 5.0, 10
    )
    assert (told.cores, told.used_cores) == (1.5, 0.5)
    assert "--cpus" in told.cpu_remedy


def test_every_kind_of_task_limit_is_a_row_with_a_remedy_for_so_many_sessions() -> None:
    found = facts(
        kernel__pid_max=32_768,
        **{"kernel.threads-max": 190_000},
        nproc_soft=4096,
        cgroup_pids=10_000,
    )
    told = limits_of(found, own(Manager.SYSTEMD))
    assert [(task.maximum, task.used) for task in told.tasks] == [
        (32_768, 900),
        (190_000, 900),
        (4096, 500),
        (10_000, 500),
    ]
    assert ["--sessions 1000" in task.remedy for task in told.tasks] == [True, True, False, False]
    assert "LimitNPROC" in told.tasks[2].remedy
    assert "TasksMax" in told.tasks[3].remedy
    assert limits_of(found, own(), grouped=700).tasks[3].used == 700, "others are in the group, too"
    assert len(limits_of(found, own(root=True)).tasks) == 3, "the kernel does not count root's"
    assert [task.maximum for task in limits_of(facts(cgroup_pids=math.inf), own()).tasks] == [None]
    assert len(limits_of(found, own(), tasks=None).tasks) == 2


def test_tracked_connections_are_a_row_where_the_kernel_tracks_them() -> None:
    key = {"net.netfilter.nf_conntrack_max": 65_536.0}
    assert limits_of(facts(**key), own()).connections is None
    assert limits_of(facts(), own(), tracked=100).connections is None
    tracked = limits_of(facts(**key), own(), tracked=100).connections
    assert tracked is not None
    assert (tracked.maximum, tracked.used) == (65_536, 100)


def test_the_kernels_counts_are_read_where_they_are() -> None:
    use = read_kernel_use()
    assert use.tasks is not None
    assert use.tasks >= 2


def test_all_is_shown_in_the_apis_names_and_units() -> None:
    answer = msgspec.to_builtins(shown(forecast(of_workers(), host(), 5000)))
    assert set(answer) == {"sessions", "asked", "fits", "moreSessions", "words", "limits", "storms"}
    assert answer["fits"] is False
    assert answer["limits"][0]["perSession"] == {
        "value": 50 * MIB,
        "samples": 20,
        "assumed": False,
        "byDesign": False,
    }
    assert answer["storms"][0]["decidedBy"] == "gate"


# --- for people -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "kept", "maximum", "expected"),
    [
        (0, 0, 10, ".........."),
        (5, 1, 10, "#####..../"),
        (9, 2, 10, "#########/"),
        (50, 2, 10, "##########"),
        (5, 1, None, ""),
        (0, 0, 0, ""),
    ],
)
def test_a_bar_is_as_long_as_it_should_be(
    used: float, kept: float, maximum: float | None, expected: str
) -> None:
    assert bar(used, kept, maximum, cells=10) == expected


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (50 * MIB, "bytes", "50 MiB"),
        (65 * GIB, "bytes", "65.0 GiB"),
        (0.0006, "cores", "0.0006 cores"),
        (3.2, "cores", "3.2 cores"),
        (4980.2, "descriptors", "4,981 descriptors"),
    ],
)
def test_amounts_are_told_in_units_that_people_use(value: float, unit: str, told: str) -> None:
    assert amount(value, unit) == told


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0 s"), (89, "89 s"), (200, "3 min"), (7200, "2.0 h")]
)
def test_spans_are_told_in_units_that_people_use(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_what_is_kept_begins_where_the_alerts_begin() -> None:
    """A forecast that is followed must raise none."""
    alerts = AlertLimits(memory_fraction=0.8, cpu_fraction=0.9, descriptors_fraction=0.5)
    mine = forecast(of_workers(), host(alerts=alerts))
    fractions = {row.name: row.kept / row.maximum for row in mine.rows if row.maximum}
    assert fractions["memory"] == pytest.approx(0.2)
    assert fractions["CPU at rest"] == pytest.approx(0.1)
    assert fractions["descriptors of the supervisor"] == pytest.approx(0.5)
    seeds = {
        row.name: row.kept / row.maximum
        for row in forecast(of_workers(), host()).rows
        if row.maximum
    }
    assert seeds["memory"] == pytest.approx(0.15)


def moved(before: str, state: str) -> SessionMoved:
    """The event of a session that comes from one state to another."""
    return SessionMoved(
        state=SessionState(state),
        since="",
        close_reason=None,
        close_code=None,
        close_message=None,
        closed_at=None,
        rule=None,
        attempts=0,
        failures=0,
        next_attempt_at=None,
        breaker=BreakerSnapshot("closed", 0, None),
        human_action="",
        previous_state=before,
    )
