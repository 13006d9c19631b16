"""The API's description, made from the URL table and the types: OpenAPI 3.1, whose schemas are
JSON Schema as msgspec writes it.

A plain function: msgspec knows the schema of every type, the table knows all else, and there is
nothing left for a library to do.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from inspect import getdoc, getmodule
from typing import Any, Final, get_args

import msgspec

from api.responses import JSON
from api.route import Forms, Route
from sessions.model import EventData, event_types
from supervisor.access.refusals import Reason
from supervisor.access.scopes import Scope
from supervisor.host.reading.documents import camel
from supervisor.places.installation import version

DESCRIPTION: Final = """
A WhatsApp session supervisor: a worker process for each number, and reconnection that is right and
explained.

JSON in camelCase. An instant is ISO 8601 (UTC) in a field that ends in `At`; a duration's field
ends in `Seconds` or `Ms`, a size's in `Bytes`. Every error is
`{"error": {"code", "message", "hint"}}`. Answers may get further fields: ignore those that you do
not know.

A token is asked for where one is set (`WHATSAPP_API_TOKEN`); without one, the supervisor's own user
and root may call without, from this machine. A token is that one, a key (`POST /keys`), or a
short-lived token made from a key (`POST /tokens`). Each call says which scope a key needs for it:
`read`, `send`, `operate` or `admin`, of which each includes those before it. A key may be for some
sessions only; the others do not exist for it.

What happens is also sent as it happens: by Socket.IO below `/socket.io/`, with the same envelope as
`GET /events`; its messages are no calls, and stand in docs/live-feed.md.
"""
EVENT: Final = "EventView"
"""The type of the envelope: its `data` is what its `type` says."""
EARLIER: Final = "Event.earlier"
INSTANTS: Final = frozenset({"at", "time", "timestamp", "since", "opensUntil", "phoneLastSeen"})
"""Fields that are instants and do not end in `At`."""
AS_THE_SEEDS_SAY: Final = frozenset(
    {
        "performance_metrics",
        *("requests_per_second", "active_connections", "db_connections", "memory_usage"),
    }
)
"""Fields that keep the names by which scripts read them."""
_PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "id": {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The session's id.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$"},
    },
    "message": {
        "name": "message",
        "in": "path",
        "required": True,
        "description": "WhatsApp's id of the message, `data.id` of its events.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 1024},
    },
    "webhook": {
        "name": "webhook",
        "in": "path",
        "required": True,
        "description": "The webhook's id.",
        "schema": {"type": "string", "pattern": "^wh_[0-9a-f]{16}$"},
    },
    "key": {
        "name": "key",
        "in": "path",
        "required": True,
        "description": "The key's id: what stands behind its `wasup_`.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{10}$"},
    },
}
"""What a path may name."""

_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": (
        "Any text of the caller's, a new one for each new request: what is sent again under it"
        " within 24 hours is not done again, and has the same answer."
    ),
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}


def spec(routes: Iterable[Route]) -> dict[str, Any]:
    """The whole description, as what JSON knows."""
    routes = list(routes)
    schemas, problems = _Schemas(routes), dict[str, Any]()
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = _words(route) | _asked(route, schemas)
        operation["responses"] = _answers(route, schemas, problems)
        if not route.needs_token:
            operation["security"] = []
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wasup",
            "version": version(),
            "description": _flowing(DESCRIPTION),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {}],
        "tags": [{"name": name, "description": text} for name, text in _rooms(routes).items()],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.named.items())),
            "responses": dict(sorted(problems.items())),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


class _Schemas:
    """The schemas of all types: `named` are those that the others refer to.

    A type of fields is either taken or given, never both: in an answer every field is there, in a
    body those with a default may be left out.
    """

    def __init__(self, routes: list[Route]) -> None:
        self.named: dict[str, Any] = {}
        self._of: list[tuple[Any, dict[str, Any]]] = []
        events = event_types()
        given = [_json_of(one) for route in routes for one in route.answers.values()]
        self._add([*given, *events], _complete)
        for kind in events:  # one of an earlier version has not all fields
            of_the_log = {f.encode_name for f in msgspec.structs.fields(kind) if f.required}
            self.named[kind.__name__]["required"] = sorted(of_the_log)
        if EVENT in self.named:
            self.named |= _events(self.named[EVENT], events)
        self._add((route.body for route in routes), lambda schema: schema)

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema of a type that a route names: mostly a reference."""
        return next(schema for known, schema in self._of if known == kind)

    def _add(
        self, kinds: Iterable[Any], finished: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> None:
        wanted = [kind for kind in kinds if kind is not None]
        found, named = msgspec.json.schema_components(
            wanted, ref_template="#/components/schemas/{name}"
        )
        with_fields = {name for name, schema in named.items() if "enum" not in schema}
        if both := self.named.keys() & with_fields:
            raise TypeError(f"both taken and given, or two of one name: {', '.join(sorted(both))}")
        self._of += zip(wanted, found, strict=True)
        self.named |= {name: finished(_told(schema)) for name, schema in named.items()}


def _events(envelope: dict[str, Any], kinds: Iterable[type[EventData]]) -> dict[str, Any]:
    """The envelope once for each type of event, with its data; and for those that a version before
    has left in the log.
    """
    made = {
        f"Event.{kind.type}": _event(
            envelope,
            _flowing(getdoc(kind) or ""),
            {"const": kind.type},
            {"$ref": f"#/components/schemas/{kind.__name__}"},
        )
        for kind in kinds
    }
    known = [kind.type for kind in kinds]
    words = "An event of a type that an earlier version has left in the log."
    made[EARLIER] = _event(
        envelope, words, {"type": "string", "not": {"enum": known}}, {"type": "object"}
    )
    either = [{"$ref": f"#/components/schemas/{name}"} for name in made]
    return made | {EVENT: {"title": EVENT, "description": envelope["description"], "anyOf": either}}


def _event(
    envelope: dict[str, Any], words: str, kind: dict[str, Any], data: dict[str, Any]
) -> dict[str, Any]:
    fields = envelope["properties"] | {"type": kind, "data": data}
    return {"description": words, "type": "object", "properties": fields} | {
        "required": envelope["required"]
    }


def _complete(schema: dict[str, Any]) -> dict[str, Any]:
    """A type of an answer: each field is there, in camelCase.

    Types of the host's room are dataclasses, which have no names of their own for JSON.
    """
    if "properties" not in schema:
        return schema
    named = {_named(name): field for name, field in schema["properties"].items()}
    fields = {
        name: _field(name, {k: v for k, v in field.items() if k != "default"})
        for name, field in named.items()
    }
    return schema | {"properties": fields, "required": list(fields)}


def _named(name: str) -> str:
    return name if name in AS_THE_SEEDS_SAY else camel(name)


def _field(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A field whose name says that it is an instant, has the form of one."""
    if not name.endswith("At") and name not in INSTANTS:
        return schema
    if "anyOf" in schema:
        return schema | {"anyOf": [_field(name, one) for one in schema["anyOf"]]}
    return schema | {"format": "date-time"} if schema.get("type") == "string" else schema


def _told(schema: dict[str, Any]) -> dict[str, Any]:
    """The docstring as it flows, with the names of fields as JSON has them."""
    if "description" not in schema:
        return schema
    words = re.sub(
        "`([a-z]+(?:_[a-z0-9]+)+)`",
        lambda found: f"`{_named(found[1])}`",
        _flowing(schema["description"]),
    )
    return schema | {"description": words}


def _words(route: Route) -> dict[str, Any]:
    text = _flowing(getdoc(route.handler) or "")
    summary = re.split(r"(?<=[.;])\s", text, maxsplit=1)[0].rstrip(".;")
    return {
        "operationId": camel(route.handler.__name__),
        "tags": [_room(route)],
        "summary": summary,
        "description": f"{text}\n\n{_needs(route)}".rstrip(),
    }


def _needs(route: Route) -> str:
    """What a key needs for a call, in words."""
    if not route.needs_token:
        return ""
    return f"Needs the scope `{route.scope}`" + (", for all sessions." if route.fleet else ".")


def _asked(route: Route, schemas: _Schemas) -> dict[str, Any]:
    """What the call takes."""
    parameters = [known for name, known in _PARAMETERS.items() if f"{{{name}}}" in route.path]
    if route.query is not None:
        whole = _complete(msgspec.json.schema_components([route.query])[1][route.query.__name__])
        optional = {f.encode_name for f in msgspec.structs.fields(route.query) if not f.required}
        for name, schema in whole["properties"].items():
            text = schema.pop("description", "")
            parameters.append(
                {
                    "name": name,
                    "in": "query",
                    "required": name not in optional,
                    "description": text,
                    "schema": schema,
                }
            )
    if route.keyed:
        parameters.append(_IDEMPOTENCY_KEY)
    asked: dict[str, Any] = {"parameters": parameters} if parameters else {}
    if route.body is not None:
        asked["requestBody"] = {
            "required": not route.body_may_be_empty,
            "content": {JSON: {"schema": schemas.of(route.body)}},
        }
    return asked


def _answers(route: Route, schemas: _Schemas, problems: dict[str, Any]) -> dict[str, Any]:
    """By status. `problems` collects the errors, which many calls share."""
    answers: dict[str, Any] = {}
    for status, codes in route.problems().items():
        name = f"{status}.{'.'.join(codes)}"
        problems[name] = {
            "description": "Error: " + ", ".join(f"`{code}`" for code in codes),
            "content": {JSON: {"schema": problem_schema(codes)}},
        } | _headers(status)
        answers[str(status)] = {"$ref": f"#/components/responses/{name}"}
    for status, answer in route.answers.items():
        forms = answer if isinstance(answer, Forms) else Forms(json=answer)
        possible = [] if forms.json is None else [schemas.of(forms.json)]
        if status in (errors := route.problems()):  # not only an error has this status
            possible.append(problem_schema(errors[status]))
        content: dict[str, Any] = {form: {} for form in forms.others}
        if possible:
            content[JSON] = {"schema": {"anyOf": possible} if possible[1:] else possible[0]}
        told = {"description": _STATUSES[status], "content": content}
        answers[str(status)] = told | _headers(status)
    return dict(sorted(answers.items()))


_STATUSES: Final[Mapping[int, str]] = {
    200: "Done.",
    201: "Made.",
    202: "Accepted: it is under way.",
    409: "Not in its present state.",
    503: "Not yet.",
}


_HEADERS: Final[Mapping[int, tuple[str, str, bool]]] = {
    201: ("Location", "Where it is.", True),
    401: ("WWW-Authenticate", "`Bearer`.", True),
    429: ("Retry-After", "Seconds until it may be asked for again.", True),
    503: ("Retry-After", "Seconds, where it says `busy`.", False),
}
"""By status: name, words, and whether it is always there."""


def _headers(status: int) -> dict[str, Any]:
    """The headers that a client may go by."""
    if status not in _HEADERS:
        return {}
    name, words, always = _HEADERS[status]
    header = {"description": words, "required": always, "schema": {"type": "string"}}
    return {"headers": {name: header}}


def problem_schema(codes: Collection[str]) -> dict[str, Any]:
    """The one shape of errors, with these codes."""
    text = {"type": "string", "minLength": 1}
    error = _object({"code": {"enum": list(codes)}, "message": text, "hint": text})
    error["properties"] |= {
        name: schema
        for code, further in _FURTHER.items()
        if code in codes
        for name, schema in further.items()
    }
    return _object({"error": error})


_FURTHER: Final[Mapping[str, Mapping[str, Any]]] = {
    "unauthorized": {"reason": {"enum": list(get_args(Reason))}},
    "forbidden_scope": {"scope": {"enum": [scope.value for scope in Scope]}},
}
"""What programs may go by beside the code."""


def _object(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(fields), "required": list(fields)}


def _json_of(answer: Any) -> Any:
    return answer.json if isinstance(answer, Forms) else answer


def _rooms(routes: list[Route]) -> Mapping[str, str]:
    """The rooms of the API: a file of handlers each, and its first sentence."""
    return {
        _room(route): _flowing(getdoc(getmodule(route.handler)) or "").partition("\n")[0]
        for route in routes
    }


def _room(route: Route) -> str:
    return route.handler.__module__.rpartition(".")[2]


def _flowing(text: str) -> str:
    """Text without the line breaks that 100 columns have made of it; paragraphs stay."""
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))
