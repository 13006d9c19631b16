"""The handlers about credentials: take over what was paired elsewhere; look at archived ones, put them back."""

import asyncio
from typing import Final

import msgspec
from aiohttp import web

from api.errors import BadRequest
from api.handlers import session_id
from api.keys import FLEET, STORE
from api.responses import body, json
from sessions import baileys_folders
from sessions.baileys_folders import NotImportable
from sessions.model import parse_session_id
from sessions.proxy import parse_proxy
from sessions.snapshot import iso
from sessions.store import ArchiveRow
from sessions.wire import KeyEntry

MAX_IMPORT_BYTES: Final = baileys_folders.MAX_SESSION_BYTES
HOW_TO_IMPORT: Final = (
    "Send {kind, name, value} for each file of a useMultiFileAuthState folder of a paired session (creds.json is creds/creds), "
    "or let `wasup sessions import` do it."
)


class Restoration(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /sessions/{id}/restore; an empty body restores what fits best."""

    archive: int | None = None
    start: bool = True


class Import(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /sessions/{id}/import: credentials and keys as `{kind, name, value}`, values as Baileys writes them to JSON."""

    entries: list[KeyEntry]
    start: bool = True
    proxy: str | None = None


async def import_session(request: web.Request) -> web.Response:
    """Add a session that was paired elsewhere. `wasup sessions import` reads the folders and calls this."""
    session = parse_session_id(request.match_info["id"])
    given = await body(request.clone(client_max_size=MAX_IMPORT_BYTES), Import)
    try:
        entries = await asyncio.to_thread(baileys_folders.accept, given.entries)
    except NotImportable as error:
        raise BadRequest(str(error), HOW_TO_IMPORT) from None
    proxy = parse_proxy(given.proxy) if given.proxy is not None else None
    imported = await request.app[FLEET].import_credentials(session, entries, given.start, proxy)
    return json(imported.view(), 201)


async def session_archives(request: web.Request) -> web.Response:
    """The credentials of a session that were put aside, oldest first; of a deleted session, too."""
    session = session_id(request)
    archives = await request.app[STORE].archives(session)
    if not archives:
        request.app[FLEET].get(session)
    return json({"archives": [_shown(archive) for archive in archives]})


async def restore_session(request: web.Request) -> web.Response:
    """Put archived credentials back in place of the present ones, which are archived themselves."""
    session = session_id(request)
    wanted = await body(request, Restoration) if request.can_read_body else Restoration()
    restored = await request.app[FLEET].restore(session, wanted.archive, wanted.start)
    return json({"id": session, "restored": _shown(restored), "session": request.app[FLEET].get(session).view()})


def _shown(archive: ArchiveRow) -> dict[str, object]:
    return {
        "id": archive.id,
        "archivedAt": iso(archive.archived_at),
        "reason": archive.reason,
        "whole": archive.whole,
        "entries": archive.entries,
    }
