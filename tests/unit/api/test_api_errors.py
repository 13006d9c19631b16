"""What a worker refuses comes back with a status of its own."""

import re
from pathlib import Path

import pytest

from api.errors import STATUS, WORKER_STATUS, Busy, TooSoon, status_of
from sessions.model import SessionNotFound, WasupError, WorkerRefused

CONNECTION = Path(__file__).parents[3] / "sessions" / "worker" / "socket" / "connection.js"


def test_each_code_that_a_worker_gives_has_a_status() -> None:
    codes = set(re.findall(r"new RequestError\('(\w+)'", CONNECTION.read_text()))
    assert len(codes) >= 4
    assert codes <= set(WORKER_STATUS)


@pytest.mark.parametrize(
    ("code", "status"),
    [("already_paired", 409), ("invalid_recipient", 400), ("timed_out", 504), ("refused", 502)],
)
def test_a_refusal_of_the_callers_own_making_is_not_whatsapps(code: str, status: int) -> None:
    assert status_of(WorkerRefused(code, "x")) == status


def test_every_error_declares_a_code_of_its_own() -> None:
    kinds, left = [], [WasupError]
    while left:
        kinds.append(left.pop())
        left += kinds[-1].__subclasses__()
    ours = [kind for kind in kinds if not kind.__module__.startswith("tests.")]
    assert {SessionNotFound, Busy, TooSoon} <= set(ours)
    assert [kind.__name__ for kind in ours if "code" not in vars(kind)] == []
    codes = [kind.code for kind in ours]
    assert len(codes) == len(set(codes))
    assert [code for code in codes if not re.fullmatch(r"[a-z]+(_[a-z]+)*", code)] == []


def test_who_is_to_try_again_is_told_when() -> None:
    assert STATUS[Busy] == 503
    assert Busy.retry_after_seconds > 0
    assert TooSoon("x", "y", 3.0).retry_after_seconds == 3.0
