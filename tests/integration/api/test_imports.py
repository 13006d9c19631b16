"""An import is read in a process of its own, which inherits nothing, has bounds, and is gone
afterwards, whatever the body holds.
"""

import asyncio
import base64
import os
from typing import Any

import msgspec
import psutil
import pytest

from scripts.lab import eventually
from sessions.credentials import import_process
from sessions.credentials.import_process import MAX_ENTRIES, ReaderFailed, read, read_import
from tests.api_tools import api, ask


def _buffer(size: int) -> dict[str, Any]:
    return {"type": "Buffer", "data": base64.b64encode(bytes(size)).decode()}


CREDS = {
    "noiseKey": {"public": _buffer(32), "private": _buffer(32)},
    "signedIdentityKey": {"public": _buffer(32), "private": _buffer(32)},
    "signedPreKey": {
        "keyPair": {"public": _buffer(32), "private": _buffer(32)},
        "signature": _buffer(64),
        "keyId": 1,
    },
    "registrationId": 5,
    "advSecretKey": "x",
    "me": {"id": "5511999990000:7@s.whatsapp.net"},
    "account": {"details": "x"},
}


def _body(*entries: tuple[str, str, Any], **more: Any) -> bytes:
    listed = [{"kind": kind, "name": name, "value": value} for kind, name, value in entries]
    return msgspec.json.encode({"entries": listed} | more)


def test_an_import_starts_nothing_unless_it_is_told_to() -> None:
    """Started while it still runs where it comes from, the two logins throw each other out."""
    assert read(_body(("creds", "creds", CREDS))).start is False
    assert read(_body(("creds", "creds", CREDS), start=True)).start is True


async def test_what_is_read_in_the_process_is_what_would_be_read_here() -> None:
    body = _body(
        ("creds", "creds", CREDS),
        ("session", "a.0", {"x": {"type": "Buffer", "data": [1, 2]}}),
        start=False,
    )
    found = await read_import(body)
    assert found == read(body)
    assert found.problem is None
    assert [(kind, name) for kind, name, _ in found.entries] == [
        ("creds", "creds"),
        ("session", "a.0"),
    ]
    assert found.start is False


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{", "cannot be used"),
        (b"[" * 100_000, "cannot be used"),
        (b"\xff\xfe", "cannot be used"),
        (_body(("pre-key", "1", {})), "no entry creds"),
        (_body(("creds", "creds", {})), "no credentials"),
        (
            _body(*[("pre-key", str(n), 1) for n in range(MAX_ENTRIES + 1)]),
            f"{MAX_ENTRIES + 1} entries",
        ),
    ],
    ids=["broken", "deep", "no text", "without creds", "empty creds", "too many"],
)
async def test_what_cannot_be_taken_is_told(body: bytes, problem: str) -> None:
    found = await read_import(body)
    assert problem in (found.problem or "")
    assert found.entries == []


async def test_a_reader_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_process, "SECONDS", 0.01)
    with pytest.raises(ReaderFailed):
        await read_import(_body(("creds", "creds", CREDS)))
    assert _readers() == []


async def test_a_reader_whose_caller_has_gone_is_ended() -> None:
    task = asyncio.create_task(read_import(b" " * 5_000_000))
    await eventually(_look)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _readers() == []


async def test_a_reader_inherits_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATSAPP_STORE_KEY", "secret")
    task = asyncio.create_task(read_import(b" " * 5_000_000 + b"x"))
    environments = list[dict[str, str]]()
    while not task.done():
        for process in _readers():
            try:
                environments.append(process.environ())
            except psutil.Error:  # it has just ended
                continue
        await asyncio.sleep(0)
    assert (await task).problem
    started = [found for found in environments if found.get("WHATSAPP_STORE_KEY") is None]
    assert started, "it was seen after its exec"
    assert all(not name.startswith("WHATSAPP_") for name in started[-1])


async def test_an_import_has_its_bounds_and_only_few_are_sent_at_once() -> None:
    head = b"POST /sessions/x/import HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n"
    async with api() as address:
        large = await ask(address, "POST", "/sessions/x/import", b" " * (16 * 2**20 + 1))
        assert large.status == 413
        assert "16384 KiB" in large.error["hint"]
        unfinished = [await asyncio.open_connection(*address) for _ in range(4)]
        for _, writer in unfinished:
            writer.write(head)
        while True:
            answer = await ask(address, "POST", "/sessions/x/import", b"{")
            if answer.status == 503:
                break
            assert answer.status == 400
        assert answer.headers["retry-after"] == "5"
        for _, writer in unfinished:
            writer.write(b"{" * 100)
        for reader, writer in unfinished:
            assert (await reader.readline()).startswith(b"HTTP/1.1 400")
            writer.close()


async def _look() -> list[psutil.Process]:
    return _readers()


def _readers() -> list[psutil.Process]:
    found = []
    for process in psutil.Process(os.getpid()).children():
        try:
            if "sessions.credentials.import_process" in process.cmdline():
                found.append(process)
        except psutil.Error:  # it has just ended
            continue
    return found
