"""The stand-in server as a process, and its admin API (docs/standin.md)."""

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from scripts.lab.processes import NODE, ROOT, LabError, Process, eventually, last_lines


@dataclass(slots=True)
class StandIn:
    """A running stand-in."""

    process: Process
    directory: Path
    url: str
    admin: str
    root_key: str
    _http: aiohttp.ClientSession
    since: int = 0
    """Entries of the log up to this number are somebody else's, an earlier test's for example, and
    are not shown.
    """
    paired: list[str] = field(default_factory=list)
    """Sessions that the laboratory has paired and seen open: each has a login in the log."""

    @classmethod
    async def start(cls, directory: Path, port: int = 0) -> "StandIn":
        """Start it; paired devices are kept in the directory. Raises LabError."""
        directory.mkdir(parents=True, exist_ok=True)
        output = directory / "standin.out"
        output.unlink(missing_ok=True)
        main = ROOT / "scripts" / "standin" / "main.js"
        files = ["--state", str(directory / "state.json"), "--log", str(directory / "log.ndjson")]
        process = await Process.start(
            [NODE, str(main), "--port", str(port), *files], os.environ, output
        )

        async def ready() -> dict[str, Any]:
            if process.status is not None:
                raise LabError(
                    f"the stand-in ended with status {process.status}:\n{process.tail()}"
                )
            first = output.read_text().partition("\n")
            return json.loads(first[0]) if first[1] else {}

        try:
            said = await eventually(ready, what="the stand-in")
        except BaseException:
            await process.end()
            raise
        return cls(
            process,
            directory,
            said["url"],
            said["admin"],
            said["root_key"],
            aiohttp.ClientSession(),
        )

    def last_words(self, lines: int = 40) -> dict[str, str]:
        """The last lines of its output and of its log, by file."""
        files = (self.process.output, self.directory / "log.ndjson")
        return {str(file): last_lines(file, lines) for file in files}

    async def close(self) -> None:
        """End it."""
        await self._http.close()
        await self.process.end()

    def environment(self) -> dict[str, str]:
        """The settings that aim a supervisor at it."""
        return {"WHATSAPP_WEB_SOCKET_URL": self.url, "WHATSAPP_NOISE_ROOT_KEY": self.root_key}

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """A call of the admin API. Raises LabError when it is refused."""
        async with self._http.request(method, self.admin + path, json=body) as response:
            answer = await response.json()
            if response.status >= 400:
                raise LabError(f"{method} {path} {body}: {response.status} {answer}")
            return answer

    async def scan(self, qr: str, name: str = "Loja") -> str:
        """Play the phone that scans; the device's JID."""
        return str((await self.call("POST", "/scan", {"qr": qr, "name": name}))["jid"])

    async def fault(self, fault: str, session: str | None = None, **parameters: Any) -> None:
        """Make a fault, for one session or for all."""
        target = {} if session is None else {"session": session}
        await self.call("POST", "/faults", {"fault": fault, **target, **parameters})

    async def mend(self) -> None:
        """End all standing faults."""
        await self.call("DELETE", "/faults")

    async def send_text(self, session: str, sender: str, text: str) -> str:
        """A text from a phone to the session; the message's id."""
        return str(
            (
                await self.call(
                    "POST", "/send-text", {"session": session, "from": sender, "text": text}
                )
            )["id"]
        )

    async def messages(self, session: str) -> list[dict[str, Any]]:
        """What came out of the session, decrypted as the recipient's phone."""
        return list(await self.call("GET", f"/messages?session={session}"))

    async def from_now_on(self) -> "StandIn":
        """The same stand-in, with a log that begins now."""
        return replace(self, since=await self.last_entry())

    async def last_entry(self) -> int:
        """The number of the log's newest entry."""
        entries = (await self.call("GET", "/log?after=0"))["entries"]
        return int(entries[-1]["n"]) if entries else 0

    async def log(
        self, *events: str, session: str | None = None, after: int = 0
    ) -> list[dict[str, Any]]:
        """The ground-truth log, or only these events of it."""
        entries = (await self.call("GET", f"/log?after={max(after, self.since)}"))["entries"]
        return [
            entry
            for entry in entries
            if (not events or entry["event"] in events)
            and (session is None or entry.get("session") == session)
        ]
