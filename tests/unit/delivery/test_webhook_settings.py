"""What an operator may ask for, and which events that is."""

import base64
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from supervisor.delivery.endpoint import outgoing
from supervisor.delivery.webhook_settings import (
    ANSWER_CHARACTERS,
    MOST_SESSIONS,
    ROTATION_SECONDS,
    InvalidWebhook,
    NewWebhook,
    WebhookChange,
    changed,
    new_secret,
    rotated,
    settings_of,
    shown_url,
)

URL = "https://n8n.example/webhook/4711?key=s3cret"
SHORT = "whsec_" + base64.b64encode(bytes(23)).decode()
LONG = "whsec_" + base64.b64encode(bytes(65)).decode()


@pytest.mark.parametrize(
    ("types", "kind", "wanted"),
    [
        (["*"], "message.received", True),
        (["message.*"], "message.received", True),
        (["message.*"], "messages.received", False),
        (["message.*"], "message", False),
        (["message.received"], "message.received", True),
        (["message.received"], "message.status", False),
        (["session.state", "message.*"], "message.status", True),
    ],
)
def test_types_are_names_groups_or_all(types: list[str], kind: str, wanted: bool) -> None:
    assert settings_of(NewWebhook(URL, types=types)).wants("shop", kind) is wanted


def test_who_names_sessions_gets_theirs_alone_and_who_names_none_gets_the_fleet_s_too() -> None:
    some, everything = settings_of(NewWebhook(URL, sessions=["shop"])), settings_of(NewWebhook(URL))
    assert [some.wants(session, "x") for session in ("shop", "other", None)] == [True, False, False]
    assert all(everything.wants(session, "x") for session in ("shop", None))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/",
        "host/path",
        "http:///path",
        "http://host:0/",
        "http://host:99999/",
        "http://user@host/",
        "http://user:pa55word@host/",
        "http://host\\@other/",
        "http://host/ü",
        "http://host/a b",
        "http://host/#part",
        "http://[::1/",
        "http://host/" + "x" * 2048,
    ],
)
def test_what_cannot_be_called_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(InvalidWebhook) as refused:
        settings_of(NewWebhook(url))
    assert "pa55word" not in str(refused.value) + refused.value.hint


@pytest.mark.parametrize(
    "headers",
    [
        {"webhook-id": "x"},
        {"Webhook-Signature": "x"},
        {"Host": "x"},
        {"Content-Length": "1"},
        {"wasup-late": "x"},
        {"Transfer-Encoding": "chunked"},
        {"a b": "x"},
        {"X": "tw\r\no"},
        {"X": ""},
        {"X": " x"},
        {"X": "é"},
        {f"X-{n}": "x" for n in range(21)},
        {"X-Key": "1", "x-key": "2"},
    ],
)
def test_headers_that_would_change_what_a_request_is_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidWebhook):
        settings_of(NewWebhook(URL, headers=headers))


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_???", "s3cret", SHORT, LONG])
def test_a_secret_is_of_a_size_that_the_standard_takes(secret: str) -> None:
    with pytest.raises(InvalidWebhook) as refused:
        settings_of(NewWebhook(URL, secret=secret))
    assert len(secret) < 8 or secret not in str(refused.value)


@pytest.mark.parametrize("types", [[], ["Message"], ["message.**"], ["*.*"], ["a.b.c"], [""]])
def test_types_that_no_event_has_are_refused(types: list[str]) -> None:
    with pytest.raises(InvalidWebhook):
        settings_of(NewWebhook(URL, types=types))


def test_a_session_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(InvalidWebhook):
        settings_of(NewWebhook(URL, sessions=["../x"]))


def test_a_change_leaves_what_it_does_not_name_and_is_checked_as_a_whole() -> None:
    settings = settings_of(NewWebhook(URL, types=["message.*"], headers={"X-Key": "1"}))
    other = changed(settings, WebhookChange(types=["*"], paused=True))
    assert other == msgspec.structs.replace(settings, types=("*",))
    with pytest.raises(InvalidWebhook):
        changed(settings, WebhookChange(url="nowhere"))


def test_after_a_rotation_both_secrets_sign_for_a_day_and_the_oldest_never() -> None:
    first = settings_of(NewWebhook(URL))
    second = rotated(rotated(first, None, 0.0), new_secret(), 1_000.0)
    newest, before = second.secrets
    assert first.secrets[0] not in second.secrets
    assert second.signing(1_000.0 + ROTATION_SECONDS - 1) == [newest.value, before.value]
    assert second.signing(1_000.0 + ROTATION_SECONDS) == [newest.value]


BASIC = base64.b64encode(b"operator:hunter2-hunter2").decode()
HEADERS = {"Authorization": f"Basic {BASIC}", "X-Key": "k3y-of-n8n-and-longer", "X-Pin": "1"}


@pytest.mark.parametrize(
    "said",
    [
        "wrong key k3y-of-n8n-and-longer!",
        "headers: {'x-key': 'k3y-of-n8n-and-lon",  # cut off
        f"Authorization: Basic {BASIC}",
        f'{{"authorization":"Basic%20{BASIC}"}}',
        "no user operator:hunter2-hunter2",
        "the password hunter2-hunter2 is wrong",
        "x" * 290 + "k3y-of-n8n-and-longer",
    ],
)
def test_what_an_endpoint_repeats_of_our_headers_is_masked(said: str) -> None:
    shown = settings_of(NewWebhook(URL, headers=HEADERS)).masked(said)
    assert "***" in shown
    for part in ("k3y-of", BASIC[:12], "hunter2"):
        assert part not in shown


def test_what_an_endpoint_says_besides_is_shown_up_to_a_length() -> None:
    settings = settings_of(NewWebhook(URL, headers=HEADERS))
    assert settings.masked("Basic authentication failed: 1") == "Basic authentication failed: 1"
    assert settings.masked(f"secret {settings.secrets[0].value}.") == "secret ***"
    assert len(settings.masked("x" * 4096)) == ANSWER_CHARACTERS


def test_the_sessions_that_a_webhook_names_are_bounded() -> None:
    names = [f"s{number}" for number in range(MOST_SESSIONS + 1)]
    settings_of(NewWebhook(URL, sessions=names[1:]))
    with pytest.raises(InvalidWebhook, match="1001 sessions") as refused:
        settings_of(NewWebhook(URL, sessions=names))
    assert "1000" in refused.value.hint


def test_a_log_line_names_the_host_alone() -> None:
    assert shown_url(URL) == "https://n8n.example"
    assert shown_url("http://10.0.0.1:5678/x") == "http://10.0.0.1:5678"
    assert shown_url("http://[::1]:5678/x") == "http://[::1]:5678"


@given(st.binary(max_size=2000), st.lists(st.binary(min_size=24, max_size=64), max_size=2))
def test_the_public_library_takes_our_signatures(body: bytes, more: list[bytes]) -> None:
    """Whichever of the secrets the receiver has."""
    secrets = [new_secret(), *("whsec_" + base64.b64encode(key).decode() for key in more)]
    now = 1_700_000_000
    headers = outgoing.headers(secrets, "evt_1", now, body, late=False)
    assert outgoing.LATE not in headers
    for secret in secrets:
        expected = Webhook(secret).sign("evt_1", _at(now), body.decode("latin-1"))
        signed = outgoing.headers(secrets, "evt_1", now, body.decode("latin-1").encode(), late=True)
        assert expected in signed[outgoing.SIGNATURE].split(" ")
        assert signed[outgoing.LATE] == "true"


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
