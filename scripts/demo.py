"""`make demo`: the whole thing on one screen (80 by 24 will do), against the stand-in.

Real supervisor, real workers, real Baileys; only WhatsApp is played.

Five sessions are paired by played phones, text both ways, and are then hit by a drop, an outage,
two kill -9 (of a worker, then of the supervisor itself) and an unlink; each is healed or explained
before your eyes. It stays up until Ctrl-C. DEMO_SECONDS=n ends it by itself, n seconds after its
start but not before the story is told; the exit status is 0 only if everything healed.
"""

import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scripts.lab import LabError, StandIn, Supervisor, eventually, unless_stopped

SESSIONS: Final = tuple(f"loja-{n}" for n in range(1, 6))
STEP_SECONDS: Final = 90.0
"""No fault may take longer to heal; each usually takes a few seconds."""
OUTAGE_SECONDS: Final = 4
COLOURS: Final = {
    "open": "green",
    "parked": "red",
    "qr": "cyan",
    "waiting": "yellow",
    "held": "yellow",
}


WIDE: Final = 110
"""Columns of a terminal from which on the account and the rule are shown, too."""


@dataclass(slots=True)
class Screen:
    """What is shown: the story, line by line, and below it a table that stays.

    Plain lines where there is no terminal.
    """

    console: Console = field(default_factory=Console)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    live: Live | None = None
    now: str = ""
    """What is under way."""
    messages: Counter[str] = field(default_factory=Counter)
    _counted: dict[str, int] = field(default_factory=dict)
    """What each session's counter showed last; it begins anew with each supervisor."""

    def tell(self, mark: str, text: str, style: str = "") -> None:
        """Add a line to the story.

        It scrolls, however small the terminal is; the table stays below.
        """
        self.console.print(Text(f"{mark} {text}", style=style))

    def begin(self, text: str) -> None:
        """Say what is under way."""
        self.now = text
        if self.live is not None:
            self.live.update(self.draw())
        elif text:
            self.console.print(Text(f"… {text}", style="dim"))

    def see(self, sessions: list[dict[str, Any]]) -> None:
        """The sessions as they are now."""
        self.sessions = sessions
        for session in sessions:
            shown, before = (
                session["performance"]["messagesProcessed"],
                self._counted.get(session["id"], 0),
            )
            self.messages[session["id"]] += shown - before if shown >= before else shown
            self._counted[session["id"]] = shown
        if self.live is not None:
            self.live.update(self.draw())

    def draw(self) -> Group:
        """The part that stays: a table of the sessions, and what is under way."""
        wide = self.console.width >= WIDE
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("session", "state", *(["account"] if wide else []), "why closed last"):
            table.add_column(name, no_wrap=True)
        for name in (*(["rule applied"] if wide else []), "messages", "worker"):
            table.add_column(name, no_wrap=True)
        for session in self.sessions:
            last = session["reconnection"]
            code = f" ({last['closeCode']})" if last["closeCode"] else ""
            table.add_row(
                session["id"],
                Text(session["state"], style=COLOURS.get(session["state"], "")),
                *([(session["jid"] or "").partition("@")[0]] if wide else []),
                (last["closeReason"] or "") + code,
                *([last["rule"] or ""] if wide else []),
                str(self.messages[session["id"]]),
                str(session["performance"]["workerPid"] or ""),
            )
        return Group(Text(), table, Text(f"… {self.now}" if self.now else "", style="dim"))


@dataclass(slots=True)
class Demo:
    """The parts on stage."""

    screen: Screen
    standin: StandIn
    supervisor: Supervisor

    async def watch(self) -> None:
        """Keep the table up to date."""
        while True:
            await self.look()
            await asyncio.sleep(0.25)

    async def look(self) -> None:
        """Show the sessions as they are now; while no supervisor answers, as they were."""
        with suppress(LabError, OSError):
            self.screen.see((await self.supervisor.get("/sessions"))["sessions"])

    async def pair(self, session: str) -> None:
        """Create a session, and play the phone that scans its QR."""
        await self.supervisor.must("POST", "/sessions", {"id": session})
        await self.supervisor.wait_state(session, "qr", seconds=STEP_SECONDS)
        await self.standin.scan(
            (await self.supervisor.get(f"/sessions/{session}/qr"))["qr"], name=session
        )
        await self.supervisor.wait_state(session, "open", seconds=STEP_SECONDS)

    async def reopened(self, *sessions: str, after: int) -> None:
        """Wait until each has been seen closed and open again after an event number."""
        for session in sessions:
            await eventually(
                partial(self._changes, session, after),
                lambda states: len(states) > 1 and states[-1] == "open",
                STEP_SECONDS,
                f"{session} being open again",
            )

    async def _changes(self, session: str, after: int) -> list[str]:
        return [
            event["data"]["state"]
            for event in await self.supervisor.events("session.state", session, after)
        ]


Step = Callable[[Demo], Awaitable[str]]


async def five_sessions(demo: Demo) -> str:
    """Five sessions are being paired: a played phone scans each QR."""
    await asyncio.gather(*(demo.pair(session) for session in SESSIONS))
    return "five sessions paired by QR (scan, 515, login) and open"


async def messages(demo: Demo) -> str:
    """A text goes out, and one comes in."""
    sent = await demo.supervisor.must(
        "POST", "/sessions/loja-1/messages", {"to": "5511988887777", "text": "Seu pedido saiu!"}
    )
    await eventually(lambda: demo.standin.messages("loja-1"), seconds=STEP_SECONDS)
    await demo.standin.send_text("loja-1", "5511988887777", "Obrigado!")
    received = await eventually(
        lambda: demo.supervisor.events("message.received", "loja-1"), seconds=STEP_SECONDS
    )
    return f"text out, acked as {sent['id']}; text in, decrypted: {received[-1]['data']['text']!r}"


async def drop(demo: Demo) -> str:
    """The connection of loja-1 is cut."""
    after = await demo.supervisor.last_event("loja-1")
    await demo.standin.fault("drop", "loja-1")
    await demo.reopened("loja-1", after=after)
    return "connection of loja-1 dropped: open again"


async def outage(demo: Demo) -> str:
    """All connections are cut, and the server answers 503 for a while."""
    after = await demo.supervisor.last_event(*SESSIONS)
    await demo.standin.fault("refuse", how="503", seconds=OUTAGE_SECONDS)
    await demo.standin.fault("drop")
    await demo.reopened(*SESSIONS, after=after)
    return (
        f"all dropped, and HTTP 503 for {OUTAGE_SECONDS} s (Baileys reports nothing of that): all"
        " open again"
    )


async def kill(demo: Demo) -> str:
    """The worker process of loja-2 is killed with -9."""
    after = await demo.supervisor.last_event("loja-2")
    pid = (await demo.supervisor.session("loja-2"))["performance"]["workerPid"]
    os.kill(pid, signal.SIGKILL)
    await demo.reopened("loja-2", after=after)
    paired = len(await demo.standin.log("registered", session="loja-2"))
    if paired != 1:
        raise LabError(f"loja-2 was paired {paired} times")
    return f"worker {pid} of loja-2 killed with -9: replaced, same credentials, no new QR"


async def adoption(demo: Demo) -> str:
    """The supervisor itself is killed with -9; what comes in meanwhile waits in the workers for its
    successor.
    """
    before = await demo.standin.last_entry()
    await demo.supervisor.kill()
    text = "Ainda estão aí?"
    await demo.standin.send_text("loja-3", "5511988887777", text)
    await demo.supervisor.start()
    for session in SESSIONS:
        await demo.supervisor.wait_state(session, "open", seconds=STEP_SECONDS)
    await eventually(
        lambda: demo.supervisor.events("message.received", "loja-3"),
        lambda events: [event["data"]["text"] for event in events] == [text],
        STEP_SECONDS,
        "the text that came in meanwhile",
    )
    noticed = await demo.standin.log("login", "logout", after=before)
    if noticed:
        raise LabError(f"WhatsApp noticed: {noticed}")
    return (
        "supervisor killed with -9: its successor adopts all five open sockets; no login, and a"
        " text meanwhile shown once"
    )


async def unlink(demo: Demo) -> str:
    """Somebody unlinks loja-5 on the phone."""
    await demo.standin.call("POST", "/unlink", {"session": "loja-5"})
    parked = await demo.supervisor.wait_state("loja-5", "parked", seconds=STEP_SECONDS)
    return (
        "loja-5 unlinked on the phone: parked and explained:"
        f" {parked['reconnection']['humanAction']}"
    )


STORY: Final[tuple[Step, ...]] = (five_sessions, messages, drop, outage, kill, adoption, unlink)


async def tell(demo: Demo) -> bool:
    """Tell the story; whether everything came about."""
    well = True
    for step in STORY:
        began = time.monotonic()
        demo.screen.begin(" ".join((step.__doc__ or "").split()).rstrip("."))
        try:
            told = await step(demo)
        except LabError as error:
            demo.screen.tell("✘", f"{step.__name__}: {error}", "red")
            well = False
        else:
            demo.screen.tell("✔", f"{told} ({time.monotonic() - began:.1f} s)", "green")
    demo.screen.begin("")
    await demo.look()
    overlaps = await demo.standin.log("overlap")
    demo.screen.tell(
        "✔" if not overlaps else "✘",
        f"two logins of one device at a time, by the server's log: {len(overlaps)}",
    )
    return well and not overlaps


async def run(seconds: float | None) -> int:
    """Set the stage, tell the story, stay up; the exit status."""
    began = time.monotonic()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    screen = Screen()
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wasup-demo-")))
        screen.begin("the stand-in (it plays WhatsApp) and the supervisor are being started")
        standin = await StandIn.start(directory / "standin")
        stack.push_async_callback(standin.close)
        settings = standin.environment() | {
            "WHATSAPP_API_PORT": str(_port()),
            "WHATSAPP_RECONNECTION_BASE_DELAY": "500",
        }
        supervisor = Supervisor(directory / "data", settings)
        stack.push_async_callback(supervisor.close)
        await supervisor.start()
        demo = Demo(screen, standin, supervisor)
        if screen.console.is_terminal:
            screen.live = stack.enter_context(
                Live(screen.draw(), console=screen.console, refresh_per_second=8)
            )
        watching = asyncio.create_task(demo.watch())
        stack.callback(watching.cancel)
        told = await unless_stopped(stopped, tell(demo))
        if told is None:
            return 130
        well = told == (True,)
        screen.tell(
            *(
                ("✔", "everything healed", "bold green")
                if well
                else ("✘", "not everything healed", "bold red")
            )
        )
        screen.tell("→", f"look around: curl {supervisor.api}/reconnection-status", "bold")
        # Its data directory is no other supervisor's, and commands find their supervisor by it.
        screen.tell("→", f"or: export WHATSAPP_DATA_DIR={supervisor.directory}", "bold")
        screen.tell("→", "    .venv/bin/wasup status", "bold")
        await stay(
            screen, stopped, None if seconds is None else seconds - (time.monotonic() - began)
        )
        return 0 if well else 1


async def stay(screen: Screen, stopped: asyncio.Event, left_seconds: float | None) -> None:
    """Stay up until Ctrl-C, or so long; how long is said, and on a terminal counted down."""
    loop = asyncio.get_running_loop()
    end = None if left_seconds is None else loop.time() + left_seconds
    while not stopped.is_set() and (end is None or loop.time() < end):
        rest = None if end is None else max(0, round(end - loop.time()))
        screen.begin(
            "Ctrl-C ends the demo" + ("" if rest is None else f"; it ends by itself in {rest} s")
        )
        pause = 1.0 if screen.live is not None else None
        with suppress(TimeoutError):
            left = None if end is None else max(0.0, end - loop.time())
            await asyncio.wait_for(
                stopped.wait(), pause if left is None else min(left, pause or left)
            )


def _port() -> int:
    """The usual port, or a free one when something listens there."""
    with socket.socket() as probe:
        return 4001 if probe.connect_ex(("127.0.0.1", 4001)) else 0


def main() -> int:
    """Entry of `make demo`."""
    given = os.environ.get("DEMO_SECONDS")
    try:
        seconds = float(given) if given else None
    except ValueError:
        print(f"DEMO_SECONDS is {given!r}: it accepts a number of seconds.", file=sys.stderr)
        return 2
    try:
        return asyncio.run(run(seconds))
    except LabError as error:
        print(f"The demo could not begin: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
