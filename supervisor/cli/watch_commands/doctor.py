"""`wasup doctor`: what is wrong here, the most important cause first, and what to type about it;
also where no supervisor runs, or can.
"""

import asyncio
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from supervisor.cli.common.client import Client
from supervisor.cli.common.exits import (
    EXIT_FAILED,
    EXIT_USAGE,
    CommandFailed,
    NoSupervisor,
    fail,
)
from supervisor.cli.common.options import Json
from supervisor.cli.common.output import say, show_json
from supervisor.cli.common.private_files import write_private
from supervisor.process.daemon_threads import in_thread
from supervisor.settings import BadSettings, Settings, load

if TYPE_CHECKING:  # the checks' room is loaded when it is needed: it knows all the others
    from supervisor.watch.diagnostics.doctor import Ask, Checked, Examination
    from supervisor.watch.diagnostics.production import Line
    from supervisor.watch.diagnostics.results import Issue

ANSWER_SECONDS: Final = 10.0
"""For each answer of the supervisor that runs."""
WIDTH: Final = 100


def doctor(
    check: Annotated[
        list[str] | None,
        typer.Option("--check", metavar="NAME", help="Only this check; several may be given."),
    ] = None,
    production: Annotated[
        bool,
        typer.Option("--production", help="Go through the checklist before production, too."),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            dir_okay=False,
            help="Write what was found into this file, too; as JSON if it ends in .json.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look for what is wrong: settings, permissions, limits, disks, clock, database, the ways to
    WhatsApp, webhooks, versions.

    Works with and without a running supervisor. Nobody is logged in, nothing is changed. Exit
    status 1 when something needs somebody.
    """
    from supervisor.watch.diagnostics.checks import unknown
    from supervisor.watch.diagnostics.production import PRODUCTION_CHECKS, checklist

    if strange := unknown(check or [], PRODUCTION_CHECKS):
        names = ", ".join(one.name for one in PRODUCTION_CHECKS)
        fail(f"There is no check {', '.join(strange)}. There are: {names}.", EXIT_USAGE)
    found = _found(check or [], production, quiet=as_json)
    lines = checklist(found.checks) if production else None
    document = _document(found, lines)
    if report is not None:
        _write(report, document, found, lines)
    if as_json:
        show_json(document)
    else:
        for line in shown(found, lines, _width()):
            say(line)
        if report is not None:
            say(f"\nThe report is in {report}.")
    if not found.success:
        raise typer.Exit(EXIT_FAILED)


def shown(
    found: "Examination", lines: "Sequence[Line] | None" = None, width: int = WIDTH
) -> Iterator[str]:
    """What was found, for people. Pure."""
    yield _sentence(found)
    for number, issue in enumerate(found.issues, 1):
        yield ""
        yield from _issue(number, issue, width)
    if lines is not None:
        yield from _checklist(lines, width)
    well = [one.name for one in found.checks if one.state == "ok"]
    if well:
        yield ""
        yield from _wrapped("Nothing wrong with: ", ", ".join(well) + ".", width)
    for one in found.checks:
        if one.state == "skipped":
            yield from _wrapped("Not checked: ", f"{one.name}: {one.words}.", width)


def _sentence(found: "Examination") -> str:
    acute = [issue for issue in found.issues if issue.wants_somebody]
    if not acute:
        advice = len(found.issues)
        more = f"; {advice} piece{'' if advice == 1 else 's'} of advice" if advice else ""
        return f"Nothing is wrong{more}."
    first = "1 thing needs" if len(acute) == 1 else f"{len(acute)} things need"
    return f"{first} somebody. The first one is the most important."


def _issue(number: int, issue: "Issue", width: int) -> Iterator[str]:
    yield from _wrapped(f"{number}. {issue.severity.upper()}: ", issue.description, width)
    yield from _wrapped("   What to do: ", issue.solution, width)
    for command in issue.commands:
        yield f"     {command}"  # never wrapped: it is to be pasted


def _checklist(lines: "Sequence[Line]", width: int) -> Iterator[str]:
    phase = None
    for line in lines:
        if line.phase != phase:
            phase = line.phase
            yield ""
            yield phase
        mark = {"ok": "[x]", "not ok": "[ ]", "by hand": "[?]"}[line.verdict]
        yield f"  {mark} {line.verdict:<8} {line.item}: {line.english}"
        if line.verdict != "ok":
            yield from _wrapped("               ", line.words, width)


def _wrapped(head: str, text: str, width: int) -> Iterator[str]:
    yield from textwrap.wrap(
        text,
        width,
        initial_indent=head,
        subsequent_indent=" " * min(len(head), 15),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _found(names: Sequence[str], production: bool, quiet: bool) -> "Examination":
    from supervisor.process import logs
    from supervisor.watch.diagnostics.doctor import concluded
    from supervisor.watch.diagnostics.installation import bad_settings

    # What the rooms below log about what they find is said better by the checks.
    logs.configure("auto", "critical")
    began = time.monotonic()
    try:
        settings = load()
    except BadSettings as error:
        return concluded(_only_settings(bad_settings(error)), time.monotonic() - began, None)
    return asyncio.run(_examined(settings, names, production, quiet))


async def _examined(
    settings: Settings, names: Sequence[str], production: bool, quiet: bool
) -> "Examination":
    from supervisor.watch.diagnostics.checks import CHECKS, chosen, from_outside, usage_of
    from supervisor.watch.diagnostics.doctor import concluded, examine
    from supervisor.watch.diagnostics.production import PRODUCTION_CHECKS

    checks = chosen(names, PRODUCTION_CHECKS if production or names else CHECKS)
    began = time.monotonic()
    async with from_outside(settings, await _ask(settings)) as subject:
        ended = 0

        def tell(one: "Checked") -> None:
            nonlocal ended
            ended += 1
            if not quiet:
                words = {"ok": "ok", "skipped": "not checked"}.get(
                    one.state, f"{len(one.issues)} found"
                )
                say(f"[{ended:>2}/{len(checks)}] {one.name}: {words}", err=True)

        found = await examine(subject, checks, tell)
        usage = await usage_of(subject)
    return concluded(found, time.monotonic() - began, usage)


async def _ask(settings: Settings) -> "Ask | None":
    """The API of the supervisor that runs, if one does and has one."""
    from supervisor.watch.diagnostics.checks import COUNT_SECONDS
    from supervisor.watch.diagnostics.doctor import NotChecked

    try:
        async with asyncio.timeout(COUNT_SECONDS):
            client = await in_thread(
                lambda: Client.of_running(settings, settings.data_dir, ANSWER_SECONDS)
            )
    except (CommandFailed, OSError, ValueError):
        # it is just starting, is a command, is closed to us, or hangs: checks tell of each
        return None
    if client is None:
        return None
    api = client

    async def ask(path: str) -> Any:
        if path == "/readyz":  # its 503 is an answer, too
            return api.decoded(await in_thread(lambda: api.ask("GET", path)))
        try:
            return await in_thread(lambda: api.call("GET", path))
        except NoSupervisor:
            raise
        except CommandFailed as error:
            raise NotChecked(str(error)) from None

    return ask


def _only_settings(issues: "Sequence[Issue]") -> "list[Checked]":
    """Nothing else can be looked at without settings."""
    from supervisor.watch.diagnostics.checks import CHECKS
    from supervisor.watch.diagnostics.doctor import Checked

    why = "the settings cannot be used"
    return [
        Checked(one.name, "found", one.about, 0.0, tuple(issues))
        if one.name == "settings"
        else Checked(one.name, "skipped", why, 0.0)
        for one in CHECKS
    ]


def _document(found: "Examination", lines: "Sequence[Line] | None") -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(found)
    return document if lines is None else document | {"checklist": msgspec.to_builtins(lines)}


def _write(
    file: Path, document: dict[str, Any], found: "Examination", lines: "Sequence[Line] | None"
) -> None:
    """The report of the diagnosis, for nobody else to read. Raises OSError."""
    if file.suffix == ".json":
        text = msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
    else:
        text = "\n".join([f"wasup doctor, {found.timestamp}", "", *shown(found, lines)])
    write_private(file, f"{text}\n".encode(errors="backslashreplace"))


def _width() -> int:
    return min(WIDTH, shutil.get_terminal_size().columns) if sys.stdout.isatty() else WIDTH
