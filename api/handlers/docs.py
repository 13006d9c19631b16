"""The API's own description."""

import asyncio
from pathlib import Path
from typing import Final

from aiohttp import web

from api.errors import NotInstalled
from api.parts import DESCRIPTION

REFERENCE: Final = Path(__file__).resolve().parent.parent / "web" / "reference"
SWAGGER_UI: Final = REFERENCE / "node_modules" / "swagger-ui-dist"
"""Of the viewers that need no build the one with the least to install: 13 MB in two packages, of
which a browser loads 1.9 MB.
"""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing comes from elsewhere, and nothing goes there. The viewer sets styles of elements."""
KEPT_SECONDS: Final = 3600


async def openapi(request: web.Request) -> web.Response:
    """The API's description, as OpenAPI 3.1: made from the routes and the types of this version."""
    return web.Response(
        body=request.app[DESCRIPTION], content_type="application/json", charset="utf-8"
    )


async def page(_request: web.Request) -> web.Response:
    """A page that shows every call and can make it.

    It loads nothing from elsewhere. Where a token is set, `Authorize` asks for it; the page keeps
    it until it is closed.
    """
    return await _file(REFERENCE / "page.html", "text/html", {"Content-Security-Policy": POLICY})


def _serving(path: Path, kind: str) -> web.RouteDef:
    async def serve(_request: web.Request) -> web.Response:
        headers = {"Cache-Control": f"private, max-age={KEPT_SECONDS}"}
        return await _file(path, kind, headers)

    return web.get(f"/docs/{path.name}", serve)


FILES: Final = (
    _serving(REFERENCE / "page.js", "text/javascript"),
    _serving(SWAGGER_UI / "swagger-ui-bundle.js", "text/javascript"),
    _serving(SWAGGER_UI / "swagger-ui.css", "text/css"),
)
"""What the page loads: parts of it, and no calls of the API."""


async def _file(path: Path, kind: str, headers: dict[str, str]) -> web.Response:
    try:
        content = await asyncio.to_thread(path.read_bytes)
    except FileNotFoundError:
        raise NotInstalled(f"{path.name} is not installed here.") from None
    return web.Response(body=content, content_type=kind, charset="utf-8", headers=headers)
