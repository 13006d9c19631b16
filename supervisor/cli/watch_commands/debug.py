"""`wasup debug ...`: looking into the running supervisor."""

from typing import Annotated, Any

import typer
from rich.table import Table

from supervisor.cli.common.groups import LazyGroup, Verb, group
from supervisor.cli.common.options import Json
from supervisor.cli.common.output import say, show, show_json
from supervisor.cli.common.reach import must_run


class DebugVerbs(LazyGroup):
    """The verbs."""

    verbs = {  # noqa: RUF012 - the base class declares it as one of the class
        "memory": Verb("watch_commands.debug", "memory", "Where the supervisor allocates memory"),
    }


app = group(DebugVerbs, "Look into the running supervisor.")


def memory(
    seconds: Annotated[
        float, typer.Option(min=0.1, max=60.0, help="For how long to trace.")
    ] = 10.0,
    as_json: Json = False,
) -> None:
    """Trace for some seconds where the supervisor allocates memory, and show the lines that hold
    most of it. All else is slower meanwhile.
    """
    seen: Any = must_run(answer_seconds=seconds + 30.0).call(
        "POST", f"/debug/memory?seconds={seconds:g}"
    )
    if as_json:
        show_json(seen)
        return
    say(
        f"In {seen['seconds']:g} s: {seen['currentBytes'] / 1024:,.0f} KiB more are held, at most"
        f" {seen['peakBytes'] / 1024:,.0f} KiB were."
    )
    table = Table("line", "pieces", "KiB", box=None)
    for one in seen["allocations"]:
        table.add_row(one["line"], f"{one['count']:,}", f"{one['sizeBytes'] / 1024:,.1f}")
    show(table)
