"""What N sessions want of a host: one table, a row for each limit. Pure.

The guide's numbers come from `numbers`, what a session costs from `session_costs`.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from supervisor.host.needs.session_costs import (
    MIB,
    SUPERVISOR_DESCRIPTORS,
    WORKER_BYTES,
    WORKER_DESCRIPTORS,
    WORKER_THREADS,
    descriptors_needed,
    descriptors_wanted,
    memory_needed_bytes,
    system_descriptors_needed,
    tasks_needed,
    user_tasks_needed,
)
from supervisor.host.numbers import whole

SESSIONS_DEFAULT: Final = 500
"""The fleet that the guide has in mind: its alert and its test both say 500 connections."""
SESSIONS_MOST: Final = 100_000
"""The kernel has at most 4,194,304 pids, which ends at 380,000 workers; a host for 100,000 already
wants 5 TiB of memory.
"""

HEADROOM_FRACTION: Final = 0.15
"""Of memory, kept free: the alert comes at 85 %."""
PORTS_MOST: Final = 55_296
"""10240 to 65535. Below lie the ports that services listen on, the API's own (4001) among them."""


class Kind(StrEnum):
    """What sort of a limit it is, and so where it is made to last."""

    SYSCTL = "sysctl"  # the kernel's; /etc/sysctl.d
    # of a process and its children; /etc/security/limits.d, LimitNOFILE=, --ulimit
    ULIMIT = "ulimit"
    FACT = "fact"  # neither file can change it


class Direction(StrEnum):
    """Which side of the wanted value is the good one. The value itself is good in both."""

    AT_LEAST = "at least"
    AT_MOST = "at most"


class Severity(StrEnum):
    """What it means if a limit is not as wanted."""

    CRITICAL = "critical"  # N sessions will not run
    WARNING = "warning"  # they will, but badly under load or after an outage
    ADVICE = "advice"  # it costs something, or hides something


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A row.

    `wanted` and `needed` take the number of sessions; below `needed` it is critical, between the
    two it is a warning (or advice).
    """

    name: str
    kind: Kind
    direction: Direction
    wanted: Callable[[int], float]
    why: Callable[[int], str]
    severity: Severity = Severity.WARNING
    needed: Callable[[int], float] | None = None
    """None: never critical."""
    text: Callable[[float], str] = lambda value: str(int(value))
    """How the wanted value is written into a file."""
    shown: Callable[[float], str] | None = None
    """How it is shown, if otherwise than it is written."""
    parse: Callable[[str], float] = lambda text: int(text)
    """The value of a text from the kernel or a file. Raises ValueError."""
    kernel_default: float | None = None
    """What the kernel starts with where nobody says otherwise.

    None: that differs from host to host.
    """
    grows_with_memory: bool = False
    """The kernel derives its default from memory: in an image it is left alone, because on a large
    host our value would be the smaller one.
    """
    may_be_missing: bool = False
    """The key exists only while a module is loaded: written with a leading `-`, so that its absence
    at boot is no error.
    """
    written: bool = True
    """False: we tell, but do not write it, because somebody chose it on purpose or because no file
    of ours can set it.
    """

    def satisfied(self, value: float, sessions: int) -> bool:
        """True if the value is as good as the wanted one, or better."""
        return self.as_good(value, self.wanted(sessions))

    def as_good(self, value: float, other: float) -> bool:
        """True if `value` is at least as good as `other`."""
        return value >= other if self.direction is Direction.AT_LEAST else value <= other

    def severity_of(self, value: float, sessions: int) -> Severity | None:
        """None: nothing is wrong with the value."""
        if self.satisfied(value, sessions):
            return None
        if self.needed is not None and not self.as_good(value, self.needed(sessions)):
            return Severity.CRITICAL
        return self.severity

    def wanted_text(self, sessions: int) -> str:
        """The wanted value as it is written."""
        return self.text(self.wanted(sessions))

    def wanted_shown(self, sessions: int) -> str:
        """The wanted value for a reader."""
        return (self.shown or self.text)(self.wanted(sessions))


def memory_wanted_bytes(sessions: int) -> int:
    """The same with the headroom; never less than the guide's two gigabytes."""
    return max(
        whole("memory_test"), math.ceil(memory_needed_bytes(sessions) / (1 - HEADROOM_FRACTION))
    )


def ports_wanted(sessions: int) -> int:
    """Each session has one outgoing connection, and after an outage an old one in TIME_WAIT beside
    it; the rest of the host wants some, too.
    """
    return min(2 * sessions + 4096, PORTS_MOST)


def tracked_wanted(sessions: int) -> int:
    """Tracked connections: one that is open and up to three that the tracker still remembers
    (TIME_WAIT lasts 120 s there), and the rest.
    """
    return 4 * sessions + 16_384


def mebibytes(value: float) -> str:
    """Bytes as an operator reads them."""
    return "unlimited" if math.isinf(value) else f"{value / MIB:,.0f} MiB"


def limit_text(value: float) -> str:
    """A limit as `ulimit` and limits.conf write it."""
    return "unlimited" if math.isinf(value) else str(int(value))


def limit_value(text: str) -> float:
    """The value of a limit as pam_limits reads it: `3k` is 3.

    Raises ValueError for what is no number; pam_limits ignores it.
    """
    if text.lower() in ("unlimited", "infinity", "-1"):
        return math.inf
    number = re.match(r"[0-9]+", text)
    if number is None:
        raise ValueError(f"{text[:40]!r} is no number")
    return int(number[0])


def ports_of(text: str) -> float:
    """How many ports a range has. Raises ValueError."""
    first, last = (int(part) for part in text.split())
    return last - first + 1


def _port_range(value: float) -> str:
    """If the range has to change at all, it becomes as wide as it can be."""
    return f"{65_536 - PORTS_MOST} 65535"


def _seed(name: str) -> Callable[[int], float]:
    value = whole(name)
    return lambda sessions: value


def _always(reason: str) -> Callable[[int], str]:
    return lambda sessions: reason


THP_NAMES: Final = ("never", "madvise", "always")

TABLE: Final[tuple[Wanted, ...]] = (
    # ---- descriptors
    Wanted(
        name="fs.nr_open",
        kind=Kind.SYSCTL,
        direction=Direction.AT_LEAST,
        wanted=descriptors_wanted,
        needed=descriptors_needed,
        kernel_default=1_048_576,
        why=lambda n: (
            f"no process may have a higher descriptor limit than this; the supervisor of {n} wants"
            f" {descriptors_wanted(n)}"
        ),
    ),
    Wanted(
        name="fs.file-max",
        kind=Kind.SYSCTL,
        direction=Direction.AT_LEAST,
        wanted=system_descriptors_needed,
        needed=lambda n: WORKER_DESCRIPTORS * n + descriptors_needed(n),
        grows_with_memory=True,
        why=lambda n: (
            f"{n} workers open up to {WORKER_DESCRIPTORS} descriptors each, and the supervisor"
            f" {SUPERVISOR_DESCRIPTORS} for each"
        ),
    ),
    Wanted(
        name="nofile_soft",
        kind=Kind.ULIMIT,
        direction=Direction.AT_LEAST,
        wanted=descriptors_wanted,
        needed=lambda n: max(whole("descriptors_test"), descriptors_needed(n)),
        text=limit_text,
        parse=limit_value,
        why=lambda n: (
            f"the supervisor opens about {descriptors_needed(n)} for {n} sessions; at its limit it"
            " accepts no worker"
        ),
    ),
    Wanted(
        name="nofile_hard",
        kind=Kind.ULIMIT,
        direction=Direction.AT_LEAST,
        wanted=descriptors_wanted,
        needed=lambda n: max(whole("descriptors_test"), descriptors_needed(n)),
        text=limit_text,
        parse=limit_value,
        why=_always("a process can raise its own soft limit up to this, and no further"),
    ),
    # ---- processes and threads
    Wanted(
        name="kernel.pid_max",
        kind=Kind.SYSCTL,
        direction=Direction.AT_LEAST,
        wanted=tasks_needed,
        needed=lambda n: WORKER_THREADS * n,
        kernel_default=32_768,
        why=lambda n: (
            f"every thread takes a pid: {n} workers have {WORKER_THREADS * n} ({WORKER_THREADS}"
            " each)"
        ),
    ),
    Wanted(
        name="kernel.threads-max",
        kind=Kind.SYSCTL,
        direction=Direction.AT_LEAST,
        wanted=tasks_needed,
        needed=lambda n: WORKER_THREADS * n,
        grows_with_memory=True,
        why=lambda n: f"all threads of the system together: {n} workers have {WORKER_THREADS * n}",
    ),
    Wanted(
        name="nproc_soft",
        kind=Kind.ULIMIT,
        direction=Direction.AT_LEAST,
        wanted=user_tasks_needed,
        needed=lambda n: WORKER_THREADS * n,
        text=limit_text,
        parse=limit_value,
        why=lambda n: (
            f"all threads of one user (`ulimit -u`): {n} workers have {WORKER_THREADS * n}; root is"
            " exempt"
        ),
    ),
    Wanted(
        name="nproc_hard",
        kind=Kind.ULIMIT,
        direction=Direction.AT_LEAST,
        wanted=user_tasks_needed,
        needed=lambda n: WORKER_THREADS * n,
        text=limit_text,
        parse=limit_value,
        why=_always("a process can raise its own soft limit up to this, and no further"),
    ),
    Wanted(
        name="cgroup_pids",
        kind=Kind.FACT,
        direction=Direction.AT_LEAST,
        wanted=user_tasks_needed,
        needed=lambda n: WORKER_THREADS * n,
        text=limit_text,
        parse=limit_value,
        written=False,
        why=lambda n: (
            f"this control group may have no more threads than that; {n} workers have"
            f" {WORKER_THREADS * n}"
        ),
    ),
    Wanted(
        name="systemd_default_tasks",
        kind=Kind.FACT,
        direction=Direction.AT_LEAST,
        wanted=user_tasks_needed,
        severity=Severity.ADVICE,
        text=limit_text,
        parse=limit_value,
        written=False,
        why=lambda n: (
            f"a systemd unit without TasksMax= gets 15 % of what the system has; {n} workers want"
            f" {user_tasks_needed(n)}"
        ),
    ),
    # ---- TCP
    Wanted(
        name="net.ipv4.tcp_max_syn_backlog",
        kind=Kind.SYSCTL,
        direction=Direction.AT_LEAST,
        wanted=_seed("net.ipv4.tcp_max_syn_backlog"),
        kernel_default=4096,
        why=_always(
            "connections that are half open while many clients come at once; beyond it they are"
            " dropped"
        ),
    ),
    Wanted(
        name="net.ipv4.tcp_keepalive_time",
        kind=Kind.SYSCTL,
        direction=Direction.AT_MOST,
        wanted=_seed("net.ipv4.tcp_keepalive_time"),
        kernel_default=7200,
        why=_always(
            "after so many silent seconds the kernel looks whether the other end lives; routers"
            " forget a line sooner"
        ),
    ),
    Wanted(
        name="net.ipv4.tcp_fin_timeout",
        kind=Kind.SYSCTL,
        direction=Direction.AT_MOST,
        wanted=_seed("net.ipv4.tcp_fin_timeout"),
        kernel_default=60,
        why=_always(
            "so many seconds a closed connection waits for the other end's close, and holds its"
            " port meanwhile"
        ),
    ),
    Wanted(
        name="net.ipv4.ip_local_port_range",
        kind=Kind.SYSCTL,
        direction=Direction.AT_LEAST,
        wanted=ports_wanted,
        needed=lambda n: min(n, PORTS_MOST),
        text=_port_range,
        shown=lambda value: f"{value:.0f} ports",
        parse=ports_of,
        kernel_default=28_232,
        why=lambda n: (
            f"ports for outgoing connections to one address: {n} sessions, and as many in TIME_WAIT"
            " after an outage"
        ),
    ),
    # ---- network
    Wanted(
        name="net.core.somaxconn",
        kind=Kind.SYSCTL,
        direction=Direction.AT_LEAST,
        wanted=lambda n: max(whole("net.core.somaxconn"), n),
        kernel_default=4096,
        why=lambda n: (
            f"the longest queue before accept(); after a restart all {n} workers call the"
            " supervisor's socket at once"
        ),
    ),
    Wanted(
        name="net.core.netdev_max_backlog",
        kind=Kind.SYSCTL,
        direction=Direction.AT_LEAST,
        wanted=_seed("net.core.netdev_max_backlog"),
        kernel_default=1000,
        why=_always(
            "packets that wait for the CPU when they come faster than it takes them; beyond it they"
            " are dropped"
        ),
    ),
    Wanted(
        name="net.netfilter.nf_conntrack_max",
        kind=Kind.SYSCTL,
        direction=Direction.AT_LEAST,
        wanted=tracked_wanted,
        needed=lambda n: n,
        grows_with_memory=True,
        may_be_missing=True,
        why=lambda n: (
            f"the firewall remembers each connection, also for two minutes after its end; {n}"
            " sessions reconnecting take four each"
        ),
    ),
    # ---- memory
    Wanted(
        name="vm.max_map_count",
        kind=Kind.SYSCTL,
        direction=Direction.AT_LEAST,
        wanted=_seed("vm.max_map_count"),
        kernel_default=65_530,
        why=_always(
            "memory mappings of one process; a Node worker has about 200, a large heap and a"
            " database far more"
        ),
    ),
    Wanted(
        name="kernel.shmmax",
        kind=Kind.SYSCTL,
        direction=Direction.AT_LEAST,
        wanted=_seed("kernel.shmmax"),
        kernel_default=2**64 - 2**24 - 1,
        why=_always("the largest shared memory segment, which a database on this host may ask for"),
    ),
    Wanted(
        name="vm.overcommit_memory",
        kind=Kind.SYSCTL,
        direction=Direction.AT_MOST,
        wanted=lambda n: 1,
        kernel_default=0,
        written=False,
        why=lambda n: (
            f"2 counts what is reserved, not what is used: a Node process reserves 10 GB, and {n}"
            " of them are refused"
        ),
    ),
    Wanted(
        name="memory",
        kind=Kind.FACT,
        direction=Direction.AT_LEAST,
        wanted=memory_wanted_bytes,
        needed=memory_needed_bytes,
        text=mebibytes,
        written=False,
        why=lambda n: (
            f"{n} workers at {WORKER_BYTES // MIB} MiB, the supervisor, and {HEADROOM_FRACTION:.0%}"
            " kept free"
        ),
    ),
    Wanted(
        name="swap_used",
        kind=Kind.FACT,
        direction=Direction.AT_MOST,
        wanted=lambda n: 25,
        text=lambda value: f"{value:.0f} %",
        written=False,
        why=_always(
            "Node's garbage collector walks through all its memory: a worker that is swapped out"
            " answers late and looks hung"
        ),
    ),
    Wanted(
        name="transparent_hugepages",
        kind=Kind.FACT,
        direction=Direction.AT_MOST,
        wanted=lambda n: THP_NAMES.index("madvise"),
        severity=Severity.ADVICE,
        text=lambda value: THP_NAMES[int(value)],
        written=False,
        why=lambda n: f"`always` rounds sparse memory up to 2 MiB pages, in each of {n} workers",
    ),
    Wanted(
        name="time_sync",
        kind=Kind.FACT,
        direction=Direction.AT_LEAST,
        wanted=lambda n: 1,
        text=lambda value: "synchronised" if value else "not synchronised",
        written=False,
        why=_always(
            "certificates, waits that survive a restart and the stamps of messages all go by this"
            " clock"
        ),
    ),
)

BY_NAME: Final[Mapping[str, Wanted]] = {row.name: row for row in TABLE}
"""The same, to look a row up."""
WRITABLE: Final = tuple(row for row in TABLE if row.kind is Kind.SYSCTL and row.written)
"""The kernel values that we write, in the order in which they are applied: `fs.nr_open` first,
because descriptor limits go by it.
"""
