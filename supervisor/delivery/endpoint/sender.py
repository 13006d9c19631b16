"""One attempt to deliver: an HTTP POST that ends in bounded time, whatever the endpoint does, and
what came of it.
"""

import asyncio
import http
import math
import re
import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final, Literal

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

from supervisor.delivery.endpoint import retrying
from supervisor.delivery.endpoint.targets import REFUSED, Guard, Guards, TargetRefused, look_up
from supervisor.places.installation import version
from supervisor.process.daemon_threads import in_thread

CONNECT_SECONDS: Final = 5.0
TOTAL_SECONDS: Final = 15.0
"""The Standard Webhooks recommend 15 to 30 s; this covers the answer's body, too."""
BODY_SECONDS: Final = 1.0
"""What was accepted is accepted: so long the rest of the answer is read, so that the connection can
be used again.
"""
KEEP_ALIVE_SECONDS: Final = 4.0
"""Node's servers, and with them n8n, close an idle connection after 5 s: what is sent at that
moment would fail for nothing.
"""
EXCERPT_BYTES: Final = 4096
"""Of an answer; nothing more is read."""
ERROR_CHARACTERS: Final = 300
NAME_SECONDS: Final = 10
"""How long a name's addresses are kept."""
RESOLVERS: Final = 16
"""Names that are looked up at once."""
_AWAY_STATUSES: Final = frozenset({408, 425, 429, 502, 503, 504})
"""Answers that say nothing of the event: the endpoint, or what stands before it, is not there."""
_PHRASES: Final = {status.value: status.phrase for status in http.HTTPStatus}
"""The standard's: an endpoint's own words for a status may quote what it was sent."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

Kind = Literal["accepted", "refused", "away", "gone"]
"""refused: the answer may be about this event; away: about the endpoint; gone: it shall be called
no more.
"""


class Outcome(msgspec.Struct, frozen=True, rename="camel"):
    """What came of an attempt.

    `error`: in words of our own; None: it was accepted. `answer`: what else the endpoint has said,
    for those who ask: it may quote what it was sent, and stands in no log, alert or event.
    `retry_after_seconds`: what it asked for.
    """

    kind: Kind
    status: int | None = None
    error: str | None = None
    answer: str | None = None
    retry_after_seconds: float = 0.0
    took_ms: float = 0.0


def with_answer(error: str | None, answer: str | None) -> str | None:
    """Why it was not accepted, and what the endpoint said, for the list of deliveries alone."""
    return f"{error}: {answer}" if answer else error


class Sender:
    """The HTTP clients of all webhooks: one for each guard, as a connection that is kept open is
    for those alone who may open it. Make it within a running loop, and close it.
    """

    def __init__(self, guards: Guards, tls: ssl.SSLContext | None = None) -> None:
        self._resolver = _Resolver()
        tls = tls or ssl.create_default_context()
        self._trusted = self._client(guards.trusted, tls)
        self._others = self._client(guards.others, tls)

    def _client(self, guard: Guard, tls: ssl.SSLContext) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            socket_factory=guard.socket,
            resolver=self._resolver,
            limit=0,
            limit_per_host=0,
            ttl_dns_cache=NAME_SECONDS,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            ssl=tls,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=TOTAL_SECONDS, connect=CONNECT_SECONDS),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("Accept-Encoding",),
            headers={"User-Agent": f"wasup/{version()}", "Content-Type": "application/json"},
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._trusted.close()
        await self._others.close()
        await self._resolver.close()

    async def send(
        self, url: str, body: bytes, headers: dict[str, str], is_trusted: bool
    ) -> Outcome:
        """One attempt; never raises but when it is cancelled. `is_trusted`: its owner is."""
        began = time.monotonic()
        client = self._trusted if is_trusted else self._others
        outcome = await _send(client, url, body, headers)
        took_ms = round(1000 * (time.monotonic() - began), 1)
        return msgspec.structs.replace(outcome, took_ms=took_ms)


async def _send(
    http_client: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]
) -> Outcome:
    try:
        async with http_client.post(
            url, data=body, headers=headers, allow_redirects=False
        ) as response:
            if 200 <= response.status < 300:
                await _drain(response)
                return Outcome("accepted", response.status)
            return await _refusal(response)
    except aiohttp.ConnectionTimeoutError:
        return Outcome("away", error=f"no connection within {CONNECT_SECONDS:g} s")
    except TimeoutError:
        return Outcome("away", error=f"no whole answer within {TOTAL_SECONDS:g} s")
    except aiohttp.ClientConnectorError as error:
        return Outcome("away", error=_connecting(error))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Outcome("away", error=_words(error))


async def _drain(response: aiohttp.ClientResponse) -> None:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            await response.content.read(EXCERPT_BYTES)
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass  # the status has said all that was asked
    if not response.content.at_eof():
        response.close()


async def _refusal(response: aiohttp.ClientResponse) -> Outcome:
    status = response.status
    try:
        async with asyncio.timeout(BODY_SECONDS):
            answer = _legible(await response.content.read(EXCERPT_BYTES))
    except (TimeoutError, aiohttp.ClientError, OSError):
        answer = ""
    if not response.content.at_eof():
        response.close()
    kind: Kind = "gone" if status == 410 else "away" if status in _AWAY_STATUSES else "refused"
    told = f"{status} {_PHRASES.get(status, '')}".strip()
    if 300 <= status < 400:
        told += ": redirects are not followed; give the webhook the address that it leads to"
    asked = retry_after(response.headers.get("Retry-After"), time.time())
    return Outcome(kind, status, told, answer or None, asked)


def retry_after(text: str | None, now: float) -> float:
    """Seconds that a Retry-After header asks for: a number, or a date; bounded; 0: nothing that can
    be read.
    """
    if text is None:
        return 0.0
    if re.fullmatch(r"[0-9]{1,9}", text.strip()):
        seconds = float(text)
    else:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, OverflowError):
            return 0.0
    return min(max(0.0, math.ceil(seconds)), retrying.MOST_RETRY_AFTER_SECONDS)


def _legible(body: bytes) -> str:
    return _CONTROL.sub(" ", body.decode(errors="replace")).strip()


def _connecting(error: aiohttp.ClientConnectorError) -> str:
    """Why there is no connection. An address is not told: the caller chose a name, and what that is
    here is our own affair.
    """
    cause = error.os_error
    if isinstance(cause, TargetRefused):
        return REFUSED
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is not known"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return f"TLS fails: {_words(cause)}"
    if isinstance(cause, ConnectionRefusedError):
        return "the connection is refused"
    return f"no connection: {cause.strerror or type(cause).__name__}"[:ERROR_CHARACTERS]


def _words(error: BaseException) -> str:
    """An error in few words, none of them the endpoint's address or a header."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case aiohttp.InvalidURL():
            return "its URL is none that can be called"
        case aiohttp.ServerDisconnectedError():
            return "it hung up without an answer"
        case ConnectionResetError() | BrokenPipeError():
            return "it reset the connection"
        case aiohttp.ClientPayloadError() | aiohttp.ClientResponseError():
            return "its answer is no HTTP that can be read"
        case ssl.SSLError():
            return f"TLS fails: {error.reason or 'no reason given'}"
        case OSError():
            return error.strerror or type(error).__name__
    return type(error).__name__


class _Resolver(AbstractResolver):
    """The system's resolver, in threads of its own: a name server that hangs takes none of those
    that the rest of the program needs, and none that the program's end would wait for.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(RESOLVERS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises OSError."""
        async with self._free:
            found = await in_thread(partial(look_up, host, port, family))
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=found_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """There is nothing to close."""
