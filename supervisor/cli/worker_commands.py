"""`wasup workers ...`: look at the workers, and roll them over to the installed code."""

import time
from typing import Annotated, Any, Final

import typer

from supervisor.cli.common.client import Client
from supervisor.cli.common.exits import fail
from supervisor.cli.common.groups import LazyGroup, Verb, group
from supervisor.cli.common.options import Json
from supervisor.cli.common.output import say, show, show_json
from supervisor.cli.common.reach import must_run

LOOK_SECONDS: Final = 0.5


class WorkerVerbs(LazyGroup):
    """The verbs."""

    verbs = {  # noqa: RUF012 - the base class declares it as one of the class
        "list": Verb("worker_commands", "list_workers", "Show each session's worker"),
        "roll": Verb("worker_commands", "roll", "Replace those that run older code"),
    }


app = group(WorkerVerbs, "The workers of the running supervisor.")


def list_workers(as_json: Json = False) -> None:
    """Show each session's worker, and whether it runs older code than is installed."""
    from rich.table import Table

    seen = must_run().every("/workers", "workers")
    if as_json:
        show_json(seen)
        return
    table = Table("session", "state", "pid", "code", "memory MiB", "lag ms", box=None)
    for worker in seen["workers"]:
        code = f"{worker['code']} (older)" if worker["outdated"] else worker["code"]
        memory = "" if worker["memoryBytes"] is None else f"{worker['memoryBytes'] / 2**20:.0f}"
        lag = "" if worker["lagMs"] is None else f"{worker['lagMs']:.0f}"
        table.add_row(worker["session"], worker["state"], str(worker["pid"]), code, memory, lag)
    show(table)
    if seen["outdated"]:
        say(
            f"{seen['outdated']} run older code than is installed ({seen['code']}), or as another"
            " user or with other permissions than are set: wasup workers roll"
        )


def roll(
    everybody: Annotated[
        bool, typer.Option("--all", help="Every worker, not only those that run older code.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Stay until it is done.")] = True,
    as_json: Json = False,
) -> None:
    """Replace workers one at a time: the socket changes hands when the successor is warm, in an
    idle window, through the gate.
    """
    client = must_run()
    begun = client.call("POST", f"/workers/roll?all={str(everybody).lower()}")
    ended = _follow(client, begun["roll"]) if wait else begun["roll"]
    if as_json:
        show_json({"roll": ended} if wait else begun)
    else:
        say(ended["words"])
    if wait and ended["replaced"] < ended["total"] and not ended["failed"]:
        fail(
            "The roll broke off (see the supervisor's log). What was replaced stays so; run it"
            " again for the others."
        )
    if ended["failed"]:
        fail(
            "Not replaced: "
            + ", ".join(ended["failed"])
            + ". They go on as they are; run it again later."
        )


def _follow(client: Client, seen: Any) -> Any:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("rolling", total=max(1, seen["total"]))
        while seen["running"]:
            done = seen["replaced"] + len(seen["failed"])
            progress.update(task, completed=done, description=f"replacing {seen['current'] or ''}")
            time.sleep(LOOK_SECONDS)
            seen = client.call("GET", "/workers")["roll"]
    return seen
