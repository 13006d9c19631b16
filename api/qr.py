"""A QR string as what the caller asked for: JSON, PNG, SVG, or blocks for a terminal."""

import io
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import segno
from aiohttp import web

from sessions.attempt import ShownQr

_QUIET_ZONE: Final = 4
"""Modules of margin that ISO 18004 asks for; phones need it."""


def _json(shown: ShownQr) -> bytes:
    return msgspec.json.encode({"qr": shown.qr, "number": shown.number, "pairingCode": shown.pairing_code})


def _png(shown: ShownQr) -> bytes:
    return _drawn(shown.qr, "png", scale=8)


def _svg(shown: ShownQr) -> bytes:
    return _drawn(shown.qr, "svg", scale=8)


def _text(shown: ShownQr) -> bytes:
    out = io.StringIO()
    segno.make_qr(shown.qr).terminal(out, border=_QUIET_ZONE, compact=True)
    return out.getvalue().encode()


def _drawn(qr: str, kind: str, scale: int) -> bytes:
    out = io.BytesIO()
    segno.make_qr(qr).save(out, kind=kind, scale=scale, border=_QUIET_ZONE, dark="black", light="white")
    return out.getvalue()


FORMS: Final[Mapping[str, Callable[[ShownQr], bytes]]] = {
    "application/json": _json,
    "image/png": _png,
    "image/svg+xml": _svg,
    "text/plain": _text,
}
"""The first is what a caller gets who does not care."""


def negotiate(accept: str) -> str:
    """The form that an Accept header asks for (RFC 9110, 12.5.1). Raises HTTPNotAcceptable."""
    wanted = dict(_range(part) for part in accept.split(",") if part.strip()) or {"*/*": 1.0}
    best = max(FORMS, key=lambda form: _quality(form, wanted))  # the first of equals
    if _quality(best, wanted) <= 0:
        raise web.HTTPNotAcceptable
    return best


def _quality(form: str, wanted: Mapping[str, float]) -> float:
    """How much a form is wanted: the most specific range that names it decides."""
    ranges = (form, form.partition("/")[0] + "/*", "*/*")
    return next((wanted[one] for one in ranges if one in wanted), 0.0)


def _range(part: str) -> tuple[str, float]:
    media, *parameters = (piece.strip() for piece in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media.lower(), float(value)
            except ValueError:
                return media.lower(), 0.0
    return media.lower(), 1.0


def respond(shown: ShownQr, accept: str) -> web.Response:
    """The QR in the form that was asked for; never cached, it is a key for half a minute."""
    form = negotiate(accept)
    charset = "utf-8" if form != "image/png" else None
    headers = {"Cache-Control": "no-store", "Vary": "Accept"}
    return web.Response(body=FORMS[form](shown), content_type=form, charset=charset, headers=headers)
