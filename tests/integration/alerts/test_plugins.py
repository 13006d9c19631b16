"""What each service is asked for, by the library as it stands: where, and with which words. The
requests end here instead of on the network.
"""

import base64
import json
import warnings
from typing import Any

import pytest
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from supervisor.alerts.channels.alerts_file import parse
from supervisor.alerts.channels.wire import REPLY_BYTES, Request

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # the library's own, of the newest Python
    from supervisor.alerts.channels.plugins import deliver

FILE = """
[twilio]
account_sid = "AC00000000000000000000000000000000"
auth_token = "00000000000000000000000000000000"
sender = "+15551234567"
[channels.sms]
numbers = ["+5511999999999"]
[channels.telegram]
bot_token = "123456789:AAExampleExampleExampleExampleExample"
chats = [123456789]
[channels.ntfy]
url = "https://ntfy.example.com:8443/topic"
token = "tk_example"
[channels.slack]
webhook_url = "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"
channel = "#alerts"
[channels.discord]
webhook_url = "https://discord.com/api/webhooks/000000000000000000/XXXXXXXXXXXXXXXXXXXXXXXX"
[channels.webhook]
url = "https://example.com:8443/a/b%2Fc?d=e&f="
user = "ana@example.com"
password = "p%20:/?#@ç"
"""
WHERE = {
    "sms": "https://api.twilio.com/2010-04-01/Accounts/AC00000000000000000000000000000000/Messages.json",
    "telegram": "https://api.telegram.org/bot123456789:AAExampleExampleExampleExampleExample/sendMessage",
    "ntfy": "https://ntfy.example.com:8443",
    "slack": "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
    "discord": "https://discord.com/api/webhooks/000000000000000000/XXXXXXXXXXXXXXXXXXXXXXXX",
    "webhook": "https://example.com:8443/a/b%2Fc?d=e&f=",
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[PreparedRequest, dict[str, Any]]]:
    """The requests that would have been made."""
    found: list[tuple[PreparedRequest, dict[str, Any]]] = []

    def send(_: HTTPAdapter, request: PreparedRequest, **options: Any) -> Response:
        found.append((request, options))
        response = Response()
        slack = "slack" in (request.url or "")
        response.status_code = 200
        response._content = b"ok" if slack else b'{"ok": true, "result": {}}'
        response.request, response.url = request, request.url or ""
        return response

    monkeypatch.setattr(HTTPAdapter, "send", send)
    return found


@pytest.mark.parametrize("name", sorted(WHERE))
def test_a_service_is_asked_where_it_is_and_told_the_words(
    name: str, asked: list[tuple[PreparedRequest, dict[str, Any]]]
) -> None:
    file = parse(FILE)
    table = file.channels[name]
    assert table.service is not None
    (target,) = table.targets(file.smtp, file.twilio)
    request = Request(
        id=1,
        service=table.service,
        targets=[target],
        title="" if name == "sms" else "[critical] Session loja_1 is *parked*",
        body="Pair it: <b>now</b> & `here`, _please_",
        severity="critical",
    )
    assert deliver(request, target) == (None, False)
    ((sent, options),) = asked
    assert (sent.url or "").rstrip("/") == WHERE[name]
    assert options["verify"], "certificates are checked"
    body = sent.body.decode() if isinstance(sent.body, bytes) else str(sent.body)
    if name == "sms":
        assert "To=%2B5511999999999" in body
        return
    told = json.loads(body)
    words = json.dumps(told, ensure_ascii=False)
    assert "Session loja_1 is" in words
    assert "Pair it:" in words
    match name:
        case "telegram":
            assert told["chat_id"] == 123456789
            assert "&lt;b&gt;now&lt;/b&gt; &amp;" in told["text"], "it is no markup"
        case "slack":
            assert told["channel"] == "#alerts"
        case "ntfy":
            assert told["topic"] == "topic"
            assert str(sent.headers["X-Priority"]) == "max"
            assert sent.headers["Authorization"] == "Bearer tk_example"
        case "webhook":
            given = base64.b64decode(sent.headers["Authorization"].removeprefix("Basic "))
            assert given.decode("latin-1") == "ana@example.com:p%20:/?#@ç"


@pytest.mark.parametrize("kind", ["ntfy", "webhook"])
def test_a_server_may_be_named_by_its_ipv6_address(
    kind: str, asked: list[tuple[PreparedRequest, dict[str, Any]]]
) -> None:
    file = parse(f'[channels.{kind}]\nurl = "http://[::1]:8080/topic"\n')
    table = file.channels[kind]
    assert table.service is not None
    (target,) = table.targets(file.smtp, file.twilio)
    request = Request(id=1, service=table.service, targets=[target], title="t", body="b")
    assert deliver(request, target) == (None, False)
    assert (asked[0][0].url or "").startswith("http://[::1]:8080")


def test_what_cannot_be_made_is_told_and_nothing_is_asked(
    asked: list[tuple[PreparedRequest, dict[str, Any]]],
) -> None:
    request = Request(id=1, service="telegram", targets=[], title="t", body="b")
    problem, permanent = deliver(request, {"bot_token": "no" * 2_000, "targets": ["1"]})
    assert problem is not None
    assert permanent
    assert problem.startswith("its settings cannot be used")
    assert len(problem) < REPLY_BYTES / 4, "it fits in a reply, whatever a letter takes"
    assert not asked
