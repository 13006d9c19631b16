"""What the fuzz holds an answer to be: of the 5xx, only the store's trouble is none of our faults."""

import msgspec
import pytest

from scripts.fuzz.http import judge

SEND = "/sessions/a/messages"


def answer(status: int, code: str) -> bytes:
    error = {"code": code, "message": "It is so.", "hint": "Do this."}
    return b"HTTP/1.1 %d Some\r\n\r\n" % status + msgspec.json.encode({"error": error})


@pytest.mark.parametrize(
    ("path", "status", "code", "right"),
    [
        (SEND, 503, "store_unavailable", True),
        (SEND, 503, "store_unanswered", True),
        (SEND, 503, "store_error", True),
        (SEND, 503, "worker_gone", False),
        (SEND, 503, "busy", False),
        ("/sessions/a/import", 503, "busy", True),
        ("/sessions/a/import", 503, "worker_gone", False),
        ("/debug/memory?seconds=1", 503, "busy", True),
        ("/debug/memory", 500, "busy", False),
        (SEND, 500, "store_error", False),
        (SEND, 404, "session_not_found", True),
    ],
)
def test_of_the_errors_on_our_side_only_the_stores_and_the_bounds_that_are_reached_are_let_pass(
    path: str, status: int, code: str, right: bool
) -> None:
    sent = f"POST {path} HTTP/1.1\r\n\r\n{{}}".encode()
    assert (judge(answer(status, code), sent) is None) is right
