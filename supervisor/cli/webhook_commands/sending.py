"""`wasup webhooks test`, `redrive` and `replay`: what is sent now, or once more."""

from typing import Annotated, Any

import typer

from supervisor.cli.common.exits import EXIT_USAGE, fail
from supervisor.cli.common.options import Json, WebhookName
from supervisor.cli.common.output import say, show_json
from supervisor.cli.common.reach import must_run


def send_test(webhook: WebhookName, as_json: Json = False) -> None:
    """Send an event of type webhook.test now, once, and say what came of it; exit status 1 if it
    was not accepted.
    """
    outcome = must_run().call("POST", f"/webhooks/{webhook}/test")
    accepted = outcome["kind"] == "accepted"
    if as_json:
        show_json(outcome)
        raise typer.Exit(0 if accepted else 1)
    if not accepted:
        fail(f"It was not accepted: {outcome['error']}")
    say(f"It was accepted ({outcome['status']}), in {outcome['tookMs']:.0f} ms.")


def redrive(
    webhook: WebhookName,
    failed: Annotated[bool, typer.Option("--failed", help="All that was set aside.")] = False,
    after: Annotated[
        int | None, typer.Option(min=0, help="What was set aside after this event.")
    ] = None,
    rows: Annotated[
        list[int] | None,
        typer.Option("--row", min=1, help="One row of `deliveries`; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Send again now what waits aside or is dead."""
    chosen: dict[str, Any] = {} if after is None else {"after": after}
    chosen |= ({"failed": True} if failed else {}) | ({"ids": rows} if rows else {})
    if len(chosen) != 1:
        fail("Say one of --failed, --after N and --row N.", EXIT_USAGE)
    answer = must_run().call("POST", f"/webhooks/{webhook}/redrive", chosen)
    if as_json:
        show_json(answer)
    else:
        say(f"{answer['redriven']} of `wasup webhooks deliveries {webhook}` are sent again now.")


def replay(
    webhook: WebhookName,
    after: Annotated[int, typer.Option(min=0, help="Everything behind this event.")],
    as_json: Json = False,
) -> None:
    """Send again everything that came after an event, also what was accepted: the ids stay the
    same.
    """
    found = must_run().call("POST", f"/webhooks/{webhook}/replay", {"after": after})
    if as_json:
        show_json(found)
    else:
        say(f"{webhook} goes on behind event {found['cursor']}: {found['behind']} to go.")
