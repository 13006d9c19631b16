"""`wasup report`: how it went in a day, a week, a month, or from a moment to another."""

import sys
import time
from datetime import datetime, tzinfo
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlencode

import typer

from sessions.views.times import iso
from supervisor.cli.common.exits import EXIT_USAGE, CommandFailed, fail
from supervisor.cli.common.moments import seconds_ago
from supervisor.cli.common.output import say
from supervisor.cli.common.private_files import write_private
from supervisor.cli.common.reach import configuration, must_run

SECONDS: Final = 300.0
"""The report of a month of thousands of sessions is read for a while."""
FORMS: Final = ("json", "html", "pdf", "text")
LANGUAGES: Final = ("en", "pt-BR")
_MOMENTS: Final = "30d, 12h, 90m, or a date such as 2027-01-31 or 2027-01-31T08:00"
_BY_ENDING: Final = {
    ".json": "json",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
    ".txt": "text",
    "": "text",
}


def report(
    daily: Annotated[
        bool, typer.Option("--daily", help="Of the last whole day (without any of these, too).")
    ] = False,
    weekly: Annotated[
        bool, typer.Option("--weekly", help="Of the last whole week, from Monday.")
    ] = False,
    monthly: Annotated[bool, typer.Option("--monthly", help="Of the last whole month.")] = False,
    begin: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="From then on."),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--to", metavar="TIME", help="Until then; without it: until now."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORM",
            help="json, html, pdf or text; else as the file's name ends, or text.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there.")
    ] = None,
    language: Annotated[
        str | None,
        typer.Option("--language", metavar="LANGUAGE", help="en or pt-BR; else WHATSAPP_LANGUAGE."),
    ] = None,
) -> None:
    """Say how it went, and what to do: the last whole day, week or month, or any time."""
    settings = configuration()
    kinds = [
        name
        for name, wanted in (("daily", daily), ("weekly", weekly), ("monthly", monthly))
        if wanted
    ]
    if len(kinds) + (begin is not None or end is not None) > 1:
        fail("Say one of --daily, --weekly, --monthly, or --from and --to.", EXIT_USAGE)
    if end is not None and begin is None:
        fail("--to is given without --from.", EXIT_USAGE)
    asked = {"format": _form(form, output)}
    if language is not None:
        if language not in LANGUAGES:
            fail(f"--language is {language[:40]!r}; it accepts en or pt-BR.", EXIT_USAGE)
        asked["language"] = language
    if kinds:
        asked["period"] = kinds[0]
    for name, text in (("from", begin), ("to", end)):
        if text is not None:
            asked[name] = _instant(name, text, settings.zone())
    client = must_run(settings, SECONDS)
    answer = client.ask("GET", f"/reports?{urlencode(asked)}")
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise CommandFailed(client.refusal(answer))
    if output is not None:
        write_private(output, answer.content)  # it names sessions
        say(f"The report is in {output}.")
    elif asked["format"] == "text":
        say(answer.content.decode(), end=False)
    else:
        sys.stdout.buffer.write(answer.content)


def _form(form: str | None, output: Path | None) -> str:
    """As it is said, or as the file's name ends."""
    if form is None and output is not None and output.suffix.lower() not in _BY_ENDING:
        known = ", ".join(ending for ending in _BY_ENDING if ending)
        fail(
            f"--output ends in {output.suffix[:40]!r}; without --format it accepts {known}, or no"
            " ending (text).",
            EXIT_USAGE,
        )
    if form is None:
        form = "text" if output is None else _BY_ENDING[output.suffix.lower()]
    if form not in FORMS:
        fail(f"--format is {form[:40]!r}; it accepts {', '.join(FORMS)}.", EXIT_USAGE)
    if form == "pdf" and output is None and sys.stdout.isatty():
        fail("A terminal cannot show a PDF: say --output FILE.", EXIT_USAGE)
    return form


def _instant(option: str, text: str, zone: tzinfo) -> str:
    """A moment as an operator writes it; a date is meant in the zone of the reports."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            return iso(time.time() - seconds_ago(text))
        except (ValueError, OverflowError):
            fail(f"--{option} is {text[:40]!r}; it accepts {_MOMENTS}.", EXIT_USAGE)
    return iso((at if at.tzinfo else at.replace(tzinfo=zone)).timestamp())
