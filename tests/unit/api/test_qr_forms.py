"""The QR in each form: what a phone reads from it is the same, and a terminal's own colours do not
matter.
"""

import msgspec
import segno

from api.handlers import qr
from api.responses import negotiate
from sessions.lifecycle.attempt import ShownQr
from sessions.model import SessionId

SHOWN = ShownQr(
    "https://wa.me/settings/linked_devices#2@REF,NOISE,ID,ADV,1", 2, "ABCD1234", shown_at=0.0
)
DARK = {"█": (0, 0), "▀": (0, 1), "▄": (1, 0), " ": (1, 1)}
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


def body(form: str) -> str:
    content = qr.respond(SHOWN, form).body
    assert isinstance(content, bytes)
    return content.decode()


def test_a_terminal_gets_its_colours_said_and_the_very_modules() -> None:
    *lines, words = body("text/plain").splitlines()
    assert all(line.startswith("\x1b[38;5;231;48;5;16m") for line in lines), (
        "on a light terminal, too"
    )
    assert all(line.endswith("\x1b[0m") for line in lines)
    pairs = [
        [DARK[char] for char in line[len("\x1b[38;5;231;48;5;16m") : -len("\x1b[0m")]]
        for line in lines
    ]
    read = [[pair[half] for pair in row] for row in pairs for half in (0, 1)]
    wanted = [list(row) for row in segno.make_qr(SHOWN.qr).matrix_iter(border=4)]
    assert read[: len(wanted)] == wanted
    assert "20 s" in words, "that it changes is said"


def test_json_says_since_when_it_is_shown_and_that_it_changes() -> None:
    text = body("application/json")
    found = msgspec.json.decode(text)
    assert text.endswith("\n")
    assert (found["qr"], found["number"], found["pairingCode"]) == (SHOWN.qr, 2, "ABCD1234")
    assert found["shownAt"] == "1970-01-01T00:00:00.000Z"
    assert found["ageSeconds"] > 0
    assert "20 s" in found["changes"]


def test_a_browser_gets_a_page_that_looks_again_and_runs_nothing() -> None:
    assert negotiate(BROWSER, qr.FORMS) == "text/html"
    page = body("text/html")
    assert 'http-equiv="refresh"' in page
    assert "<svg" in page
    assert "ABCD1234" in page
    assert "<script" not in page
    assert "default-src 'none'" in qr.respond(SHOWN, "text/html").headers["Content-Security-Policy"]


def test_whoever_does_not_care_gets_json_and_an_image_a_picture() -> None:
    assert negotiate("", qr.FORMS) == negotiate("*/*", qr.FORMS) == "application/json"
    assert negotiate("image/avif,image/webp,image/*;q=0.8", qr.FORMS) == "image/png"
    assert negotiate("text/*", qr.FORMS) == "text/plain"


def test_a_page_without_a_qr_says_why_and_looks_again_only_if_one_may_come() -> None:
    soon = qr.page_without(SessionId("a"), "Session a is starting <b>.", "hint", may_come=True)
    never = qr.page_without(SessionId("a"), "Session a is open.", "It needs none.", may_come=False)
    assert (soon.status, never.status) == (409, 409)
    assert isinstance(soon.body, bytes)
    assert isinstance(never.body, bytes)
    assert b"refresh" in soon.body
    assert b"&lt;b&gt;" in soon.body
    assert b"refresh" not in never.body
    assert b"It needs none." in never.body
