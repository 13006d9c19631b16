"""From what the host has and what is planned to findings that an operator can act on. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from supervisor.host.needs.facts import Fact, Facts
from supervisor.host.needs.requirements import TABLE, Direction, Kind, Severity, Wanted, limit_text
from supervisor.host.tuning.plan import Plan
from supervisor.host.tuning.system_files import LIMITS_FILE, SYSCTL_FILE


class State(StrEnum):
    """What becomes of a limit."""

    GOOD = "good"  # as wanted, or better
    CHANGE = "to change"  # this optimizer would set it
    PENDING = "from the next login"  # it is set; this process began before
    BLOCKED = "cannot be set here"
    YOURS = "yours to decide"  # no file of ours can set it, or somebody chose it on purpose
    UNKNOWN = "not known here"


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemLimit:
    """One limit of the system: what it is, what N sessions want it to be, and what to do."""

    name: str
    kind: Kind
    current: str
    wanted: str
    severity: Severity | None
    """None: nothing is wrong, or it is not known."""
    state: State
    why: str
    what_to_do: str

    @property
    def critical(self) -> bool:
        """True if N sessions will not run as long as this stays."""
        return self.severity is Severity.CRITICAL and self.state is not State.PENDING


def diagnose(facts: Facts, plan: Plan) -> list[SystemLimit]:
    """All limits in the table's order."""
    rows = [row for row in TABLE if facts.live or row.written]
    return [_finding(row, facts, plan) for row in rows]


def _finding(row: Wanted, facts: Facts, plan: Plan) -> SystemLimit:
    if not facts.live:
        return _image_finding(row, plan)
    fact = facts.values.get(row.name)
    if fact is None:
        return _limit(row, plan, facts.missing.get(row.name, "not read"), None, State.UNKNOWN, "")
    if row.kind is Kind.ULIMIT:
        return _ulimit_finding(row, fact, plan)
    severity = row.severity_of(fact.value, plan.sessions)
    if severity is None:
        return _limit(row, plan, fact.text, None, State.GOOD, "")
    if any(change.key == row.name for change in plan.kernel):
        return _limit(row, plan, fact.text, severity, State.CHANGE, _kernel_advice(row, plan))
    if row.name in plan.refused:
        return _limit(row, plan, fact.text, severity, State.BLOCKED, plan.refused[row.name])
    if row.written:
        return _limit(
            row,
            plan,
            fact.text,
            severity,
            State.BLOCKED,
            f"our file sets it; apply it with {_RELOAD}",
        )
    return _limit(row, plan, fact.text, severity, State.YOURS, _ADVICE[row.name](facts))


def _ulimit_finding(row: Wanted, fact: Fact, plan: Plan) -> SystemLimit:
    severity = row.severity_of(fact.value, plan.sessions)
    if severity is None:
        return _limit(row, plan, fact.text, None, State.GOOD, "")
    promised = plan.promised.get(row.name)
    refused = plan.refused.get(row.name)
    will_change = any(change.path == LIMITS_FILE and change.changes for change in plan.files)
    if will_change and promised is not None and promised > fact.value:
        return _limit(row, plan, fact.text, severity, State.CHANGE, refused or _LIMITS_ADVICE)
    if promised is not None and promised > fact.value:
        left = row.severity_of(promised, plan.sessions)
        told = f"{fact.text} (a new login: {limit_text(promised)})"
        if left is None:
            return _limit(row, plan, told, severity, State.PENDING, _PENDING_ADVICE)
        return _limit(row, plan, told, left, State.BLOCKED, refused or _LIMITS_ADVICE)
    state = State.BLOCKED if refused else State.YOURS
    return _limit(row, plan, fact.text, severity, state, refused or _LIMITS_ADVICE)


def _image_finding(row: Wanted, plan: Plan) -> SystemLimit:
    if row.kind is Kind.ULIMIT:
        value = plan.promised.get(row.name)
        set_to, path = (None if value is None else limit_text(value)), LIMITS_FILE
    else:
        set_to, path = plan.persisted.get(row.name), SYSCTL_FILE
    if set_to is None:
        return _limit(row, plan, "left to the kernel and other files", None, State.GOOD, "")
    if any(change.path == path and change.changes for change in plan.files):
        return _limit(
            row,
            plan,
            "the file does not say it yet",
            row.severity,
            State.CHANGE,
            f"/{path} will say {set_to}",
        )
    return _limit(row, plan, f"{set_to} (from the next boot)", None, State.GOOD, "")


def _limit(
    row: Wanted, plan: Plan, current: str, severity: Severity | None, state: State, advice: str
) -> SystemLimit:
    wanted = f"{row.direction} {row.wanted_shown(plan.sessions)}"
    if row.kind is Kind.FACT and row.direction is Direction.AT_LEAST and row.name == "time_sync":
        wanted = row.wanted_shown(plan.sessions)  # "at least synchronised" is no English
    return SystemLimit(
        name=row.name,
        kind=row.kind,
        current=current,
        wanted=wanted,
        severity=severity,
        state=state,
        why=row.why(plan.sessions),
        what_to_do=advice,
    )


def critical(limits: Sequence[SystemLimit]) -> list[SystemLimit]:
    """Those that keep N sessions from running."""
    return [limit for limit in limits if limit.critical]


# ---- advice

_RELOAD: Final = f"`sysctl -p /{SYSCTL_FILE}`"
_PENDING_ADVICE: Final = (
    "log in again and restart the supervisor from there. A systemd service ignores limits.d: its"
    " unit needs LimitNOFILE="
)
_LIMITS_ADVICE: Final = (
    f"/{LIMITS_FILE} sets it for logins. A systemd service ignores that file: "
    "LimitNOFILE= (and LimitNPROC=) in its unit; a container: `docker run --ulimit nofile=...`"
)


def _kernel_advice(row: Wanted, plan: Plan) -> str:
    value = next((change.after for change in plan.kernel if change.key == row.name), "")
    return f"by hand: `sysctl -w {row.name}='{value}'`"


def _memory(facts: Facts) -> str:
    if "cgroup_memory" in facts.values and facts.values["cgroup_memory"].text != "unlimited":
        return (
            "raise the limit of this control group (`docker update --memory`, MemoryMax= of the"
            " unit), or run fewer sessions here"
        )
    return "more memory, or fewer sessions on this host (--sessions N)"


_ADVICE: Final[Mapping[str, Callable[[Facts], str]]] = {
    "cgroup_pids": lambda facts: (
        "TasksMax=infinity in the unit (scripts/wasup.service has it), `docker run --pids-limit -1`"
        " for a container"
    ),
    "systemd_default_tasks": lambda facts: (
        "TasksMax=infinity in the unit (scripts/wasup.service has it)"
    ),
    "vm.overcommit_memory": lambda facts: (
        "somebody chose this: `sysctl -w vm.overcommit_memory=0`, if nothing else needs it"
    ),
    "memory": _memory,
    "swap_used": lambda facts: (
        "see what needs the memory; when there is enough again, `swapoff -a && swapon -a` brings it"
        " back"
    ),
    "transparent_hugepages": lambda facts: (
        "`echo madvise > /sys/kernel/mm/transparent_hugepage/enabled`; for good:"
        " transparent_hugepage=madvise on the kernel's command line"
    ),
    "time_sync": lambda facts: (
        f"{'on the host of this container: ' if facts.container else ''}`timedatectl set-ntp true`,"
        " or install chrony"
    ),
}
"""What to do about what our files cannot set. A test holds it against the table."""
