"""JSON in and out, by msgspec: one encoder, and request bodies checked against a type."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar

import msgspec
from aiohttp import web

from api.errors import BadRequest, RequestEntityTooLarge
from sessions.workers.wire import UNREADABLE

T = TypeVar("T")
MAX_WAIT_SECONDS: Final = 60.0
Wait = Annotated[
    float,
    msgspec.Meta(
        ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for one if there is none."
    ),
]
"""Of every call that may wait for what it is asked for."""

JSON: Final = "application/json"

WORDS: Final = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
}


def json(value: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(
        body=msgspec.json.encode(value) + b"\n",
        status=status,
        content_type="application/json",
        charset="utf-8",
    )


async def body(request: web.Request, kind: type[T]) -> T:
    """The request's body as that type.

    Raises BadRequest with what is wrong and where, RequestEntityTooLarge.
    """
    raw = await raw_body(request, kind)
    try:
        return msgspec.json.decode(raw, type=kind)
    except UNREADABLE as error:
        raise BadRequest(
            f"The body cannot be used: {error}.", f"Send JSON: {describe(kind)}."
        ) from None


def query(request: web.Request, kind: type[T]) -> T:
    """What stands behind the `?`, as that type. Raises BadRequest with what is wrong and where."""
    given = dict(request.query)
    if len(given) < len(request.query):
        raise BadRequest("The query says something twice.", f"It accepts {accepted(kind)}.")
    try:
        return msgspec.convert(given, kind, strict=False)
    except UNREADABLE as error:
        raise BadRequest(
            f"The query cannot be used: {error}.", f"It accepts {accepted(kind)}."
        ) from None


def moment(name: str, text: str) -> float:
    """A moment of a query or a body, in seconds since 1970. Raises BadRequest."""
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError(text)
        return at.timestamp()
    except (ValueError, OverflowError):
        raise BadRequest(
            f"{name} is {text[:64]!r}.",
            "A moment is ISO 8601 with its time zone: 2027-01-31T08:00:00Z (in a query, a + in it"
            " is written as %2B).",
        ) from None


def listed(text: str | msgspec.UnsetType) -> list[str]:
    """What stands in a query with `,` between it; nothing said: nothing."""
    return [] if text is msgspec.UNSET else [word.strip() for word in text.split(",")]


def negotiate(accept: str, forms: Iterable[str]) -> str:
    """Which of these forms an Accept header asks for (RFC 9110, 12.5.1); the first is what a caller
    gets who does not care. Raises HTTPNotAcceptable.
    """
    wanted = dict(_range(part) for part in accept.split(",") if part.strip()) or {"*/*": 1.0}
    best = max(forms, key=lambda form: _quality(form, wanted))  # the first of equals
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


async def raw_body(request: web.Request, kind: type[Any]) -> bytes:
    """The request's body, not empty, as it came.

    Raises BadRequest, RequestEntityTooLarge. `kind`: what it should be, for the hints.
    """
    hint = f"Send JSON: {describe(kind)}."
    raw = await whole_body(request, hint)
    if not raw.strip():
        raise BadRequest("The body is empty.", hint)
    return raw


async def whole_body(request: web.Request, hint: str = "Send it whole.") -> bytes:
    """The request's body as it came, perhaps empty. Raises BadRequest, RequestEntityTooLarge."""
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        most = f"{request.client_max_size // 1024} KiB"
        raise RequestEntityTooLarge(
            "Request Entity Too Large.", f"A body of this call may have {most}."
        ) from None
    except ConnectionError:  # nobody hears it
        raise BadRequest("The caller hung up before the body was whole.", hint) from None
    except web.RequestPayloadError as error:
        raise BadRequest(f"The body cannot be read: {type(error).__name__}.", hint) from None


def describe(kind: Any) -> str:
    """A body type in words, for hints."""
    fields = msgspec.structs.fields(kind)
    return (
        "{"
        + ", ".join(f'"{f.encode_name}"' + ("" if f.required else " (optional)") for f in fields)
        + "}"
    )


def accepted(kind: Any) -> str:
    """What a query may hold, in words, for hints."""
    schema = msgspec.json.schema_components([kind])[1][kind.__name__]
    return "; ".join(f"{name}: {_in_words(one)}" for name, one in schema["properties"].items())


def _in_words(schema: dict[str, Any]) -> str:
    words = WORDS.get(schema.get("type", "string"), "")
    least, most = schema.get("minimum"), schema.get("maximum")
    if most is not None and least is None:
        return f"{words} above {schema.get('exclusiveMinimum')}, and {most} at the most"
    if most is not None:
        return f"{words} from {least} to {most}"
    return words if least is None else f"{words} of {least} or more"
