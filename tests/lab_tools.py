"""What end-to-end tests share: the operator's commands, how texts go through, and outages of the
store.
"""

import json
import resource
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from scripts.lab import StandIn, Supervisor, eventually
from scripts.lab.supervisor import PRELOADED
from scripts.lab.traffic import SENDER

NO_FILE_GROWS = (0, resource.RLIM_INFINITY)
"""The kernel refuses every write of the process to a file: what a full disk does, without a disk of
our own.
"""
FILES_GROW = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


# --- the operator's commands ----------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """All that it said, on one line: how it breaks lines is its own affair."""
        return " ".join((self.out + " " + self.err).split())


async def wasup(supervisor: Supervisor, *arguments: object, **settings: str) -> Done:
    """Run a command as the operator of that supervisor does.

    Whatever happens, he sees no traceback.
    """
    done = Done(
        *await PRELOADED[0].run(
            [*map(str, arguments)], supervisor.environment() | settings, supervisor.directory.parent
        )
    )
    assert "Traceback" not in done.said
    return done


async def must(supervisor: Supervisor, *arguments: object, **settings: str) -> str:
    """A command that has to succeed; what it said."""
    done = await wasup(supervisor, *arguments, **settings)
    assert done.status == 0, done
    return done.said


# --- texts ----------------------------------------------------------------------------------------


async def texts(supervisor: Supervisor, session: str) -> list[str]:
    """The texts that the supervisor has told of, in its order."""
    return [event["data"]["text"] for event in await supervisor.events("message.received", session)]


async def hears(supervisor: Supervisor, standin: StandIn, session: str, text: str) -> None:
    """A text comes in and is told."""
    await standin.send_text(session, SENDER, text)
    await eventually(
        partial(texts, supervisor, session),
        lambda seen: text in seen,
        what=f"{text!r} in {session}",
    )


async def says(supervisor: Supervisor, standin: StandIn, session: str, text: str) -> None:
    """A text goes out and is readable there."""
    await supervisor.must("POST", f"/sessions/{session}/messages", {"to": SENDER, "text": text})

    async def arrived() -> list[str]:
        return [message["text"] for message in await standin.messages(session)]

    await eventually(arrived, lambda seen: text in seen, what=f"{text!r} out of {session}")


async def receipted(standin: StandIn, session: str) -> set[str]:
    """The ids of the messages that the session has confirmed to WhatsApp."""
    return {receipt["id"] for receipt in await standin.call("GET", f"/receipts?session={session}")}


async def logins(standin: StandIn, session: str) -> int:
    """How often it has logged in."""
    return len(await standin.log("login", session=session))


async def registrations(standin: StandIn, session: str) -> int:
    """How often it was paired, or tried to be."""
    return len(await standin.log("registered", session=session))


# --- the store's outages --------------------------------------------------------------------------


async def store_state(supervisor: Supervisor) -> str:
    """How the supervisor says its store is."""
    return str((await supervisor.get("/reconnection-status"))["store"]["state"])


@asynccontextmanager
async def full_disk(supervisor: Supervisor) -> AsyncIterator[None]:
    """No file of the supervisor can grow while the block runs; if it is killed meanwhile, its
    successor's can.
    """
    assert supervisor.process is not None
    process = supervisor.process
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, NO_FILE_GROWS)
    try:
        yield
    finally:
        if process.status is None:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, FILES_GROW)


@asynccontextmanager
async def locked_database(supervisor: Supervisor) -> AsyncIterator[None]:
    """Another process (this one) holds the SQLite file for itself while the block runs."""
    with closing(sqlite3.connect(supervisor.directory / "wasup.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def in_database(supervisor: Supervisor, statement: str, *parameters: object) -> list[Any]:
    """A statement behind the supervisor's back."""
    with closing(sqlite3.connect(supervisor.directory / "wasup.db")) as database:
        rows = database.execute(statement, parameters).fetchall()
        database.commit()
        return rows


# --- data directories -----------------------------------------------------------------------------


@asynccontextmanager
async def another_home(
    supervisor: Supervisor, name: str, **settings: str
) -> AsyncIterator[Supervisor]:
    """A supervisor with a data directory of its own, not started; stopped at the end of the
    block.
    """
    other = Supervisor(supervisor.directory.with_name(name), dict(supervisor.settings) | settings)
    try:
        yield other
    finally:
        await other.close()
    assert other.process is None or other.process.status == 0


async def restarted(supervisor: Supervisor, **settings: str) -> None:
    """Stopped, and started with these settings changed."""
    assert await supervisor.stop() == 0
    supervisor.settings = dict(supervisor.settings) | settings
    await supervisor.start()


def all_bytes(directory: Path) -> bytes:
    """Everything that the database has on the disk."""
    return b"".join(file.read_bytes() for file in sorted(directory.glob("wasup.db*")))


def secrets_of(folder: Path) -> list[str]:
    """Private keys, in base64 as they stand in an exported folder: of the credentials, and of one
    key of another kind.
    """
    creds = json.loads((folder / "creds.json").read_text())
    prekey = json.loads(next(folder.glob("pre-key-*.json")).read_text())
    pairs = [
        creds["noiseKey"],
        creds["signedIdentityKey"],
        creds["signedPreKey"]["keyPair"],
        prekey,
    ]
    return [str(pair["private"]["data"]) for pair in pairs] + [creds["advSecretKey"]]


def seen_by_neighbours(*processes: int) -> str:
    """What other users of the machine see of all processes, and what these processes have been
    given.
    """
    shown = []
    for process in psutil.process_iter(["cmdline"]):
        shown += process.info["cmdline"] or []
    for pid in processes:
        shown.append(Path(f"/proc/{pid}/environ").read_bytes().decode())
    return "\n".join(shown)
