"""Tokens and keys, as a doctor looks at them: never a value."""

import secrets
import time
from typing import Any

import pytest

from supervisor.access.token_validator import ImprovedTokenValidator
from supervisor.watch.diagnostics.tokens import (
    Carriers,
    TokenDiagnosticService,
    key_issues,
    refusal_issues,
    secrets_of,
)

NOW = 1_800_000_000.0
DAY = 86_400.0


def service(**more: Any) -> TokenDiagnosticService:
    validator = ImprovedTokenValidator(secrets.token_bytes(32))
    return TokenDiagnosticService(**{"validator": validator, "refused": {}, "secrets": {}} | more)


async def test_a_token_is_made_and_read_back() -> None:
    assert (await service().validate_token_generation()).issues == ()


async def test_a_clock_that_makes_every_new_token_an_old_one_is_found() -> None:
    validator = ImprovedTokenValidator(secrets.token_bytes(32))
    real = validator.make
    validator.make = lambda claims, ends: real(claims, ends - 3600)  # type: ignore[method-assign]
    found = await service(validator=validator).validate_token_generation()
    assert not found.success
    assert "cannot be read back: it is refused as expired" in found.issues[0].description


async def test_a_secret_that_can_be_guessed_is_told_without_being_quoted() -> None:
    given = secrets_of({"WHATSAPP_API_TOKEN": "a" * 40, "JWT_SECRET": None})
    found = await service(secrets=given).validate_token_generation()
    (issue,) = found.issues
    assert "WHATSAPP_API_TOKEN has 40 characters, 1 different" in issue.description
    assert "aaaa" not in str(issue)
    good = secrets_of({"WHATSAPP_API_TOKEN": secrets.token_hex(32)})
    assert (await service(secrets=good).validate_token_generation()).success


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Carriers("bearer", False), None),
        (Carriers(None, True), "no Authorization header."),
        (Carriers(None, True, through_proxy=True), "a proxy between may have taken it off"),
        (Carriers("bearer", True), "came without a token"),
        (Carriers("basic", False), "scheme is basic; it has to be Bearer"),
        (Carriers("bearer", False, query=("token",)), "came as ?token="),
        (Carriers("bearer", False, cookies=("jwt",)), "came as cookie jwt"),
    ],
)
async def test_the_way_by_which_a_token_came_is_judged(seen: Carriers, words: str | None) -> None:
    found = await service().check_token_transmission(seen)
    if words is None:
        assert found.issues == ()
    else:
        (issue,) = found.issues
        assert words in issue.description


async def test_why_callers_were_refused_is_told_the_most_frequent_first() -> None:
    refused = {"expired": 2, "empty_token": 30, "invalid": 0}
    found = await service(refused=refused).diagnose_empty_tokens()
    assert [(one.cause, one.count) for one in found] == [("empty_token", 30), ("expired", 2)]
    assert [issue.description for issue in refusal_issues(refused)] == [  # type: ignore[arg-type]
        "30 calls since the start came without a token, or with an empty one."
    ], "two may have mistyped"


def test_keys_that_have_ended_or_end_soon_are_told() -> None:
    found = list(
        key_issues(
            [
                ("k1", "n8n", "send", NOW - 3600, NOW - 7200),
                ("k2", "old", "read", NOW - 90 * DAY, None),
                ("k3", "shop", "read", NOW + 3 * DAY, None),
                ("k4", "ever", "read", None, NOW),
                ("k5", "long", "read", NOW + 90 * DAY, NOW),
            ],
            NOW,
        )
    )
    assert [(i.affected_components[1], i.severity) for i in found] == [
        ("k1", "high"),
        ("k2", "low"),
        ("k3", "medium"),
    ]
    assert found[0].commands == ("wasup keys create --scope send", "wasup keys revoke k1")
    assert "last used at" in found[0].description
    assert time.strftime("%Y-%m-%d", time.gmtime(NOW + 3 * DAY)) in found[2].description
