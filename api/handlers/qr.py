"""A QR string as what the caller asked for: JSON, PNG, SVG, blocks for a terminal, or a page that
keeps itself up to date.
"""

import html
import io
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import segno
from aiohttp import web

from sessions.lifecycle.attempt import ShownQr
from sessions.model import SessionId
from sessions.views.times import iso

_QUIET_ZONE: Final = 4
"""Modules of margin that ISO 18004 asks for; phones need it."""
CHANGES: Final = (
    "WhatsApp changes it: the first after 60 s, each later one after 20 s. Ask again for the"
    " present one."
)
PAGE: Final = "text/html"
REFRESH_SECONDS: Final = 4
"""How often a page looks again; a QR lives for 20 s at least."""
_HALVES: Final = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}
"""Two rows of modules as one of characters, from whether the upper and the lower one are dark."""
_COLOURS: Final = "\x1b[38;5;231;48;5;16m"
"""White on black, said outright: a light terminal would turn the code inside out, and phones do not
read that.
"""
_PAGE_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


class QrView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A QR that waits for a phone. `number`: how many were shown of this attempt, it included."""

    qr: str
    number: int
    pairing_code: str | None
    shown_at: str
    age_seconds: float
    changes: str


def _json(shown: ShownQr) -> bytes:
    view = QrView(
        qr=shown.qr,
        number=shown.number,
        pairing_code=shown.pairing_code,
        shown_at=iso(shown.shown_at),
        age_seconds=round(max(0.0, time.time() - shown.shown_at), 1),
        changes=CHANGES,
    )
    return msgspec.json.encode(view) + b"\n"


def _png(shown: ShownQr) -> bytes:
    return _drawn(shown.qr, "png", scale=8)


def _svg(shown: ShownQr) -> bytes:
    return _drawn(shown.qr, "svg", scale=8)


def _text(shown: ShownQr) -> bytes:
    rows = [list(row) for row in segno.make_qr(shown.qr).matrix_iter(border=_QUIET_ZONE)]
    pairs = itertools.zip_longest(rows[::2], rows[1::2], fillvalue=[0] * len(rows[0]))
    lines = (
        "".join(_HALVES[pair] for pair in zip(upper, lower, strict=True)) for upper, lower in pairs
    )
    return ("".join(f"{_COLOURS}{line}\x1b[0m\n" for line in lines) + CHANGES + "\n").encode()


def _page(shown: ShownQr) -> bytes:
    drawing = segno.make_qr(shown.qr).svg_inline(
        scale=6, border=_QUIET_ZONE, dark="black", light="white"
    )
    code = (
        f"<p>Or type this code: <b>{html.escape(shown.pairing_code)}</b></p>"
        if shown.pairing_code
        else ""
    )
    words = "WhatsApp on the phone: Linked devices, Link a device. This page changes with the code."
    return _whole_page(f"{drawing}<p>{words}</p>{code}", refresh=True)


def _whole_page(content: str, refresh: bool) -> bytes:
    again = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">' if refresh else ""
    style = "body{background:#fff;color:#000;font-family:sans-serif;text-align:center;margin:2em}"
    head = f'<meta charset="utf-8">{again}<title>wasup</title><style>{style}</style>'
    page = f"<head>{head}</head><body>{content}</body>"
    return f'<!doctype html><html lang="en">{page}</html>\n'.encode()


def page_without(session: SessionId, message: str, hint: str, may_come: bool) -> web.Response:
    """The page while there is no QR; it looks again as long as one may come by itself."""
    words = "It comes by itself: this page looks again." if may_come else hint
    content = (
        f"<h1>{html.escape(session)}</h1><p>{html.escape(message)}</p><p>{html.escape(words)}</p>"
    )
    return _response(_whole_page(content, may_come), PAGE, 409)


def _drawn(qr: str, kind: str, scale: int) -> bytes:
    out = io.BytesIO()
    segno.make_qr(qr).save(
        out, kind=kind, scale=scale, border=_QUIET_ZONE, dark="black", light="white"
    )
    return out.getvalue()


FORMS: Final[Mapping[str, Callable[[ShownQr], bytes]]] = {
    "application/json": _json,
    "image/png": _png,
    "image/svg+xml": _svg,
    "text/plain": _text,
    PAGE: _page,
}
"""The first is what a caller gets who does not care."""


def respond(shown: ShownQr, form: str) -> web.Response:
    """The QR in one of the forms; never cached, it is a key for half a minute."""
    return _response(FORMS[form](shown), form, 200)


def _response(content: bytes, form: str, status: int) -> web.Response:
    charset = "utf-8" if form != "image/png" else None
    headers = {"Cache-Control": "no-store", "Vary": "Accept"}
    if form == PAGE:
        headers["Content-Security-Policy"] = _PAGE_POLICY
    return web.Response(
        body=content, status=status, content_type=form, charset=charset, headers=headers
    )
