"""Tokens: whether they can be made and are read back, by which way one came, why callers come with
none; and keys that have ended, or soon will. No value of a token is looked at for longer than that,
told, or kept.
"""

import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from sessions.views.times import minute
from supervisor.access.refusals import Reason
from supervisor.access.scopes import Scope
from supervisor.access.token_validator import Audience, ImprovedTokenValidator
from supervisor.watch.diagnostics.doctor import NotChecked, Subject, asked_of_the_running
from supervisor.watch.diagnostics.results import (
    DiagnosticResult,
    Issue,
    Severity,
    result_of,
)

TRIAL_SECONDS: Final = 60.0
"""So long the token that is made for a trial would be valid; it leaves this process in no way."""
LONG_SECRET: Final = 32
"""Characters of a secret that nobody guesses."""
FEW_CHARACTERS: Final = 8
"""A secret of fewer different ones is a word, or a row of zeros."""
LATELY_SECONDS: Final = 30 * 86_400.0
SOON_SECONDS: Final = 14 * 86_400.0
MANY: Final = 10
"""Refusals since the start that are no mistyping."""
CARRIERS: Final = frozenset(
    {"token", "access_token", "auth", "jwt", "api_key", "apikey", "key", "authorization"}
)
"""Names under which clients send tokens in a query or in a cookie."""
SCHEMES: Final = frozenset({"bearer", "basic", "digest", "token", "apikey"})
OTHER: Final = "other"
"""Shown of any further scheme: it may be the token itself."""


class Carriers(msgspec.Struct, frozen=True, rename="camel"):
    """How a call carried its credentials: names, and never a value.

    `scheme`: of the Authorization header; None: there is none. `empty`: nothing stands behind it.
    """

    scheme: str | None
    empty: bool
    query: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    through_proxy: bool = False


class TokenIssue(msgspec.Struct, frozen=True, rename="camel"):
    """Why calls were refused, how often since the start, and what to do about it."""

    cause: Reason
    count: int
    description: str
    solution: str


# --- checks ---------------------------------------------------------------------------------------


async def check_token(subject: Subject) -> Iterable[Issue]:
    """Whether tokens can be made and are read back, the secrets' length, and what was refused.

    A supervisor that runs is asked: it alone knows what it signs with, and whom it has refused.
    """
    if subject.ask is not None:
        return await asked_of_the_running(subject.ask, "token")
    service = service_of(subject)
    refused = subject.access.refusals.counts if subject.access else {}
    return [*(await service.validate_token_generation()).issues, *refusal_issues(refused)]


async def check_keys(subject: Subject) -> Iterable[Issue]:
    """Keys that have ended, or end soon."""
    if subject.store is None:
        raise NotChecked("there is no store that could be read")
    rows = await subject.store.keys.all()
    keys = [(row.id, row.name, row.scope, row.expires_at, row.last_used_at) for row in rows]
    return list(key_issues(keys, time.time()))


def service_of(subject: Subject) -> "TokenDiagnosticService":
    """The service, with what is known here."""
    settings, access = subject.settings, subject.access
    secret = None if settings.jwt_secret is None else settings.jwt_secret.get_secret_value()
    token = None if settings.api_token is None else settings.api_token.get_secret_value()
    own = ImprovedTokenValidator(secret.encode()) if secret is not None else None
    return TokenDiagnosticService(
        access.validator if access else own,
        access.refusals.counts if access else {},
        secrets_of({"JWT_SECRET": secret, "WHATSAPP_API_TOKEN": token}),
    )


# --- the service ----------------------------------------------------------------------------------


class TokenDiagnosticService:
    """Looks at tokens. `validator`: None: this process cannot know the secret that signs.

    `refused`: how often credentials were refused since the start, by reason. `secrets`: lengths and
    numbers of different characters of the operator's own secrets, by setting.
    """

    def __init__(
        self,
        validator: ImprovedTokenValidator | None,
        refused: Mapping[Reason, int],
        secrets: Mapping[str, tuple[int, int]],
    ) -> None:
        self._validator = validator
        self._refused = refused
        self._secrets = secrets

    async def validate_token_generation(self) -> DiagnosticResult:
        """Make a token, read it back, and look at the secrets' length."""
        began = time.monotonic()
        issues = [*_weak(self._secrets)]
        if self._validator is not None:
            issues += [issue async for issue in self._trial(self._validator)]
        return result_of(issues, (time.monotonic() - began) * 1000)

    async def check_token_transmission(self, request: Carriers) -> DiagnosticResult:
        """By which way a call's token came, and what is wrong with that way."""
        return result_of(transmission_issues(request), 0.0)

    async def diagnose_empty_tokens(self) -> list[TokenIssue]:
        """Why callers were refused, the most frequent cause first."""
        return sorted(_refusals(self._refused), key=lambda one: -one.count)

    async def _trial(self, validator: ImprovedTokenValidator) -> AsyncIterator[Issue]:
        claims = {
            "sub": "doctor",
            "aud": [Audience.API.value],
            "scope": Scope.READ.value,
            "sessions": [],
        }
        problem = None
        try:
            token = validator.make(claims, time.time() + TRIAL_SECONDS)
            result = await validator.validate(token)
        except Exception as error:  # whatever keeps it from being made is what is looked for
            problem = type(error).__name__
        else:
            if not result.valid or (result.payload or {}).get("sub") != "doctor":
                problem = f"it is refused as {result.reason}"
        if problem is not None:
            yield Issue(
                "token",
                Severity.CRITICAL,
                f"A token that was just made cannot be read back: {problem}.",
                "Set the clock right; set JWT_SECRET to 32 bytes or more, and restart.",
                ("tokens", "live feed"),
                ("date -u", "openssl rand -hex 32"),
            )


def secrets_of(secrets: Mapping[str, str | None]) -> dict[str, tuple[int, int]]:
    """Of each secret that is set, its length and how many different characters it has."""
    return {name: (len(text), len(set(text))) for name, text in secrets.items() if text}


def transmission_issues(seen: Carriers) -> Iterator[Issue]:
    """What is wrong with the way a token came. Pure."""
    strays = [*(f"?{name}=" for name in seen.query), *(f"cookie {name}" for name in seen.cookies)]
    if strays:
        yield _token(
            Severity.HIGH,
            f"Something that looks like a token came as {', '.join(strays)}: it is not read there,"
            " and such places end in logs.",
            "Send it as the header `Authorization: Bearer <token>`; then revoke the one that was"
            " sent so.",
            "wasup keys list",
        )
    if seen.scheme is None:
        yield _token(
            Severity.LOW,
            "The call carried no Authorization header"
            + (": a proxy between may have taken it off." if seen.through_proxy else "."),
            "Send `Authorization: Bearer <token>`, unless you are the supervisor's own user here.",
            'curl -i -H "Authorization: Bearer $TOKEN" localhost:4001/diagnostics/token',
        )
    elif seen.empty:
        yield _token(
            Severity.HIGH,
            "The Authorization header came without a token: the variable that should hold it is"
            " empty in the client.",
            "Set it where the client runs, and look at what it really sends.",
            'printf "%s" "$TOKEN" | wc -c',
        )
    elif seen.scheme != "bearer":
        yield _token(
            Severity.HIGH,
            f"The Authorization header's scheme is {seen.scheme}; it has to be Bearer.",
            "Send `Authorization: Bearer <token>`.",
            'curl -i -H "Authorization: Bearer $TOKEN" localhost:4001/diagnostics/token',
        )


def key_issues(
    keys: Collection[tuple[str, str, str, float | None, float | None]], now: float
) -> Iterator[Issue]:
    """Keys that have ended, or end soon: of each id, name, scope, end and last use. Pure."""
    for key, name, scope, ends, used in keys:
        if ends is None:
            continue
        anew = f"wasup keys create --scope {scope}"
        if ends <= now:
            needed = used is not None and used > ends - LATELY_SECONDS
            yield Issue(
                "token",
                Severity.HIGH if needed else Severity.LOW,
                f"The key {key} ({name}) has expired at {minute(ends)}: whoever uses it is refused."
                + (f" It was last used at {minute(used)}." if needed and used is not None else ""),
                "Make a new one, give it to whoever uses this one, then revoke this one.",
                ("keys", key),
                (anew, f"wasup keys revoke {key}"),
            )
        elif ends - now < SOON_SECONDS:
            yield Issue(
                "token",
                Severity.MEDIUM,
                f"The key {key} ({name}) ends in {(ends - now) / 86_400:.0f} days, at"
                f" {minute(ends)}.",
                "Make a new one in time, and give it to whoever uses this one.",
                ("keys", key),
                (anew, "wasup keys list"),
            )


def refusal_issues(refused: Mapping[Reason, int]) -> Iterable[Issue]:
    """Refusals that are too many for mistypings. Pure."""
    return [
        _token(
            Severity.LOW,
            one.description,
            one.solution,
            "grep token_refused data/logs/supervisor.log",
        )
        for one in _refusals(refused)
        if one.count >= MANY
    ]


def _refusals(refused: Mapping[Reason, int]) -> Iterator[TokenIssue]:
    for cause, count in refused.items():
        if count:
            words, solution = _CAUSES[cause]
            yield TokenIssue(cause, count, f"{count} calls since the start {words}", solution)


_CAUSES: Final[Mapping[Reason, tuple[str, str]]] = {
    "empty_token": (
        "came without a token, or with an empty one.",
        "See which client sends it (`token_refused` in the log has its address): its variable is"
        " empty, or a proxy takes the header off.",
    ),
    "expired": (
        "came with a token, or a key, that had expired.",
        "Let the client fetch a fresh token for each attempt; see the keys' ends.",
    ),
    "invalid": (
        "came with what is no token of this supervisor.",
        "See in the log (`token_refused`) why, and the digest of what was sent.",
    ),
}


def _weak(secrets: Mapping[str, tuple[int, int]]) -> Iterator[Issue]:
    for name, (length, different) in secrets.items():
        if length < LONG_SECRET or different < FEW_CHARACTERS:
            yield _token(
                Severity.MEDIUM,
                f"{name} has {length} characters, {different} different ones: it can be guessed.",
                f"Set one of {LONG_SECRET} characters or more, by chance, and restart.",
                "openssl rand -hex 32",
            )


def _token(severity: Severity, description: str, solution: str, *commands: str) -> Issue:
    return Issue("token", severity, description, solution, ("tokens",), commands)
