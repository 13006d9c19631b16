"""`wasup policy ...`: look at the table, check a policy file, see what it would have changed, put
it in force.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec
import typer

from sessions.model import BadPolicy, CloseReason, SessionId, parse_session_id
from sessions.policy import Config, Decision, Recorded, Replay, Rules, as_toml, overridden, replay
from supervisor.cli.common.client import Client
from supervisor.cli.common.completion import session_ids
from supervisor.cli.common.exits import EXIT_CONFIG, CommandFailed, fail
from supervisor.cli.common.groups import LazyGroup, Verb, group
from supervisor.cli.common.options import Json
from supervisor.cli.common.output import say, show, show_json
from supervisor.cli.common.reach import configuration, must_run, running
from supervisor.fleet.policy_file import in_sentences, read_rules
from supervisor.settings import Settings

PAGE: Final = 500
"""Incidents asked for at a time."""


class PolicyVerbs(LazyGroup):
    """The verbs."""

    verbs = {  # noqa: RUF012 - the base class declares it as one of the class
        "show": Verb("policy_commands", "show_policy", "Print the policy as TOML"),
        "check": Verb("policy_commands", "check", "Say whether a file can be used"),
        "replay": Verb("policy_commands", "replay_policy", "Judge recorded closes by a file"),
        "reload": Verb("policy_commands", "reload", "Have the supervisor read its file again"),
    }


app = group(PolicyVerbs, "What is done after a close, and changing it.")

PolicyFile = Annotated[Path, typer.Option("--file", help="The policy file (TOML).")]


class RecordedClose(msgspec.Struct, rename="camel"):
    """A close of a recorded incident, as GET /incidents shows it."""

    at: float | datetime
    reason: CloseReason
    was_open: bool = False
    was_stable: bool = False
    expire_seconds: float | None = None
    excused: bool = False


class Incident(msgspec.Struct, rename="camel"):
    """A recorded incident, as far as a replay needs it; without a session it is the fleet's."""

    id: int
    session: str | None
    closes: list[RecordedClose]


def show_policy(
    file: Annotated[
        Path | None, typer.Option("--file", help="With this file in place of WHATSAPP_POLICY_FILE.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the whole policy as TOML, what is the default marked: the one in force, or, without a
    supervisor, the one that would be.
    """
    settings = configuration()
    client = running(settings) if file is None else None
    if client is not None:
        shown = client.call("GET", "/policy")
    else:
        rules = _rules(file or settings.policy_file)
        shown = {"toml": as_toml(settings.policy_config(rules))}
    if as_json:
        show_json(shown)
    else:
        say(shown["toml"], end=False)


def check(file: PolicyFile, as_json: Json = False) -> None:
    """Say whether a policy file can be used, and what it changes."""
    changed = in_sentences(_rules(file))
    if as_json:
        show_json({"file": str(file), "changed": changed})
        return
    say(
        f"{file} can be used. It changes "
        + ("nothing." if not changed else f"{len(changed)} values:")
    )
    for sentence in changed:
        say(f"  {sentence}")


def replay_policy(
    file: PolicyFile,
    session: Annotated[
        str | None,
        typer.Option(help="Only the closes of this session.", autocompletion=session_ids),
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge the recorded closes by the policy in force and by a changed one, and show where they
    differ. Changes nothing.
    """
    found = _compare(configuration(), _rules(file), session)
    if as_json:
        show_json(_document(found))
        return
    if found.differences:
        from rich.table import Table

        table = Table("when", "session", "reason", "now", f"with {file.name}", box=None)
        for each in found.differences:
            close = each.close
            when = _iso(close.at_seconds)
            cells = (
                when,
                each.session,
                close.reason,
                _in_words(each.before),
                _in_words(each.after),
            )
            table.add_row(*cells)
        show(table)
    say(_summary(found))


def reload(as_json: Json = False) -> None:
    """Have the running supervisor read its policy file again; no session is restarted, and a bad
    file changes nothing.
    """
    answer = must_run().call("POST", "/policy/reload")
    if as_json:
        show_json(answer)
        return
    changed = answer["changed"]
    say("Reloaded; nothing differs." if not changed else "Reloaded; from the next close on:")
    for sentence in changed:
        say(f"  {sentence}")


def recorded_closes(incidents: Iterable[Incident]) -> dict[str, list[Recorded]]:
    """Each session's closes; the fleet's own incidents have none."""
    closes: dict[str, list[Recorded]] = {}
    for incident in incidents:
        if incident.session is None:
            continue
        closes.setdefault(incident.session, []).extend(
            Recorded(
                at_seconds=close.at.timestamp() if isinstance(close.at, datetime) else close.at,
                reason=close.reason,
                was_open=close.was_open,
                was_stable=close.was_stable,
                expire_seconds=close.expire_seconds,
                covered=close.excused,
            )
            for close in incident.closes
        )
    return closes


def _rules(file: Path | None) -> Rules:
    """A file's table, or the end of the command."""
    try:
        return read_rules(file)
    except BadPolicy as error:
        fail(f"{error}\n{error.hint}", EXIT_CONFIG)


def _in_force(client: Client) -> str:
    return str(client.call("GET", "/policy")["toml"])


def _compare(settings: Settings, after: Rules, session: str | None) -> Replay:
    only, client = None if session is None else parse_session_id(session), must_run(settings)
    closes = recorded_closes(_incidents(client, only))
    config: Config = settings.policy_config(overridden(_in_force(client)))
    return replay(closes, config, replace(config, rules=after))


def _incidents(client: Client, session: SessionId | None) -> list[Incident]:
    found: list[Incident] = []
    only = "" if session is None else f"&session={quote(session, safe='')}"
    while True:
        after = found[-1].id if found else 0
        answer = client.call("GET", f"/incidents?after={after}&limit={PAGE}{only}")
        try:
            page = msgspec.convert(answer["incidents"], list[Incident])
        except (KeyError, msgspec.ValidationError) as error:
            raise CommandFailed(
                f"The supervisor's incidents cannot be read by this version: {error}"
            ) from None
        if not page:
            return found
        found += page


def _document(found: Replay) -> Any:
    """A replay for programs."""
    return {
        "judged": found.judged,
        "differences": [
            {
                "at": _iso(each.close.at_seconds),
                "session": each.session,
                "reason": each.close.reason,
                "before": _in_words(each.before),
                "after": _in_words(each.after),
            }
            for each in found.differences
        ],
        "before": found.before,
        "after": found.after,
    }


def _iso(at_seconds: float) -> str:
    return datetime.fromtimestamp(at_seconds, UTC).isoformat(timespec="milliseconds")


def _in_words(decision: Decision) -> str:
    wait = "" if decision.wait_seconds is None else f" in {decision.wait_seconds:.1f} s"
    charged = f", charged {decision.counts}" if decision.counts else ""
    breaker = ", opens the breaker" if decision.opens_breaker else ""
    return f"{decision.action.value}{wait}{charged}{breaker} ({decision.rule})"


def _summary(found: Replay) -> str:
    before, after = found.before, found.after
    return (
        f"{found.judged} closes judged, {len(found.differences)} differently. Tries {before.tries}"
        f" -> {after.tries}, their waits {before.waits_seconds:.0f} s -> {after.waits_seconds:.0f}"
        f" s, failures charged {before.charged} -> {after.charged}, parked {before.parked} ->"
        f" {after.parked}."
    )
