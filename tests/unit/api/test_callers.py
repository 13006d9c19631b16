"""Whose connection it is: the kernel's word, by both of its ways, also when the caller has gone or
uses what another left.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from api.gatehouse import callers
from tests.other_users import NOBODY, as_user, needs_root

NOBODY_ELSE_S = "127.77.3.1"
"""An address of this machine at which no other program takes ports."""
RESET_AT_CLOSE = struct.pack("ii", 1, 0)

Connect = Callable[..., tuple[socket.socket, socket.socket]]


@pytest.fixture(params=["netlink", "text"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to the kernel's table."""
    if request.param == "text":
        monkeypatch.setattr(callers, "_user_by_netlink", callers._user_by_text)


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connections to a listener of our own: the caller's end, and ours."""
    with ExitStack() as stack:
        listeners: dict[str, socket.socket] = {}

        def make(
            host: str = "127.0.0.1",
            through: str | None = None,
            source: tuple[str, int] | None = None,
        ) -> tuple[socket.socket, socket.socket]:
            if host not in listeners:
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                listeners[host] = stack.enter_context(
                    socket.create_server((host, 0), family=family)
                )
            to = through or host
            caller = stack.enter_context(
                closing(socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET))
            )
            if source is not None:
                caller.bind(source)
            caller.connect((to, listeners[host].getsockname()[1]))
            return caller, stack.enter_context(closing(listeners[host].accept()[0]))

        yield make


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize(
    ("host", "through"),
    [("127.0.0.1", None), ("127.0.0.1", "::ffff:127.0.0.1"), ("::1", None), ("127.8.9.10", None)],
)
def test_a_caller_is_known_by_its_user(host: str, through: str | None, connect: Connect) -> None:
    _, ours = connect(host, through)
    assert callers.user_of(ours) == os.geteuid()


@pytest.mark.usefixtures("_way")
def test_a_caller_that_has_said_all_is_still_known(connect: Connect) -> None:
    caller, ours = connect()
    caller.shutdown(socket.SHUT_WR)
    assert ours.recv(1) == b""
    assert callers.user_of(ours) == os.geteuid()


@pytest.mark.usefixtures("_way")
def test_a_caller_that_has_hung_up_is_not_taken_for_root(connect: Connect) -> None:
    """Its row stays in the table for a while, and the kernel says that user 0 owns it."""
    caller, ours = connect()
    caller.close()
    assert ours.recv(1) == b""
    assert callers.user_of(ours) is None


@pytest.mark.usefixtures("_way")
def test_who_gets_a_reset_caller_s_addresses_does_not_stand_for_it(connect: Connect) -> None:
    caller, ours = connect(source=(NOBODY_ELSE_S, 0))
    source = caller.getsockname()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    caller.close()
    _, other = connect(source=source)
    assert callers.user_of(other) == os.geteuid()
    assert callers.user_of(ours) is None


@pytest.mark.usefixtures("_way")
def test_a_listener_at_the_caller_s_port_does_not_stand_for_it(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, ours = connect(source=(NOBODY_ELSE_S, 0))
    own, source = ours.getsockname(), caller.getsockname()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    caller.close()
    with socket.create_server(source):
        assert callers._user_by_netlink(socket.AF_INET, source, own) is None


@pytest.mark.usefixtures("_way")
@needs_root
def test_another_user_s_process_is_known_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def call() -> bytes:
            with socket.create_connection(listener.getsockname()), listener.accept()[0] as ours:
                return str(callers.user_of(ours)).encode()

        assert as_user(NOBODY, call) == b"65534"


def test_where_neither_way_leads_anywhere_nobody_is_known(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, ours = connect()

    class Closed:
        def __init__(self, *_: object) -> None:
            raise PermissionError("no netlink here")

    monkeypatch.setattr(callers, "TABLES", (Path("/nowhere"), Path("/nowhere")))
    monkeypatch.setattr(callers, "_kernel", callers._Kernel())
    monkeypatch.setattr(callers.socket, "socket", Closed)
    assert callers.user_of(ours) is None


def test_when_descriptors_are_used_up_the_operator_is_still_known(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, ours = connect()
    callers.prepare()

    class UsedUp:
        def __init__(self, *_: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(callers, "TABLES", (Path("/nowhere"), Path("/nowhere")))
    monkeypatch.setattr(callers.socket, "socket", UsedUp)
    assert callers.user_of(ours) == os.geteuid()


def test_an_answer_to_a_question_that_was_given_up_is_not_taken_for_this_one(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, ours = connect()
    monkeypatch.setattr(callers, "_kernel", kernel := callers._Kernel())
    given_up = callers._HEADER.pack(
        callers._HEADER.size + 4, callers._NLMSG_ERROR, 0, 99, 0
    ) + bytes(4)
    line = kernel.open()
    answers = [given_up]

    class Line:
        def sendto(self, *arguments: object) -> None:
            line.sendto(*arguments)

        def recv(self, size: int) -> bytes:
            return answers.pop() if answers else line.recv(size)

    kernel._line = Line()
    assert callers.user_of(ours) == os.geteuid()
    assert answers == []
    line.close()


def test_our_own_user_and_root_may_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "UID_MAP", tmp_path / "uid_map")
    for mapped, user, expected in [
        ("         0          0 4294967295\n", 1000, {0, 1000}),
        ("         0          0 4294967295\n", NOBODY, {0, NOBODY}),
        ("      1000       1000          1\n", 1000, {0, 1000}),
        ("      1000       1000          1\n", NOBODY, {0}),
    ]:
        (tmp_path / "uid_map").write_text(mapped)
        monkeypatch.setattr(callers.os, "geteuid", lambda user=user: user)
        assert callers.own_users() == expected
