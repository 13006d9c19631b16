"""Commands at the running supervisor, over its API: found by the note in the data directory's
lock.
"""

from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from supervisor.process.lock import holder
from supervisor.settings import Settings


class CommandFailed(Exception):
    """The supervisor said no, or did not answer; the message is for the operator."""


class Client:
    """A running supervisor's API."""

    def __init__(self, address: str, token: str | None) -> None:
        self._address = address
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    @classmethod
    def of_running(cls, settings: Settings, directory: Path) -> "Client | None":
        """The supervisor that holds the data directory; None: nobody does.

        Raises CommandFailed when it is just starting, or is a command.
        """
        note = holder(directory)
        if note is None:
            return None
        if command := note.get("command"):
            raise CommandFailed(
                f"`{command}` (pid {note.get('pid')}) has the data directory now; try again when"
                " that has ended."
            )
        address = str(note.get("api", ""))
        if not address.startswith("http://"):
            raise CommandFailed(
                f"A supervisor (pid {note.get('pid')}) is just starting; try again in a moment."
            )
        token = settings.api_token
        return cls(_reachable(address), token.get_secret_value() if token else None)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """A call; its JSON. Raises CommandFailed with the error's message and hint."""
        content = None if body is None else msgspec.json.encode(body)
        headers = self._headers | {"Content-Type": "application/json"}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
                http.request(
                    method, self._address + path, data=content, headers=headers
                ) as response,
            ):
                answer = msgspec.json.decode(await response.read())
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            raise CommandFailed(
                f"The supervisor on {self._address} does not answer: {str(error) or 'time-out'}"
            ) from None
        if response.status == HTTPStatus.UNAUTHORIZED:
            raise CommandFailed(
                f"{_told(answer, self._address, response.status)} This command sends the token of"
                " its own settings: set WHATSAPP_API_TOKEN to the one that the supervisor was"
                " started with, or run it as the supervisor's user."
            )
        if response.status >= 400:
            raise CommandFailed(_told(answer, self._address, response.status))
        return answer


def _reachable(address: str) -> str:
    """Who listens on all addresses is reached on the loopback one."""
    return address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _told(answer: Any, address: str, status: int) -> str:
    match answer:
        case {"error": {"message": str(message), "hint": str(hint)}}:
            return f"{message} {hint}"
        case _:
            return (
                f"Something that is no wasup supervisor answered on {address} with status {status}."
            )
