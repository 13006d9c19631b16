"""`wasup status`: whether everything is well, and what somebody must do."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import typer

from supervisor.cli.common.exits import EXIT_FAILED
from supervisor.cli.common.options import Json
from supervisor.cli.common.output import say, show_json
from supervisor.cli.common.reach import must_run
from supervisor.cli.session_commands.table import counts_words

OUTAGE: Final = "outage"
"""An alert that `holds` tell better, and that mends itself."""
SHOWN: Final = 8
"""Sessions, and alerts, that fit on one screen."""


class Status(NamedTuple):
    """What the API says, put together."""

    address: str
    version: str
    ready: bool
    states: Mapping[str, int]
    waiting_for_a_human: Sequence[Mapping[str, str]]
    holds: Sequence[str]
    store: str
    tasks: Mapping[str, str]
    """Of the supervisor's own tasks, those that fail or have ended, and how they are."""
    alerts: Sequence[Mapping[str, Any]]

    @property
    def critical(self) -> list[Mapping[str, Any]]:
        """The alerts for which somebody has to do something now."""
        return [alert for alert in self.alerts if alert["severity"] == "critical"]

    @property
    def needs(self) -> list[str]:
        """What somebody has to look at."""
        humans, critical = len(self.waiting_for_a_human), len(self.critical)
        found = []
        if humans:
            found.append(f"{humans} session{_s(humans)} wait{'' if humans > 1 else 's'} for you")
        if critical:
            found.append(f"{critical} critical alert{_s(critical)}")
        if self.store != "ok":
            found.append(f"the store is {self.store}")
        if self.tasks:
            found.append("the supervisor's " + ", ".join(sorted(self.tasks)) + " fails")
        return found

    @property
    def mending(self) -> list[str]:
        """What is not well, and mends itself, or can wait until the morning."""
        on_their_way = sum(
            count
            for state, count in self.states.items()
            if state in {"starting", "held", "connecting", "waiting"}
        )
        warnings = len(self.alerts) - len(self.critical)
        found = [] if self.ready else ["the supervisor is just starting"]
        if self.holds:
            found.append(f"{len(self.holds)} outage{_s(len(self.holds))} under way")
        if on_their_way:
            found.append(f"{on_their_way} session{_s(on_their_way)} on the way back")
        if warnings:
            found.append(f"{warnings} warning{_s(warnings)}")
        return found

    @property
    def sentence(self) -> str:
        """All of it, in a sentence."""
        if self.needs:
            return f"Somebody is needed: {', '.join(self.needs)}."
        if self.mending:
            return f"Nobody has to do anything, but not all is well: {', '.join(self.mending)}."
        return f"All is well: {counts_words(self.states)}."


def status(as_json: Json = False) -> None:
    """Say whether everything is well: sessions by state, outages, alerts, what a human must do.

    Exit status 1 when something needs somebody.
    """
    client = must_run()
    seen, ready = client.call("GET", "/reconnection-status"), client.ask("GET", "/readyz")
    version = client.call("GET", "/healthz")["version"]
    found = put_together(client.address, version, seen, client.decoded(ready))
    if as_json:
        show_json(document(found))
    else:
        for line in lines(found):
            say(line)
    if found.needs:
        raise typer.Exit(EXIT_FAILED)


def put_together(
    address: str, version: str, seen: Mapping[str, Any], ready: Mapping[str, Any]
) -> Status:
    """The status from what the API says. Pure."""
    sessions = seen["sessions"]
    return Status(
        address=address,
        version=version,
        ready=ready["status"] == "ready",
        states=Counter(one["state"] for one in sessions.values()),
        waiting_for_a_human=[
            {"session": name, "state": one["state"], "humanAction": one["humanAction"]}
            for name, one in sessions.items()
            if not one["humanAction"].startswith("Nothing")
        ],
        holds=[hold["words"] for hold in seen["gate"]["holds"]],
        store=seen["store"]["state"],
        tasks={name: state for name, state in ready["tasks"].items() if state != "ok"},
        alerts=[alert for alert in seen["alerts"] if alert.get("name") != OUTAGE],
    )


def document(found: Status) -> dict[str, Any]:
    """The status for programs: `well`, `needsSomebody`, and what they rest on."""
    return {
        "well": not found.needs and not found.mending,
        "needsSomebody": bool(found.needs),
        "sentence": found.sentence,
        "version": found.version,
        "states": found.states,
        "waitingForAHuman": found.waiting_for_a_human,
        "holds": found.holds,
        "store": found.store,
        "tasks": found.tasks,
        "alerts": found.alerts,
    }


def lines(found: Status) -> Iterator[str]:
    """The status for people, on one screen. Pure."""
    yield found.sentence
    yield ""
    yield f"  Supervisor:  wasup {found.version} on {found.address}"
    yield f"  Sessions:    {counts_words(found.states)}"
    yield f"  Store:       {found.store}"
    for hold in found.holds:
        yield f"  Outage:      {hold}"
    if found.waiting_for_a_human:
        yield "\nWhat you must do:"
        for one in found.waiting_for_a_human[:SHOWN]:
            yield f"  {one['session']} ({one['state']}): {one['humanAction']}"
        yield from _rest(found.waiting_for_a_human, "wasup sessions list --for-me")
    if found.alerts:
        yield "\nAlerts:"
        for alert in found.alerts[:SHOWN]:
            of = f"{alert['session']}: " if alert["session"] else ""
            yield f"  {alert['severity']}  {of}{alert['message']}"
        yield from _rest(found.alerts, "wasup status --json")


def _rest(shown: Sequence[Any], command: str) -> Iterator[str]:
    if len(shown) > SHOWN:
        yield f"  and {len(shown) - SHOWN} more: {command}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
