"""`wasup upkeep ...`: what is done by the clock, what came of it, and doing it now."""

import time
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from sessions.views.times import duration
from supervisor.cli.common.client import Client
from supervisor.cli.common.exits import fail
from supervisor.cli.common.groups import LazyGroup, Verb, group
from supervisor.cli.common.options import Json
from supervisor.cli.common.output import say, show, show_json
from supervisor.cli.common.reach import must_run

LOOK_SECONDS: Final = 0.5


class UpkeepVerbs(LazyGroup):
    """The verbs."""

    verbs = {  # noqa: RUF012 - the base class declares it as one of the class
        "list": Verb("upkeep_commands", "list_jobs", "Show the jobs and what came of them"),
        "run": Verb("upkeep_commands", "run", "Run a job now"),
    }


app = group(UpkeepVerbs, "Backups, clean-up and other work by the clock.")


def list_jobs(as_json: Json = False) -> None:
    """Show what is done by the clock: when each job is due, and what came of its last run."""
    from rich.table import Table

    seen = must_run().every("/upkeep", "jobs")
    if as_json:
        show_json(seen)
        return
    zone = datetime.now().astimezone().tzname()
    table = Table("job", "schedule", f"next ({zone})", f"last ({zone})", "result", box=None)
    for job in seen["jobs"]:
        last = job["runs"][0] if job["runs"] else None
        table.add_row(
            job["name"],
            job["schedule"],
            "" if job["nextAt"] is None else _local(job["nextAt"]),
            "never" if last is None else f"{_local(last['beganAt'])} {_state(last)}",
            "" if last is None else last["result"],
        )
    show(table)


def run(
    name: Annotated[str, typer.Argument(help="Which job; see `wasup upkeep list`.")],
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Stay until it is done.")] = True,
    as_json: Json = False,
) -> None:
    """Run a job now, whatever its schedule, and say what came of it.

    Exit status 1 if it has failed.
    """
    client = must_run()
    before = _run_of(client.call("POST", f"/upkeep/{quote(name, safe='')}"))
    if not wait:
        say(f"The job {name} has begun: wasup upkeep list")
        return
    ended = _follow(client, name, before)
    if as_json:
        show_json(ended)
        raise typer.Exit(0 if ended["outcome"] == "ok" else 1)
    took = "" if ended["durationSeconds"] is None else f" ({duration(ended['durationSeconds'])})"
    if ended["outcome"] != "ok":
        fail(f"{name}: {ended['result']}")
    say(f"{name}: {ended['result']}{took}")


def _follow(client: Client, name: str, before: str) -> Any:
    """The run by hand that began after that, when it has ended."""
    while True:
        jobs = client.every("/upkeep", "jobs")["jobs"]
        job = next(job for job in jobs if job["name"] == name)
        mine = [run for run in job["runs"] if run["byHand"] and run["beganAt"] > before]
        if mine and mine[-1]["outcome"] is not None:
            return mine[-1]
        if not mine and not job["running"]:
            fail(f"The job {name} was called off before it began.")
        time.sleep(LOOK_SECONDS)


def _run_of(job: Any) -> str:
    """When the newest run began that was there before."""
    return str(job["runs"][0]["beganAt"]) if job["runs"] else ""


def _state(run: Any) -> str:
    return run["outcome"] or "under way"


def _local(iso: str) -> str:
    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M:%S")
