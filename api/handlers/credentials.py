"""Credentials: take over what was paired elsewhere; look at archived ones, put
them back.
"""

import asyncio
from functools import partial
from typing import Final

import msgspec
from aiohttp import web

from api.errors import BadRequest, Busy, RequestEntityTooLarge
from api.gatehouse.once import keyed, once
from api.handlers.sessions import session_id
from api.paging import PageQuery, page
from api.parts import FLEET, FORECASTER, IMPORTING, IMPORTS, STORE
from api.responses import body, describe, json, query, raw_body
from sessions.credentials.import_process import Import, ReaderFailed, ReadImport, read_import
from sessions.credentials.proxy import parse_proxy
from sessions.model import SessionId, parse_session_id
from sessions.store import ArchiveRow
from sessions.views.session_view import SessionView
from sessions.views.times import iso
from sessions.workers.wire import KeyEntry

MAX_IMPORT_BYTES: Final = 16 * 2**20
"""A long-lived session has some thousands of keys, most of them below a kilobyte."""
LARGER: Final = "While no supervisor runs, `wasup sessions import` takes more."
HOW_TO_IMPORT: Final = (
    "Send {kind, name, value} for each file of a useMultiFileAuthState folder of a paired session"
    " (creds.json is creds/creds), or let `wasup sessions import` do it."
)


class Restoration(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /sessions/{id}/restore; an empty body restores what fits best."""

    archive: int | None = None
    start: bool = True


class ArchiveView(msgspec.Struct, frozen=True, rename="camel"):
    """Credentials that were put aside. `whole`: with all keys; a snapshot has the creds alone."""

    id: int
    archived_at: str
    reason: str
    whole: bool
    entries: int


class ArchiveList(msgspec.Struct, frozen=True):
    """A session's archives, oldest first. `next`: the `after` of the next page; None: none."""

    archives: list[ArchiveView]
    next: str | None


class Restored(SessionView, frozen=True, kw_only=True, rename="camel"):
    """The session that has its credentials back. `archive`: what was put back."""

    archive: ArchiveView


async def import_session(request: web.Request) -> web.Response:
    """Add a session that was paired elsewhere (16 MiB at most, one at a time); it stays stopped
    unless told to start, since it may still run where it comes from.

    `wasup sessions import` reads the folders and calls this.
    """
    session = parse_session_id(request.match_info["id"])
    with request.app[IMPORTS].one(request):
        raw = await _body(request)
        return await once(request, raw, partial(_import, request, session, raw))


async def _import(request: web.Request, session: SessionId, raw: bytes) -> web.Response:
    given = await _read(request, raw)
    entries = await asyncio.to_thread(_entries, given)
    proxy = parse_proxy(given.proxy) if given.proxy is not None else None
    if given.start:
        await request.app[FORECASTER].must_fit()
    imported = await request.app[FLEET].import_credentials(session, entries, given.start, proxy)
    response = json(imported.view(), 201)
    response.headers["Location"] = f"/sessions/{imported.id}"
    return response


def _entries(given: ReadImport) -> list[KeyEntry]:
    return [KeyEntry(kind, name, msgspec.Raw(value)) for kind, name, value in given.entries]


async def _body(request: web.Request) -> bytes:
    try:
        return await raw_body(request.clone(client_max_size=MAX_IMPORT_BYTES), Import)
    except RequestEntityTooLarge as error:
        raise RequestEntityTooLarge(str(error), f"{error.hint} {LARGER}") from None


async def _read(request: web.Request, raw: bytes) -> ReadImport:
    try:
        async with request.app[IMPORTING]:
            given = await read_import(raw)
    except ReaderFailed as error:
        raise BadRequest(f"The body cannot be read. {error}", HOW_TO_IMPORT) from None
    except OSError as error:
        raise Busy(f"This machine has no process to read it with: {error.strerror}.") from None
    if given.problem is not None:
        raise BadRequest(
            given.problem, given.hint or f"Send JSON: {describe(Import)}. {HOW_TO_IMPORT}"
        )
    return given


async def session_archives(request: web.Request) -> web.Response:
    """The credentials of a session that were put aside, oldest first; of a deleted session, too."""
    session = session_id(request)
    archives = await request.app[STORE].archives(session)
    if not archives:
        request.app[FLEET].get(session)
    asked = query(request, PageQuery)
    shown, following = page(archives, lambda archive: (archive.id,), tuple[int], asked)
    return json(ArchiveList([_shown(archive) for archive in shown], following))


@keyed
async def restore_session(request: web.Request) -> web.Response:
    """Put archived credentials back in place of the present ones, which are archived themselves."""
    session = session_id(request)
    wanted = await body(request, Restoration) if request.can_read_body else Restoration()
    restored = await request.app[FLEET].restore(session, wanted.archive, wanted.start)
    view = msgspec.structs.asdict(request.app[FLEET].get(session).view())
    return json(Restored(**view, archive=_shown(restored)), 202)


def _shown(archive: ArchiveRow) -> ArchiveView:
    return ArchiveView(
        archive.id, iso(archive.archived_at), archive.reason, archive.whole, archive.entries
    )
