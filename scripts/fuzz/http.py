"""Requests that no well-meaning client sends: broken heads, bytes that are no JSON, odd encodings,
hang-ups. A supervisor answers each, in one shape.

Calls that are whole, right or wrong, are calls.py's.
"""

import asyncio
import gzip
import random
import re
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from api.routes import ROUTES
from scripts.fuzz.mutation import broken
from scripts.fuzz.stage import Stage

SESSIONS: Final = ("a", "b", "nobody", "..", "%00", "a%2fb", "x" * 70)
METHODS: Final = (
    "GET",
    "POST",
    "PUT",
    "DELETE",
    "HEAD",
    "OPTIONS",
    "PATCH",
    "TRACE",
    "get",
    "G\0T",
)
BODIES: Final[tuple[dict[str, Any], ...]] = (
    {"id": "a", "start": False, "proxy": None},
    {"id": "b", "start": False, "proxy": "http://user:pass@127.0.0.1:1"},
    {"phone": "5511999990000"},
    {"to": "5511999990000", "text": "hello"},
    {"proxy": "socks5h://127.0.0.1:1080"},
    {"archive": 1, "start": False},
    {
        "entries": [
            {
                "kind": "creds",
                "name": "creds",
                "value": {"me": {"id": "5511999990000:1@s.whatsapp.net"}},
            }
        ]
    },
)
HEADERS: Final = (
    "Content-Encoding: gzip",
    "Content-Encoding: br",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Expect: 100-continue",
    "Expect: the-spanish-inquisition",
    "Upgrade: websocket\r\nConnection: Upgrade",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings",
    "Origin: https://evil.example",
    "Sec-Fetch-Site: cross-site",
    "Host: evil.example",
    "Host: 127.0.0.1",
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Accept: text/html",
    "Accept: video/mp4;q=x, */*;q=0.1",
    "Authorization: Bearer \x01",
    "X: " + "y" * 9000,
    "Range: bytes=0-1",
)
ALLOWED_503: Final = frozenset({"store_unavailable", "store_unanswered", "store_error"})
"""The store's own trouble, of any call.

No worker is asked for anything here (`worker_gone`): WhatsApp refuses every connection, so that no
session is open, and none shows a QR.
"""
FEW_AT_ONCE: Final = (b"/import", b"/debug/memory")
"""The calls that may be `busy`: four imports may be sent at once, memory is traced once at a time,
and either goes on though its caller has hung up. All other bounds (docs/api.md) are far above the
sixteen requests that are under way at once: who is `busy` there has leaked something.
"""
ANSWER_SECONDS: Final = 30.0
QUIET_SECONDS: Final = 1.5
_ANSWERS: Final = re.compile(rb"(?<!^)(?=HTTP/(?:0\.9|1\.[01]) \d{3} )")
_STATUS: Final = re.compile(rb"^HTTP/(?:0\.9|1\.[01]) (\d{3}) ")


async def throw(stage: Stage, rng: random.Random) -> str | None:
    """One request; what is wrong with the answer."""
    parts = urlsplit(stage.supervisor.api)
    sent = request(rng)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except (OSError, TimeoutError) as error:
        return f"nobody accepts a connection: {error!r}"
    came = b""
    try:
        with suppress(ConnectionError):  # refused in the middle of a word
            writer.write(sent)
            if rng.random() < 0.1:
                return None  # hangs up
            async with asyncio.timeout(ANSWER_SECONDS):
                await writer.drain()
                came = await _until_quiet(reader)
                writer.write_eof()  # what is not whole by now never will be
                came += await reader.read()
    except TimeoutError:
        return f"it is not over after {ANSWER_SECONDS:g} s: {came[:200]!r} to {sent[:300]!r}"
    finally:
        writer.close()
    return judge(came, sent)


async def _until_quiet(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end, or until nothing comes for a while."""
    came = b""
    with suppress(TimeoutError):
        while more := await asyncio.wait_for(reader.read(65_536), QUIET_SECONDS):
            came += more
    return came


def judge(came: bytes, sent: bytes) -> str | None:
    """What is wrong with an answer (nothing at all is right when the request was not whole)."""
    if not came:
        return None
    for raw in _ANSWERS.split(came):
        status = _STATUS.match(raw)
        if status is None:
            return f"no status in {raw[:200]!r} to {sent[:300]!r}"
        head, _, body = raw.partition(b"\r\n\r\n")
        code = int(status[1])
        if code < 400 or not body:
            continue
        try:
            error = msgspec.json.decode(body)["error"]
            shaped = {"code", "message", "hint"} == set(error) and all(error.values())
        except (msgspec.DecodeError, KeyError, TypeError):
            shaped, error = b"text/html" in head, {"code": ""}
        if not shaped:
            return f"{code} in another shape: {raw[:300]!r} to {sent[:300]!r}"
        few = error["code"] == "busy" and any(path in sent for path in FEW_AT_ONCE)
        if code >= 500 and not (code == 503 and (few or error["code"] in ALLOWED_503)):
            return f"{code} {error} to {sent[:400]!r}"
    return None


def request(rng: random.Random) -> bytes:
    """A request that may be right, wrong, or none at all."""
    if rng.random() < 0.03:
        return rng.randbytes(rng.randrange(1, 2000))
    route = rng.choice(ROUTES)
    path = route.path.replace("{id}", rng.choice(SESSIONS))
    method = route.method if rng.random() < 0.85 else rng.choice(METHODS)
    body = _body(rng) if method not in {"GET", "HEAD"} or rng.random() < 0.1 else b""
    headers = ["Host: 127.0.0.1"] if rng.random() < 0.97 else []
    headers += ["Connection: close"] if rng.random() < 0.9 else []
    headers += rng.sample(HEADERS, rng.choice((0, 0, 0, 1, 1, 2)))
    if body and rng.random() < 0.95:
        headers.append(f"Content-Length: {len(body) + rng.choice((0, 0, 0, 0, 0, 1, -1))}")
    if any("gzip" in header for header in headers):
        body = gzip.compress(body)
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{line}\r\n" for line in headers) + "\r\n"
    whole = head.encode("utf-8", "surrogatepass") + body
    return broken(rng, whole) if rng.random() < 0.15 else whole


def _body(rng: random.Random) -> bytes:
    """Whole, broken, or too much."""
    whole = msgspec.json.encode(rng.choice(BODIES))
    match rng.randrange(4):
        case 0:
            return whole
        case 1:
            return rng.choice(
                (b"", b"[" * 100_000, b'{"a":' * 20_000, b"1" * 600_000, b"\xff\xfe\0\0", b"nan")
            )
        case _:
            return broken(rng, whole)
