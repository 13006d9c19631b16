"""Reading an import in a process of its own: whatever the body holds, neither decoding it nor
checking it keeps the supervisor's loop.

A thread would not do: decoding a few megabytes is one call of C that lets nobody else have the
interpreter, for a second and more. The process inherits no setting and no secret, and has a bound
on its memory and its time.
"""

import asyncio
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from sessions.credentials import baileys_folders
from sessions.credentials.baileys_folders import NotImportable
from sessions.workers.wire import UNREADABLE, KeyEntry

MAX_ENTRIES: Final = 20_000
"""A long-lived session has some thousands of keys."""
MEMORY_BYTES: Final = 1024 * 2**20
"""Enough for what 16 MiB of JSON unfold to."""
SECONDS: Final = 30.0
ROOT: Final = Path(__file__).resolve().parents[2]
PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "HOME")


class Import(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /sessions/{id}/import: credentials and keys as `{kind, name, value}`, values as
    Baileys writes them to JSON.

    `start`: false unless said otherwise, since two logins of one device throw each other out.
    """

    entries: list[KeyEntry]
    start: bool = False
    proxy: str | None = None


class ReadImport(msgspec.Struct, array_like=True):
    """What the process answers.

    `problem`: why it cannot be taken, with a hint (empty: the form of the body is the hint).
    """

    entries: list[tuple[str, str, bytes]] = []
    start: bool = False
    proxy: str | None = None
    problem: str | None = None
    hint: str = ""


class ReaderFailed(Exception):
    """The process ended without an answer, or did not end."""


async def read_import(body: bytes) -> ReadImport:
    """Have a body read. Raises ReaderFailed; OSError when the machine has no process for it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sessions.credentials.import_process",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a traceback could quote what is being imported
        cwd=ROOT,
        env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
        start_new_session=True,  # Ctrl-C is for the supervisor
    )
    try:
        async with asyncio.timeout(SECONDS):
            answer, _ = await process.communicate(body)
    except TimeoutError:
        raise ReaderFailed(f"It was not read within {SECONDS:g} s.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ReaderFailed(f"Its reader ended with {process.returncode}.")
    return msgspec.msgpack.decode(answer, type=ReadImport)


def read(body: bytes) -> ReadImport:
    """The work that the process does."""
    try:
        given = msgspec.json.decode(body, type=Import)
    except UNREADABLE as error:
        return ReadImport(problem=f"The body cannot be used: {error}.")
    if len(given.entries) > MAX_ENTRIES:
        hint = (
            f"It may have {MAX_ENTRIES}. While no supervisor runs, `wasup sessions import` takes"
            " more."
        )
        return ReadImport(problem=f"It has {len(given.entries)} entries.", hint=hint)
    try:
        accepted = baileys_folders.accept(given.entries)
    except NotImportable as error:
        return ReadImport(problem=str(error))
    entries = [(entry.kind, entry.name, bytes(entry.value)) for entry in accepted]
    return ReadImport(entries, given.start, given.proxy)


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (int(SECONDS), int(SECONDS)))
    try:
        answer = read(sys.stdin.buffer.read())
    except MemoryError:
        answer = ReadImport(problem="It unfolds to more than the memory that reading it may take.")
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    _main()
