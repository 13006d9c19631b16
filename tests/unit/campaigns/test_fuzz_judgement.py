"""What the fuzz holds an answer to be: of the 5xx, only the store's trouble is none of our faults."""

import msgspec
import pytest

from scripts.fuzz.http import judge

SEND = b"POST /sessions/a/messages HTTP/1.1\r\n\r\n{}"


def answer(status: int, code: str) -> bytes:
    error = {"code": code, "message": "It is so.", "hint": "Do this."}
    return b"HTTP/1.1 %d Some\r\n\r\n" % status + msgspec.json.encode({"error": error})


@pytest.mark.parametrize(
    ("status", "code", "right"),
    [
        (503, "store_unavailable", True),
        (503, "store_unanswered", True),
        (503, "store_error", True),
        (503, "worker_gone", False),
        (503, "busy", False),
        (500, "store_error", False),
        (404, "session_not_found", True),
    ],
)
def test_of_the_errors_on_our_side_only_the_stores_are_let_pass(
    status: int, code: str, right: bool
) -> None:
    assert (judge(answer(status, code), SEND) is None) is right
