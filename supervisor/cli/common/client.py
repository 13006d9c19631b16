"""Commands at the running supervisor, over its API: found by the note in the data directory's
lock.

By the standard library's HTTP client: the API's own library takes longer to load than most commands
run.
"""

import difflib
import http.client
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec

from supervisor.cli.common.exits import CommandFailed, NoSupervisor
from supervisor.process.lock import holder

if TYPE_CHECKING:
    from supervisor.settings import Settings

ANSWER_SECONDS: Final = 75.0
"""More than the API itself waits for anything (`?wait=60`)."""
PAGE: Final = 1000
"""Entries that are asked for at a time."""
SIMILAR: Final = 3
"""Ids that are named when somebody has mistyped one."""
HOW_TO_START: Final = (
    "start it (`wasup run`, `pm2 start ecosystem.config.js`, `systemctl start wasup`), or say where"
    " it is: --directory, or WHATSAPP_DATA_DIR."
)


class Answer(NamedTuple):
    """What the API has answered."""

    status: int
    content: bytes


class Client:
    """A running supervisor's API."""

    def __init__(
        self, address: str, token: str | None, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        self.address = address
        self._answer_seconds = answer_seconds
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    @classmethod
    def of_running(
        cls, settings: "Settings", directory: Path, answer_seconds: float = ANSWER_SECONDS
    ) -> "Client | None":
        """The supervisor that holds the data directory; None: nobody does.

        Raises NoSupervisor when it is just starting, or is a command.
        """
        note = holder(directory)
        if note is None:
            return None
        if command := note.get("command"):
            raise NoSupervisor(
                f"`{command}` (pid {note.get('pid')}) has the data directory now; try again when"
                " that has ended."
            )
        address = str(note.get("api", ""))
        if not address.startswith("http://"):
            raise NoSupervisor(
                f"A supervisor (pid {note.get('pid')}) is just starting; try again in a moment."
            )
        token = settings.api_token
        return cls(_reachable(address), token.get_secret_value() if token else None, answer_seconds)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A call; its JSON. Raises CommandFailed with the error's message and hint."""
        answer = self.ask(method, path, body)
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise CommandFailed(self.refusal(answer))
        return self.decoded(answer)

    def ask(
        self, method: str, path: str, body: Any = None, accept: str = "application/json"
    ) -> Answer:
        """A call whose refusal is an answer, too. Raises NoSupervisor."""
        content = None if body is None else msgspec.json.encode(body)
        where = urlsplit(self.address)
        connection = http.client.HTTPConnection(
            where.hostname or "", where.port, timeout=self._answer_seconds
        )
        try:
            connection.request(method, path, content, self._headers | {"Accept": accept})
            response = connection.getresponse()
            return Answer(response.status, response.read())
        except TimeoutError:
            raise self._silent("time-out") from None
        except (http.client.HTTPException, OSError) as error:
            raise self._silent(str(error) or type(error).__name__) from None
        finally:
            connection.close()

    def refusal(self, answer: Answer) -> str:
        """What the API has refused, in its own words, with its hint.

        Raises NoSupervisor when it is no answer of ours.
        """
        match self.decoded(answer):
            case {"error": {"code": str(code), "message": str(message), "hint": str(hint)}}:
                words = f"{message} {hint}"
                if code == "session_not_found":
                    words += self._similar(message)
            case _:
                raise NoSupervisor(
                    f"Something that is no wasup supervisor answered on {self.address} with status"
                    f" {answer.status}."
                )
        if answer.status == HTTPStatus.UNAUTHORIZED:
            words += (
                " This command sends the token of its own settings: set WHATSAPP_API_TOKEN to the"
                " one that the supervisor was started with, or run it as the supervisor's user."
            )
        return words

    def every(self, path: str, name: str, only: str = "", page_size: int = PAGE) -> Any:
        """A list of the API, all its pages as one answer; `name`: of its field with the entries;
        `only`: more of the query, with its `&`; `page_size`: no more than the route allows.

        Raises CommandFailed.
        """
        first = page = self.call("GET", f"{path}?limit={page_size}{only}")
        entries = list(first[name])
        while page.get("next") is not None:  # one of the version before has a single page
            after = quote(str(page["next"]))
            page = self.call("GET", f"{path}?limit={page_size}&after={after}{only}")
            entries += page[name]
        return first | {name: entries, "next": None}

    def session_ids(self) -> list[str]:
        """Which sessions there are. Raises CommandFailed."""
        return [str(session["id"]) for session in self.every("/sessions", "sessions")["sessions"]]

    def webhook_ids(self) -> list[str]:
        """Which webhooks there are. Raises CommandFailed."""
        return [str(one["id"]) for one in self.every("/webhooks", "webhooks")["webhooks"]]

    def _similar(self, message: str) -> str:
        """Which ids look like the one that a message speaks of."""
        known = self.session_ids()
        if not known:
            return " There is none yet: `wasup sessions create ID`."
        near = {
            name
            for word in message.split()
            for name in difflib.get_close_matches(word.strip("'\"."), known, SIMILAR)
        }
        return f" Is it {' or '.join(sorted(near))}?" if near else ""

    def decoded(self, answer: Answer) -> Any:
        """The JSON of an answer. Raises NoSupervisor when it is none."""
        try:
            return msgspec.json.decode(answer.content)
        except msgspec.DecodeError as error:
            raise self._silent(str(error)) from None

    def _silent(self, why: str) -> NoSupervisor:
        return NoSupervisor(
            f"The supervisor on {self.address} does not answer: {why.rstrip('.')}. Its log says"
            " more (`pm2 logs wasup`, `journalctl -u wasup`)."
        )


def _reachable(address: str) -> str:
    """Who listens on all addresses is reached on the loopback one."""
    return address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
