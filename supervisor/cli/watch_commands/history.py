"""`wasup history`: what is measured, what it is now, and what it was."""

import time
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer
from rich.table import Table

from sessions.views.times import iso
from supervisor.cli.common.exits import EXIT_USAGE, fail
from supervisor.cli.common.moments import FORMS, seconds_ago
from supervisor.cli.common.options import Json
from supervisor.cli.common.output import say, show, show_json
from supervisor.cli.common.reach import must_run

ROWS: Final = 60
"""A step is chosen that makes so many rows at the most."""
STEPS: Final = (10, 60, 300, 900, 3600, 21_600, 86_400)
FINE_SECONDS: Final = 86_400
"""Older figures are kept for each minute, and after a week for each hour."""
WEEK_SECONDS: Final = 7 * 86_400


def history(
    series: Annotated[
        str | None, typer.Argument(help="Such as host.cpu; without it: what is measured.")
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(
            "--of", metavar="SUBJECT", help="Whose: a session, a directory; without it: all, now."
        ),
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="WHEN", help=f"Not what was before: {FORMS}.")
    ] = "1h",
    step: Annotated[
        int | None,
        typer.Option(
            min=10, help="Seconds of each row, 10 or a multiple; without it, as it fits a screen."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what was measured: of the host, the disks, the supervisor, the fleet, each session."""
    call = must_run().call
    listed = call("GET", "/history/series")
    if series is None:
        if as_json:
            show_json(listed)
        else:
            _show_series(listed["series"])
        return
    nothing: dict[str, Any] = {}
    found = next((one for one in listed["series"] if one["name"] == series), nothing)
    if found.get("subject", "none") != "none" and subject is None:
        told = call("GET", f"/history/latest?{urlencode({'series': series})}")
        _show_latest(told) if not as_json else show_json(told)
        return
    asked = {"series": series} | _period(since, step) | ({"subject": subject} if subject else {})
    kind = "distribution" if found.get("kind") == "buckets" else ""
    told = call("GET", f"/history/{kind}?{urlencode(asked)}".replace("/?", "?"))
    if as_json:
        show_json(told)
    elif told["points"]:
        _show_points(told)
    else:
        say("Nothing was measured in that time.", err=True)


def step_for(seconds: float) -> int:
    """The step that shows so long a time in few rows, of which figures are still kept. Pure."""
    least = 10 if seconds <= FINE_SECONDS else 60 if seconds <= WEEK_SECONDS else 3600
    return next((one for one in STEPS if one >= least and seconds / one <= ROWS), STEPS[-1])


def _period(since: str, step: int | None) -> dict[str, str]:
    try:
        seconds = seconds_ago(since)
        begin = iso(time.time() - seconds)
    except (ValueError, OverflowError):
        fail(f"--since is {since[:40]!r}; it accepts {FORMS}.", EXIT_USAGE)
    return {"from": begin, "step": str(step or step_for(seconds))}


def _show_series(listed: list[dict[str, Any]]) -> None:
    table = Table("series", "of", "kind", "unit", "what it is", box=None)
    for one in listed:
        whose = "" if one["subject"] == "none" else f"each {one['subject']}"
        table.add_row(one["name"], whose, one["kind"], one["unit"], one["words"])
    show(table)


def _show_latest(told: dict[str, Any]) -> None:
    table = Table("of", told["unit"], box=None)
    for figure in told["figures"]:
        table.add_row(figure["subject"] or "", _number(figure["value"]))
    show(table)


def _show_points(told: dict[str, Any]) -> None:
    columns = {
        "gauge": ("mean", "min", "max"),
        "count": ("sum", "max"),
        "buckets": ("count", "p50", "p95", "p99"),
    }[told["kind"]]
    table = Table("at", *columns, title=f"{told['series']} ({told['unit']})", box=None)
    for point in told["points"]:
        at = datetime.fromisoformat(point["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(at, *(_number(point[name]) for name in columns))
    show(table)


def _number(value: float | None) -> str:
    """With as many digits as say something."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
