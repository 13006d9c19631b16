"""`wasup sessions qr` and `wasup sessions pair`: until a phone has linked the session."""

import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from sessions.model import ON_ITS_WAY, SessionId, SessionState, parse_session_id
from supervisor.cli.common.client import Client
from supervisor.cli.common.exits import CommandFailed
from supervisor.cli.common.options import Json, Png, SessionName
from supervisor.cli.common.output import say, show_json
from supervisor.cli.common.reach import must_run
from supervisor.cli.session_commands.table import number_of

LOOK_SECONDS: Final = 1.0
"""A QR lives for 20 s at least."""
ON_THE_PHONE: Final = (
    "On the phone: WhatsApp > Settings > Linked devices > Link a device. The QR renews itself;"
    " Ctrl-C ends the waiting, and the session goes on."
)
TYPE_IT: Final = (
    "On the phone: WhatsApp > Settings > Linked devices > Link a device > Link with phone number"
    " instead, and type it. A notification of WhatsApp leads there, too. Ctrl-C ends the waiting,"
    " and the session goes on."
)
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")

Shown = Callable[[], None]


def show_qr(session: SessionName, png: Png = None, as_json: Json = False) -> None:
    """Show the QR of a session here, and renew it until a phone has scanned it.

    --json prints the QR that is shown now, and does not stay.
    """
    client, name = must_run(), parse_session_id(session)
    if as_json:
        show_json(client.call("GET", f"/sessions/{name}/qr?wait=60"))
    else:
        until_paired(client, name, png)


def pair(
    session: SessionName,
    phone: Annotated[
        str, typer.Option(metavar="NUMBER", help="The phone's number, with its country code.")
    ],
    as_json: Json = False,
) -> None:
    """Show a code that links the session when it is typed on that phone, and stay until it was.

    --json prints the code, and does not stay.
    """
    client, name = must_run(), parse_session_id(session)
    _until(client, name, lambda: None, SessionState.QR)
    answer = client.call("POST", f"/sessions/{name}/pairing-code", {"phone": phone})
    if as_json:
        show_json(answer)
        return
    code = _Code(client, name, answer["code"])
    code.say()
    say(TYPE_IT)
    _until(client, name, code.renew, SessionState.OPEN)


def until_paired(client: Client, session: SessionId, png: Path | None) -> None:
    """Show the QR, here or in a file, whenever it changes; come back when a phone has scanned it.

    Raises CommandFailed when the session comes to rest without.
    """
    shown = _Drawn(client, session) if png is None else _Written(client, session, png)
    _until(client, session, shown.renew, SessionState.OPEN)


def _until(client: Client, session: SessionId, in_qr: Shown, wanted: SessionState) -> None:
    """Look until the session is where it is wanted; `in_qr` is called while it waits for a
    phone.
    """
    said = None
    while True:
        seen = client.call("GET", f"/sessions/{session}")
        state = SessionState(seen["state"])
        if state is SessionState.OPEN:
            number = number_of(seen)
            words = f"{session} is open" + (f": it is linked to {number}." if number else ".")
            if wanted is not SessionState.OPEN:
                raise CommandFailed(f"{words} For another number create another session.")
            say(words)
            return
        if state is SessionState.QR:
            in_qr()
        elif state not in ON_ITS_WAY:
            raise CommandFailed(_at_rest(seen))
        if state is wanted:
            return
        if state in ON_ITS_WAY and state is not said:
            say(f"{session} is {state} ...", err=True)
        said = state
        time.sleep(LOOK_SECONDS)


def _at_rest(seen: Mapping[str, Any]) -> str:
    name, state = seen["id"], seen["state"]
    if state == SessionState.STOPPED:
        return f"{name} is stopped and shows no QR: `wasup sessions start {name}` first."
    return f"{name} is {state} and shows no QR. {seen['reconnection']['humanAction']}"


def _present(client: Client, session: SessionId, form: str) -> bytes | None:
    """The QR that is shown now; None while there is none, between two say."""
    answer = client.ask("GET", f"/sessions/{session}/qr", accept=form)
    if answer.status == HTTPStatus.CONFLICT:
        return None
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise CommandFailed(client.refusal(answer))
    return answer.content


class _Drawn:
    """The QR on the terminal: a new one takes the place of the one before."""

    def __init__(self, client: Client, session: SessionId) -> None:
        self._client = client
        self._session = session
        self._lines: list[str] = []
        self._below = 0
        """Rows of the terminal that it took."""

    def renew(self) -> None:
        """Draw it, if it is another one."""
        content = _present(self._client, self._session, "text/plain")
        if content is None:
            return
        lines = [line for line in content.decode().splitlines() if line.startswith("\x1b")]
        if lines == self._lines:
            return
        self._lines = lines
        terminal, width = shutil.get_terminal_size(), len(_COLOURS.sub("", lines[0]))
        if not sys.stdout.isatty():
            typer.echo("\n".join(_COLOURS.sub("", line) for line in lines))
        elif terminal.columns < width:
            say(
                f"The terminal has {terminal.columns} columns and the QR needs {width}: widen it,"
                f" or use --png FILE, or open {self._client.address}/sessions/{self._session}/qr"
                " in a browser."
            )
            return
        else:
            again = f"\x1b[{self._below}F\x1b[J" if 0 < self._below < terminal.lines else ""
            typer.echo(again + "\n".join(lines))
            self._below = len(lines) + -(-len(ON_THE_PHONE) // terminal.columns)
        say(ON_THE_PHONE)


class _Written:
    """The QR in a file, whole whenever somebody looks."""

    def __init__(self, client: Client, session: SessionId, file: Path) -> None:
        self._client = client
        self._session = session
        self._file = file
        self._content = b""

    def renew(self) -> None:
        """Write it, if it is another one. Raises OSError."""
        content = _present(self._client, self._session, "image/png")
        if content is None or content == self._content:
            return
        draft = self._file.with_name(f".{self._file.name}.new")
        draft.write_bytes(content)
        draft.replace(self._file)
        if not self._content:
            say(f"The QR is in {self._file}. {ON_THE_PHONE}")
        self._content = content


class _Code:
    """The pairing code; WhatsApp may retire it, and another takes its place."""

    def __init__(self, client: Client, session: SessionId, code: str) -> None:
        self._client = client
        self._session = session
        self._code = code

    def say(self) -> None:
        """Print it as the phone asks for it."""
        say(f"Code for {self._session}: {self._code[:4]}-{self._code[4:]}")

    def renew(self) -> None:
        """Print it, if it is another one."""
        answer = self._client.ask("GET", f"/sessions/{self._session}/qr")
        if answer.status >= HTTPStatus.BAD_REQUEST:
            return  # between two codes there is none; the session's state says what comes of it
        code = self._client.decoded(answer)["pairingCode"]
        if code and code != self._code:
            self._code = code
            self.say()
