"""The ways out: to WhatsApp by each egress, as a session goes them up to the login, and to the
webhooks' endpoints, up to the request.

Whoever answers also says what his clock is, and until when his certificate is valid.
"""

import asyncio
import os
import shlex
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec
from aiohappyeyeballs import start_connection

from sessions.credentials.proxy import Proxy
from sessions.model import DIRECT, CloseReason, SessionId, StoreError
from sessions.store.tables.webhooks import WebhookRow
from sessions.views.times import minute
from supervisor.delivery.endpoint.targets import AddressInfo, Guard, Guards, TargetRefused, look_up
from supervisor.delivery.webhook_settings import WebhookSettings, shown_url
from supervisor.gate.way import Look
from supervisor.gate.way_probe import ADDRESS_SECONDS, WHATSAPP_URL, WayProber, date_of
from supervisor.process.daemon_threads import in_thread
from supervisor.process.worker_user import NODE
from supervisor.watch.diagnostics.doctor import NotChecked, Subject
from supervisor.watch.diagnostics.resources import clock_differs
from supervisor.watch.diagnostics.results import Issue, Severity

MOST_WAYS: Final = 32
"""Egresses that are looked at; each look is a connection to WhatsApp."""
MOST_WEBHOOKS: Final = 100
AT_ONCE: Final = 50
"""All ways are one round, all webhooks two: where none answers, the looks (LOOK_SECONDS each) and
the connections (CONNECT_SECONDS) still end within CHECK_SECONDS, and the outage is told as one, not
as a check that hangs.
"""
CONNECT_SECONDS: Final = 5.0
CERTIFICATE_DAYS: Final = 14
"""A certificate that is renewed by itself is renewed a month before its end."""
NOT_AN_EGRESS: Final = ""
UNSEEN: Final = Look("unknown", "not looked at")
_NOBODY: Final = SessionId("doctor")
"""In whose name a look is made where no session goes that way."""


# --- WhatsApp -------------------------------------------------------------------------------------


async def check_whatsapp(subject: Subject) -> Iterable[Issue]:
    """Names, connections, TLS and the upgrade at WhatsApp, by each egress; nobody is logged in."""
    proxies, users = await _ways(subject)

    async def proxy_of(session: SessionId) -> Proxy | None:
        return proxies.get(session)

    prober = WayProber(subject.settings.web_socket_url, proxy_of, NODE)
    free = asyncio.Semaphore(AT_ONCE)

    async def look(egress: str) -> tuple[str, Look]:
        session = users[egress][0] if users.get(egress) else _NOBODY
        async with free:
            return egress, await prober.look(session, egress)

    looks = await asyncio.gather(*(look(egress) for egress in list(users)[:MOST_WAYS]))
    url = subject.settings.web_socket_url or WHATSAPP_URL
    if dict(looks).get(DIRECT, UNSEEN).state == "open" and not any(
        found.server_seconds for _, found in looks
    ):
        # an upgrade's answer need not be dated; any other answer of a web server is
        dated = UNSEEN._replace(server_seconds=await _date_of(url))
        looks.append((NOT_AN_EGRESS, dated))
    return list(judged(looks, {egress: len(some) for egress, some in users.items()}, url))


def judged(looks: Sequence[tuple[str, Look]], users: dict[str, int], url: str) -> Iterator[Issue]:
    """What was found by each egress, as issues. `users`: how many sessions go by it."""
    host = urlsplit(url).hostname or url
    clocks = [
        time.time() - look.server_seconds for _, look in looks if look.server_seconds is not None
    ]
    if clocks:
        yield from clock_differs(min(clocks, key=abs), host)
    for egress, look in looks:
        if egress == NOT_AN_EGRESS:
            continue
        if look.state == "closed":
            yield _closed(egress, look, users.get(egress, 0), url)
        elif look.state == "unknown":
            yield Issue(
                "connection",
                Severity.MEDIUM,
                f"Whether WhatsApp can be reached {_by(egress)} could not be seen: {look.words}.",
                "Run it again; if it says the same, report it.",
                (egress,),
                ("wasup doctor --check whatsapp",),
            )
    ends = [
        look.certificate_ends_seconds
        for _, look in looks
        if look.certificate_ends_seconds is not None
    ]
    if ends:
        yield from certificate_ends(min(ends), host, url)


def certificate_ends(ends_seconds: float, whose: str, url: str) -> Iterator[Issue]:
    """A certificate that is about to end. `whose`: in words; `url`: where it is shown. Both are
    told, and hold no secret.
    """
    at = urlsplit(url)
    host = f"[{at.hostname}]" if ":" in (at.hostname or "") else at.hostname
    asked = shlex.quote(f"{host}:{at.port or 443}")
    days = (ends_seconds - time.time()) / 86_400
    if days < CERTIFICATE_DAYS:
        yield Issue(
            "configuration",
            Severity.MEDIUM,
            f"The certificate of {whose} ends in {days:.0f} days.",
            "See that it is renewed, where it is yours.",
            ("tls", whose),
            (f"openssl s_client -connect {asked} </dev/null | openssl x509 -noout -dates",),
        )


async def _date_of(url: str) -> float | None:
    """What the server's clock says in answer to a plain question; None: it does not say."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "wss"
    port = parts.port or (443 if secure else 80)
    asked = f"HEAD / HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            tls = ssl.create_default_context() if secure else None
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
            try:
                writer.write(asked.encode("ascii"))
                return date_of(await reader.readuntil(b"\r\n\r\n"))
            finally:
                writer.close()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None  # whether it can be reached was looked at before; this is for its clock alone


async def _ways(subject: Subject) -> tuple[dict[SessionId, Proxy], dict[str, list[SessionId]]]:
    """The sessions' proxies, and who goes by each egress: the machine's own address first."""
    proxies: dict[SessionId, Proxy] = {}
    users: dict[str, list[SessionId]] = {DIRECT: []}
    if subject.store is not None:
        try:
            for row in await subject.store.sessions():
                first = row.proxy is not None and row.proxy not in users
                users.setdefault(row.proxy or DIRECT, []).append(row.id)
                proxy = await subject.store.proxy(row.id) if first else None
                if proxy is not None:
                    proxies[row.id] = proxy
        except StoreError:
            pass  # told by the check of the database; the machine's own way can be looked at
    if not users[DIRECT] and len(users) > 1:
        del users[DIRECT]  # nobody goes that way, and it may be closed on purpose
    return proxies, users


def _closed(egress: str, look: Look, users: int, url: str) -> Issue:
    target = urlsplit(url)
    host = target.hostname or url
    port = target.port or (443 if target.scheme == "wss" else 80)
    web = "https" if target.scheme == "wss" else "http"
    dated = look.reason in {CloseReason.TLS_UNTRUSTED, CloseReason.PROXY} and (
        "not yet valid" in look.words or "expired" in look.words
    )
    solution, commands = _REMEDIES.get(look.reason or CloseReason.NETWORK_UNREACHABLE, _ANY)
    if dated:
        solution = "Set the clock right, if it is wrong; else the certificate is old."
        commands = ("date -u", "sudo timedatectl set-ntp true", *commands)
    whom = f" {users} session{'' if users == 1 else 's'} go{'es' if users == 1 else ''} that way."
    return Issue(
        "connection",
        Severity.CRITICAL,
        f"WhatsApp cannot be reached {_by(egress)}: {look.words}.{whom if users else ''}",
        solution,
        (look.reason or "network", egress),
        tuple(command.format(host=host, port=port, egress=egress, web=web) for command in commands),
    )


def _by(egress: str) -> str:
    return "from this machine" if egress == DIRECT else f"by the proxy {egress}"


_ANY: Final = (
    "See whether the network is up, and whether a firewall lets connections out.",
    (
        "ip route get 1.1.1.1",
        "curl -sv --max-time 10 -o /dev/null {web}://{host}:{port}/",
        "sudo nft list ruleset | grep -n {port}",
    ),
)
_REMEDIES: Final = {
    CloseReason.DNS: (
        "Mend the name resolution: the name server does not answer, or does not know the name.",
        ("getent hosts {host}", "cat /etc/resolv.conf", "resolvectl status"),
    ),
    CloseReason.PROXY: (
        "Mend the proxy, or give its sessions another one (docs/proxies.md).",
        (
            "curl -sv --max-time 10 -o /dev/null --proxy {egress} {web}://{host}:{port}/",
            "wasup sessions list",
            "wasup sessions proxy set ID -",
        ),
    ),
    CloseReason.TLS_UNTRUSTED: (
        "Something between here and WhatsApp breaks TLS: let it pass unchanged, or trust it"
        " (NODE_EXTRA_CA_CERTS).",
        ("openssl s_client -connect {host}:{port} -servername {host} </dev/null | head -20",),
    ),
    CloseReason.RATE_LIMITED: (
        "WhatsApp asks for patience (429): wait, and do not restart.",
        ("wasup status",),
    ),
    CloseReason.UNAVAILABLE: (
        "WhatsApp itself is away: wait, and do not restart.",
        ("wasup status",),
    ),
    CloseReason.UPGRADE_REFUSED: (
        "What answers is no WhatsApp: a captive portal, a firewall or a wrong"
        " WHATSAPP_WEB_SOCKET_URL.",
        ("curl -sv --max-time 10 -o /dev/null {web}://{host}:{port}/", "env | grep -i proxy"),
    ),
}


# --- webhooks -------------------------------------------------------------------------------------


async def check_webhooks(subject: Subject) -> Iterable[Issue]:
    """Whether the endpoints can be connected to, and what was not delivered."""
    store = subject.store
    if store is None:
        raise NotChecked("there is no store that could be read")
    settings = subject.settings
    guards = settings.webhook_guards(settings.api_port)
    free = asyncio.Semaphore(AT_ONCE)

    async def one(row: WebhookRow) -> list[Issue]:
        async with free:
            dead = (await store.webhooks.count(row.id)).get("dead", 0)
            return [issue async for issue in _webhook(row, dead, guards)]

    rows = (await store.webhooks.all())[:MOST_WEBHOOKS]
    return [issue for found in await asyncio.gather(*map(one, rows)) for issue in found]


async def _webhook(row: WebhookRow, dead: int, guards: Guards) -> AsyncIterator[Issue]:
    settings = msgspec.json.decode(row.settings, type=WebhookSettings)
    url = settings.url
    shown = shown_url(url)
    if row.paused_because is not None:
        if row.paused_because != "operator":
            yield _hook(
                Severity.MEDIUM,
                f"The webhook {row.id} ({shown}) is paused: {row.paused_because}.",
                "Let it go on, or delete it.",
                row.id,
            )
        return
    guard = guards.trusted if settings.owner.is_trusted else guards.others
    problem, ends = await _reached(url, guard)
    if problem is not None:
        since = f", since {minute(row.failing_since)}" if row.failing_since is not None else ""
        yield _hook(
            Severity.HIGH,
            f"The webhook {row.id} ({shown}) cannot be reached{since}: {problem}.",
            "Start what receives it, open the way to it, or change its URL: what happens meanwhile"
            " is kept, and delivered then.",
            row.id,
            f"curl -sv --max-time 10 -o /dev/null {shlex.quote(shown)}/",
        )
    elif row.failing_since is not None:
        yield _hook(
            Severity.HIGH,
            f"The webhook {row.id} ({shown}) answers connections, and has accepted nothing since"
            f" {minute(row.failing_since)}.",
            "See in its log why it refuses.",
            row.id,
        )
    if ends is not None:
        for issue in certificate_ends(ends, f"the webhook {shown}", shown):
            yield issue
    if dead:
        yield _hook(
            Severity.MEDIUM,
            f"{dead} events were not accepted by the webhook {row.id} ({shown}) in time, and wait"
            " to be sent again.",
            "Send them again when it works.",
            row.id,
            f"wasup webhooks redrive {row.id} --failed",
        )


def _hook(
    severity: Severity, description: str, solution: str, webhook: str, *commands: str
) -> Issue:
    return Issue("connection", severity, description, solution, ("webhooks", webhook), commands)


async def _reached(url: str, guard: Guard) -> tuple[str | None, float | None]:
    """Why the endpoint cannot be connected to; None: it can. And until when its certificate is
    valid. No request is made.
    """
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await in_thread(lambda: look_up(host, port))
            return None, await _connected(found, guard, host if secure else None)
    except TimeoutError:
        return f"no answer within {CONNECT_SECONDS:g} s", None
    except socket.gaierror as error:
        return f"the name {host}: {error.strerror}", None
    except TargetRefused:
        return "its address is none that may be called (WHATSAPP_WEBHOOK_PRIVATE_TARGETS)", None
    except ssl.SSLCertVerificationError as error:
        return f"its certificate: {error.verify_message}", None
    except OSError as error:
        words = os.strerror(error.errno) if error.errno else str(error)
        return words or type(error).__name__, None


async def _connected(
    addresses: Sequence[AddressInfo], guard: Guard, tls_host: str | None
) -> float | None:
    """Until when the certificate of whoever answers first is valid; None: there is none.

    As the sender connects, with the next address beside one that does not answer: what it reaches
    must not be told as out of reach. Raises OSError.
    """
    if not addresses:
        raise OSError("it has no address")
    tls = ssl.create_default_context() if tls_host else None
    line = await start_connection(
        addresses,
        happy_eyeballs_delay=ADDRESS_SECONDS,
        interleave=1,
        socket_factory=guard.socket,
    )
    _, writer = await asyncio.open_connection(sock=line, ssl=tls, server_hostname=tls_host)
    ends = (writer.get_extra_info("peercert") or {}).get("notAfter")
    writer.close()
    return float(ssl.cert_time_to_seconds(ends)) if ends else None
