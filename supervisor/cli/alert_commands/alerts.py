"""`wasup alerts ...`: what is wrong, what is silenced, and who cares for it."""

import time
from typing import Annotated, Any
from urllib.parse import quote

import typer

from sessions.views.times import iso
from supervisor.cli.common.completion import session_ids
from supervisor.cli.common.exits import EXIT_USAGE, fail
from supervisor.cli.common.moments import FORMS, seconds_away
from supervisor.cli.common.options import Json
from supervisor.cli.common.output import say, show, show_json
from supervisor.cli.common.reach import must_run

Comment = Annotated[str, typer.Option(help="Why; for people.")]


def list_alerts(as_json: Json = False) -> None:
    """Show the alerts that are on, the critical ones first: what each is, and what to do."""
    seen = must_run().every("/alerts", "alerts")
    if as_json:
        show_json(seen)
        return
    if not seen["alerts"]:
        say("Nothing is wrong.")
        return
    for alert in seen["alerts"]:
        for line in lines(alert):
            say(line)


def lines(alert: Any) -> list[str]:
    """An alert in words."""
    about = alert["session"] or alert["about"]
    whose = "" if about is None else f" ({about})"
    found = [f"{alert['severity']}  {alert['name']}{whose}  {alert['id']}"]
    found += [f"  {alert['message']}", f"  since {alert['beganAt']}; {alert['whatToDo']}"]
    if alert["acknowledgedAt"] is not None:
        found.append(f"  {alert['acknowledgedBy']} cares for it. {alert['comment']}".rstrip())
    if alert["silencedBy"] == "outage":
        found.append("  The outage explains it; nobody is told of it alone.")
    elif alert["silencedBy"] is not None:
        found.append(f"  Silenced: {alert['silencedBy']}.")
    if alert["timesInAnHour"] is not None:
        found.append(f"  It comes and goes, {alert['timesInAnHour']} times in the last hour.")
    return found


def acknowledge(
    alerts: Annotated[list[str], typer.Argument(metavar="ALERT...", help="Their ids.")],
    comment: Comment = "",
    as_json: Json = False,
) -> None:
    """Say that you care for these alerts: no reminders of them until they are over."""
    client = must_run()
    for alert in alerts:
        path = f"/alerts/{quote(alert, safe='')}/acknowledge"
        seen = client.call("POST", path, {"comment": comment})
        if as_json:
            show_json(seen)
        else:
            say(f"{seen['name']}: no reminders until it is over.")


def silence(
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Alerts of this name, or pattern such as disk_*."),
    ] = None,
    session: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Of this session, or pattern such as loja-*.",
            autocompletion=session_ids,
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All alerts.")] = False,
    until: Annotated[str, typer.Option(metavar="WHEN", help=f"When it ends: {FORMS}.")] = "1h",
    begin: Annotated[
        str | None, typer.Option("--from", metavar="WHEN", help="When it begins. Else now.")
    ] = None,
    comment: Comment = "",
    as_json: Json = False,
) -> None:
    """Tell nobody of some alerts for a while: maintenance, or what is known.

    What is still on when it ends is told then.
    """
    if everything == bool(name or session):
        fail("Say which alerts: --name, --session or --all.", EXIT_USAGE)
    ends_in, begins_in = _seconds(until), 0.0 if begin is None else _seconds(begin)
    if ends_in <= begins_in:
        fail(f"--until {until} is not after --from {begin}.", EXIT_USAGE)
    body: dict[str, Any] = {"comment": comment, "durationSeconds": ends_in - begins_in}
    if name:
        body["names"] = name
    if session:
        body["sessions"] = session
    if begin is not None:
        body["startsAt"] = iso(time.time() + begins_in)
    made = must_run().call("POST", "/alerts/silences", body)
    if as_json:
        show_json(made)
    else:
        say(f"{made['id']}: silent until {made['endsAt']}. `wasup alerts unsilence` ends it.")


def silences(as_json: Json = False) -> None:
    """Show the silences that are on or to come."""
    seen = must_run().every("/alerts/silences", "silences")
    if as_json:
        show_json(seen)
        return
    if not seen["silences"]:
        say("Nothing is silenced.")
        return
    from rich.table import Table

    table = Table("silence", "alerts", "sessions", "from", "until", "by", "why", box=None)
    for one in seen["silences"]:
        table.add_row(
            one["id"],
            ", ".join(one["names"]) or "all",
            ", ".join(one["sessions"]) or "all",
            one["startsAt"],
            one["endsAt"],
            one["createdBy"],
            one["comment"],
        )
    show(table)


def unsilence(
    ids: Annotated[list[str], typer.Argument(metavar="SILENCE...", help="Their ids.")],
    as_json: Json = False,
) -> None:
    """End these silences; what is still on is told."""
    client = must_run()
    for one in ids:
        ended = client.call("DELETE", f"/alerts/silences/{quote(one, safe='')}")
        if as_json:
            show_json(ended)
        else:
            say(f"{ended['id']} has ended.")


def _seconds(text: str) -> float:
    """Ends the command if that is no time, or not to come."""
    try:
        seconds = seconds_away(text)
    except ValueError:
        fail(f"{text!r} is no time; it accepts {FORMS}.", EXIT_USAGE)
    if seconds <= 0:
        fail(f"{text!r} is over.", EXIT_USAGE)
    return seconds
