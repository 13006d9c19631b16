"""`wasup webhooks list`, `show` and `deliveries`."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from sessions.views.times import duration
from supervisor.cli.common.options import Json, WebhookName
from supervisor.cli.common.output import say, show, show_json
from supervisor.cli.common.reach import must_run

LABEL: Final = 14


class State(StrEnum):
    """What may have become of an event that was not accepted."""

    BLOCKED = "blocked"
    RETRYING = "retrying"
    DEAD = "dead"
    GAP = "gap"


def list_webhooks(as_json: Json = False) -> None:
    """Show all webhooks: whether each delivers, how far it is behind, and what it could not
    deliver.
    """
    found = must_run().every("/webhooks", "webhooks")
    if as_json:
        show_json(found)
        return
    if not found["webhooks"]:
        say("There is no webhook. `wasup webhooks create URL` adds one.")
        return
    from rich.table import Table

    table = Table("webhook", "state", "behind", "failed", "to", box=None)
    for one in found["webhooks"]:
        failed = one["blocked"] + one["retrying"] + one["dead"] + one["gaps"]
        table.add_row(
            one["id"],
            one["state"] + _because(one),
            str(one["behind"]),
            str(failed or ""),
            _host(one),
        )
    show(table)


def show_webhook(webhook: WebhookName, as_json: Json = False) -> None:
    """Show one webhook: what it is sent, how far it has come, and what its endpoint does."""
    found = must_run().call("GET", f"/webhooks/{webhook}")
    if as_json:
        show_json(found)
        return
    for line in lines(found):
        say(line)


def deliveries(
    webhook: WebhookName,
    state: Annotated[
        State | None, typer.Option(help="Those of one kind alone.", show_choices=True)
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the events that the endpoint has not accepted, its last answer to each, and when each is
    tried next.
    """
    only = "" if state is None else f"&state={state}"
    found = must_run().every(f"/webhooks/{webhook}/deliveries", "deliveries", only)
    if as_json:
        show_json(found)
        return
    if not found["deliveries"]:
        say("Everything that was sent has been accepted, or is under way.")
        return
    from rich.table import Table

    table = Table("row", "event", "state", "tries", "next try", "last answer", box=None)
    for one in found["deliveries"]:
        many = "" if one["lastN"] == one["n"] else f"-{one['lastN']}"
        what = f"{one['n']}{many} {one['session'] or ''} {one['type'] or ''}".strip()
        table.add_row(
            str(one["id"] or ""),
            what,
            one["state"],
            str(one["attempts"]),
            _clock(one["nextTryAt"]),
            one["lastError"] or "",
        )
    show(table)


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """A webhook, line by line. Pure."""
    oldest = found["oldestUndeliveredSeconds"]
    age = "" if oldest is None else f", the oldest for {duration(oldest)}"
    yield f"{found['id']} is {found['state'].upper()}{_because(found)}"
    for label, text in (
        ("To", found["url"]),
        ("For", found["description"]),
        ("Events", ", ".join(found["types"])),
        ("Of", ", ".join(found["sessions"]) or "all sessions, and the fleet"),
        ("Owner", found["owner"]),
        ("Payload", found["payload"]),
        ("Headers", ", ".join(found["headerNames"])),
        ("Came to", f"event {found['cursor']}; {found['behind']} behind{age}"),
        ("Not accepted", _failed(found)),
        ("Failing since", _clock(found["failingSinceAt"])),
        ("Next try", _clock(found["nextTryAt"])),
        ("Last success", _clock(found["lastSuccessAt"])),
        ("Last failure", _last_failure(found)),
    ):
        if text:
            yield f"  {label + ':':<{LABEL}} {text}"


def _because(found: Mapping[str, Any]) -> str:
    """Why it is paused, if it is."""
    return f" ({found['pausedBecause']})" if found["pausedBecause"] else ""


def _failed(found: Mapping[str, Any]) -> str:
    names = {"blocked": "block their session", "retrying": "wait aside", "dead": "are dead"}
    told = [f"{found[name]} {words}" for name, words in names.items() if found[name]]
    if found["gaps"]:
        told.append(f"{found['gaps']} times the log dropped some")
    return "; ".join(told) + (f" (wasup webhooks deliveries {found['id']})" if told else "")


def _last_failure(found: Mapping[str, Any]) -> str:
    at = _clock(found["lastFailureAt"])
    return f"{at}: {found['lastError']}" if at else ""


def _host(found: Mapping[str, Any]) -> str:
    """The URL up to its path, which may hold a secret and be long."""
    parts = urlsplit(found["url"])
    return found["description"] or f"{parts.scheme}://{parts.netloc}"


def _clock(at: str | None) -> str:
    return "" if at is None else at[:19].replace("T", " ")
