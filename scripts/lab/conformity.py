"""Whether an answer of the API is as the API describes itself (`GET /openapi.json`).

Clients must ignore fields that they do not know; here one that nobody has declared is an error:
that is how the description stays true. Needs what `make setup` installs for the tests.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import jsonschema_rs

import supervisor.program  # noqa: F401 - with it all rooms that publish events are there
from api.openapi import EARLIER, EVENT, spec
from api.routes import ROUTES

MISSING: Final = {(404, "not_found"), (405, "method_not_allowed")}
"""What is answered where there is no call."""


class Undeclared(AssertionError):
    """The API has answered what its description does not know."""


class Description:
    """A description of an API, and the judge of its answers."""

    def __init__(self, description: Mapping[str, Any]) -> None:
        self._paths = [(_pattern(path), calls) for path, calls in description["paths"].items()]
        self._components = closed(description["components"])
        self._components["schemas"].pop(EARLIER, None)  # nobody has left any in a test's log
        if (event := self._components["schemas"].get(EVENT)) is not None:
            event["anyOf"] = [one for one in event["anyOf"] if not one["$ref"].endswith(EARLIER)]
        self._known: dict[str, Any] = {}

    def check(
        self,
        method: str,
        path: str,
        status: int,
        content_type: str,
        body: Any,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Raises Undeclared. `body`: the JSON, decoded, where it is JSON; `headers` None: they are
        not looked at.
        """
        what = f"{method} {path}: {status} {content_type}"
        answers = self._answers(method, path.partition("?")[0])
        if (method, status) == ("OPTIONS", 204):  # a browser's own question, before its page's call
            return
        if answers is None:
            if (status, _code(body)) not in MISSING:
                raise Undeclared(f"{what}, of a call that is not described: {body}")
            return
        if (answer := answers.get(str(status))) is None:
            raise Undeclared(f"{what}: not one of {', '.join(answers)}: {body}")
        if "$ref" in answer:
            answer = self._components["responses"][answer["$ref"].rpartition("/")[2]]
        for name, header in answer.get("headers", {}).items():
            if header["required"] and headers is not None and not _has(headers, name):
                raise Undeclared(f"{what}: without the header {name}")
        if (form := answer["content"].get(content_type)) is None:
            raise Undeclared(f"{what}: not one of {', '.join(answer['content'])}")
        if "schema" in form:
            self._check_json(what, form["schema"], body)

    def _check_json(self, what: str, schema: Mapping[str, Any], body: Any) -> None:
        key = repr(schema)
        if (validator := self._known.get(key)) is None:
            whole = {**closed(schema), "components": self._components}
            validator = self._known[key] = jsonschema_rs.Draft202012Validator(
                whole, validate_formats=True
            )
        for error in validator.iter_errors(body):
            raise Undeclared(f"{what}: " + "; ".join(_told(error)))

    def _answers(self, method: str, path: str) -> Mapping[str, Any] | None:
        name = "get" if method == "HEAD" else method.lower()
        for pattern, calls in self._paths:
            if pattern.fullmatch(path) and name in calls:
                return cast("Mapping[str, Any]", calls[name]["responses"])
        return None


def closed(schema: Any) -> Any:
    """The same schema, where an object has only the properties that are named."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(one) for name, one in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        inner.setdefault("additionalProperties", False)
    return inner


@functools.cache
def described() -> Description:
    """The API of this version."""
    return Description(spec(ROUTES))


def check(
    method: str,
    path: str,
    status: int,
    content_type: str,
    body: Any,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Whether this version's API may answer so. Raises Undeclared."""
    described().check(method, path, status, content_type, body, headers)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{[a-z]+\\}", "[^/]+", re.escape(path)))


def _has(headers: Mapping[str, str], name: str) -> bool:
    return any(known.lower() == name.lower() for known in headers)


def _code(body: Any) -> str | None:
    return body["error"]["code"] if isinstance(body, dict) and "error" in body else None


def _told(error: jsonschema_rs.ValidationError) -> Iterator[str]:
    """What is wrong and where; of a value that fits none of several types, with the
    one that it comes nearest to.
    """
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.AnyOf):
        for inner in min(error.kind.context, key=len):
            yield from _told(inner)
        return
    where = "/".join(map(str, error.instance_path)) or "the whole"
    yield f"{where}: {error.message[:300]}"
