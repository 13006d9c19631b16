"""`wasup capacity`: how many more sessions fit on the running supervisor's host, which limit ends
first, and what to change.
"""

from typing import Annotated, Any, Final

import typer
from rich.table import Table

from supervisor.cli.common.options import Json
from supervisor.cli.common.output import say, show, show_json
from supervisor.cli.common.reach import must_run
from supervisor.host.needs.capacity import amount, duration
from supervisor.host.needs.requirements import SESSIONS_MOST

BAR_CELLS: Final = 24


def capacity(
    sessions: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=SESSIONS_MOST,
            help="What is missing for so many sessions in all? Exit status 1 if anything is.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say how many more sessions fit on this host, which limit ends first, and what to change."""
    seen = must_run().call("GET", "/capacity" + (f"?sessions={sessions}" if sessions else ""))
    if as_json:
        show_json(seen)
    else:
        say(seen["words"] + "\n")
        show(_limits(seen["limits"]))
        say()
        show(_storms(seen["storms"]))
        for row in seen["limits"]:
            if row["missing"]:
                say(
                    f"\n{row['name']}: {amount(row['missing'], row['unit'])} missing."
                    f" {row['remedy']}"
                )
    if sessions is not None and not seen["fits"]:
        raise typer.Exit(1)


def bar(used: float, kept: float, maximum: float | None, cells: int = BAR_CELLS) -> str:
    """A limit as a bar: `#` in use, `.` free, `/` kept for the alert (or for others).

    Pure; empty when there is no limit.
    """
    if not maximum:
        return ""
    in_use = min(cells, round(cells * used / maximum))
    kept_cells = min(cells - in_use, round(cells * kept / maximum))
    return "#" * in_use + "." * (cells - in_use - kept_cells) + "/" * kept_cells


def _limits(rows: list[dict[str, Any]]) -> Table:
    table = Table("limit", "in use", "", "of", "a session", "more sessions", "", box=None)
    for row in rows:
        maximum, unit, need = row["maximum"], row["unit"], row["perSession"]
        table.add_row(
            row["name"],
            amount(row["used"], unit),
            bar(row["used"], row["kept"], maximum),
            "no limit" if maximum is None else amount(maximum, unit),
            amount(need["value"], unit) + _basis(need),
            "no end" if row["moreSessions"] is None else f"{row['moreSessions']:,}",
            "<- ends first" if row is rows[0] and row["moreSessions"] is not None else "",
        )
    return table


def _storms(storms: list[dict[str, Any]]) -> Table:
    table = Table(
        "all log in again",
        "CPU of a login",
        "by the gate's rate",
        "by the CPU",
        "all back, at best",
        box=None,
    )
    for storm in storms:
        login = storm["cpuSecondsPerLogin"]
        table.add_row(
            storm["name"],
            f"{login['value']:.2f} s{_basis(login)}",
            duration(storm["gateSeconds"]),
            duration(storm["cpuSeconds"]),
            f"{duration(storm['seconds'])} ({storm['decidedBy']})",
        )
    return table


def _basis(figure: dict[str, Any]) -> str:
    if figure["byDesign"]:
        return ""
    return " (assumed)" if figure["assumed"] else f" (of {figure['samples']})"
