"""Asking before something is done that nobody takes back."""

import sys

import typer

from supervisor.cli.common.exits import EXIT_USAGE, fail


def ask_first(question: str, yes: bool) -> None:
    """Go on if the operator agrees, or has done so with `--yes`; else the command ends.

    Without a terminal nobody can be asked: that is a refusal.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        fail(
            f"{question} There is no terminal to ask on: say --yes if you mean it. Nothing was"
            " done.",
            EXIT_USAGE,
        )
    typer.echo(f"{question} [y/N] ", err=True, nl=False)  # stdout is for answers
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        fail("Nothing was done.")
