"""A result of the optimizer, as text that a tired operator can read and as a document for programs.

Pure.
"""

import textwrap
from collections.abc import Sequence
from typing import Any, Final

from supervisor.host.tuning.diagnosis import State, SystemLimit, critical
from supervisor.host.tuning.optimizer import Action, OptimizationResult
from supervisor.host.tuning.plan import Plan
from supervisor.host.tuning.system_files import LIMITS_FILE, SYSCTL_FILE, difference

WIDTH: Final = 100
HEADLINES: Final = {
    Action.PLANNED: "Nothing was changed. What would be changed stands below.",
    Action.APPLIED: "Applied, and read back.",
    Action.NOTHING: "Nothing to do: nothing was changed.",
    Action.UNDONE: "NOT applied: it failed, and everything is as it was.",
    Action.ROLLED_BACK: "Rolled back to what was found before the first application.",
}
SERVICES: Final = (
    f"Services that systemd starts ignore /{LIMITS_FILE}: their unit needs LimitNOFILE= and"
    " TasksMax=infinity, as scripts/wasup.service has them. What pm2 starts has the limits of the"
    " login that started pm2: after a change, log in again, then `pm2 kill` and start it anew."
)


def report_text(result: OptimizationResult) -> str:
    """The whole report."""
    parts = [
        f"System optimization for {result.sessions:,} sessions, root {result.root}"
        + (f" (inside a container: {result.container})" if result.container else ""),
        HEADLINES[result.action],
        "",
        *_section("Limits", limits_table(result.after)),
        *_section("Critical problems", _advice(critical(result.after)) or ["none"]),
    ]
    others = [limit for limit in result.after if limit.severity and not limit.critical]
    parts += _section("Recommendations", [*_advice(others), *_wrapped("- ", SERVICES)])
    unknown = [limit for limit in result.after if limit.state is State.UNKNOWN]
    parts += _section(
        "Not known", [line for it in unknown for line in _wrapped("- ", f"{it.name}: {it.current}")]
    )
    if result.action in (Action.PLANNED, Action.APPLIED, Action.UNDONE) and result.plan.changes:
        parts += _section(
            "Changes" if result.action is Action.APPLIED else "Planned changes",
            plan_lines(result.plan),
        )
    parts += _section("Done", [f"- {line}" for line in result.done])
    parts += _section(
        "Failed", [line for failure in result.failures for line in _wrapped("- ", failure)]
    )
    parts += _section(
        "Noticed", [line for note in result.plan.notes for line in _wrapped("- ", note)]
    )
    return "\n".join(parts).rstrip() + "\n"


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [title, "-" * len(title), *lines, ""] if lines else []


def _wrapped(mark: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _advice(limits: Sequence[SystemLimit]) -> list[str]:
    lines = []
    for limit in limits:
        lines += _wrapped(
            "- ",
            f"{limit.name}: {limit.current}; wanted {limit.wanted} ({limit.state}). Why:"
            f" {limit.why}.",
        )
        if limit.what_to_do:
            lines += _wrapped("  -> ", limit.what_to_do)
    return lines


def limits_table(limits: Sequence[SystemLimit]) -> list[str]:
    """A table, a line for each limit, with what is wrong marked at the right."""
    rows = [("limit", "now", "wanted", "verdict")]
    rows += [
        (
            limit.name,
            "-" if limit.state is State.UNKNOWN else limit.current,
            limit.wanted,
            _verdict(limit),
        )
        for limit in limits
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]]
        ).rstrip()
        for row in rows
    ]


def _verdict(limit: SystemLimit) -> str:
    if limit.severity is None:
        return "ok" if limit.state is State.GOOD else str(limit.state)
    return f"{limit.severity.upper() if limit.critical else limit.severity}, {limit.state}"


def plan_lines(plan: Plan) -> list[str]:
    """Diffs of both files, and the kernel values."""
    lines: list[str] = []
    for change in plan.files:
        before = change.before.content if change.before else None
        lines += difference(change.path, before, change.after).splitlines()
    if plan.kernel:
        width = max(len(change.key) for change in plan.kernel)
        lines += ["", "kernel values, now:"]
        lines += [
            f"  {change.key.ljust(width)}  {change.before} -> {change.after}"
            for change in plan.kernel
        ]
    return lines


def report_document(result: OptimizationResult) -> dict[str, Any]:
    """The same for programs. `current` and `wanted` are texts, as a shell shows them."""
    return {
        "action": result.action.name.lower(),
        "sessions": result.sessions,
        "root": result.root,
        "container": result.container,
        "good": result.good,
        "critical": [limit.name for limit in critical(result.after)],
        "limits": {"before": _limits(result.before), "after": _limits(result.after)},
        "plan": {
            "files": [
                {
                    "path": f"/{change.path}",
                    "before": _decoded(change.before.content if change.before else None),
                    "after": _decoded(change.after),
                }
                for change in result.plan.files
                if change.changes
            ],
            "kernel": [
                {"key": change.key, "before": change.before, "after": change.after}
                for change in result.plan.kernel
            ],
        },
        "done": list(result.done),
        "failures": list(result.failures),
        "notes": list(result.plan.notes),
        "files": {"limits": f"/{LIMITS_FILE}", "sysctl": f"/{SYSCTL_FILE}"},
    }


def _decoded(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "replace")


def _limits(limits: Sequence[SystemLimit]) -> list[dict[str, Any]]:
    return [
        {
            "name": limit.name,
            "kind": str(limit.kind),
            "current": limit.current,
            "wanted": limit.wanted,
            "severity": limit.severity and str(limit.severity),
            "state": limit.state.name.lower(),
            "critical": limit.critical,
            "why": limit.why,
            "whatToDo": limit.what_to_do,
        }
        for limit in limits
    ]
