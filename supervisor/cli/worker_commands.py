"""`wasup workers ...`: look at the workers, and roll them over to the installed code."""

import asyncio
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from supervisor.cli.client import Client
from supervisor.cli.command_line import carry_out, configuration, fail, must_run, say, show

LOOK_SECONDS = 0.5

app = typer.Typer(
    no_args_is_help=True, suggest_commands=False, help="The workers of the running supervisor."
)


@app.command("list")
def list_workers() -> None:
    """Show each session's worker, and whether it runs older code than is installed."""
    seen = carry_out(_workers())
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


@app.command()
def roll(
    everybody: Annotated[
        bool, typer.Option("--all", help="Every worker, not only those that run older code.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Stay until it is done.")] = True,
) -> None:
    """Replace workers one at a time: the socket changes hands when the successor is warm, at a
    quiet moment, through the gate.
    """
    ended = carry_out(_roll(everybody, wait))
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


async def _workers() -> Any:
    return await must_run(configuration()).call("GET", "/workers")


async def _roll(everybody: bool, wait: bool) -> Any:
    client = must_run(configuration())
    begun = (await client.call("POST", f"/workers/roll?all={str(everybody).lower()}"))["roll"]
    return await _follow(client, begun) if wait else begun


async def _follow(client: Client, seen: Any) -> Any:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("rolling", total=max(1, seen["total"]))
        while seen["running"]:
            done = seen["replaced"] + len(seen["failed"])
            progress.update(task, completed=done, description=f"replacing {seen['current'] or ''}")
            await asyncio.sleep(LOOK_SECONDS)
            seen = (await client.call("GET", "/workers"))["roll"]
    return seen
