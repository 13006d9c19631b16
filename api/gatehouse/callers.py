"""Whose process stands at the other end of a connection of this machine: the kernel's word, from
its table of sockets.

Asked by netlink (sock_diag(7)): one look-up by the pair of addresses, some 0.02 to 0.2 ms, however
many connections the machine has. Kernels and containers without it have the same table as text,
/proc/net/tcp and tcp6, of which all has to be read (50 ms with 16,000 rows).

What the table says counts only while both ends live: a row whose process has let go of it names
root as its owner (and no inode), and a pair of addresses that has come free may be the next
caller's.
"""

import atexit
import contextlib
import errno
import os
import re
import socket
import struct
from pathlib import Path
from typing import Final

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLMSG_ERROR: Final = 2
_NLM_F_REQUEST: Final = 1
_NO_COOKIE: Final = 0xFFFFFFFF
_EVERY_STATE: Final = 0xFFFFFFFF
_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBBI")
_PORTS: Final = struct.Struct("!HH")
_REST_OF_ID: Final = struct.Struct("=I2I")
_REPLY: Final = struct.Struct("=BBBB4s44s5I")
"""struct inet_diag_msg: family, state, timer, retransmissions; ports, the rest of the id; expires,
two queues, uid, inode.
"""
_ANSWER_SECONDS: Final = 1.0
"""The kernel answers before the request's system call returns; this ends the wait for one that does
not.
"""

_ESTABLISHED: Final = 1
_CLOSE_WAIT: Final = 8
_CALLER_STATES: Final = frozenset({_ESTABLISHED, 4, 5})
"""FIN_WAIT1 and FIN_WAIT2, too: the caller may have said all that it has to say."""
_OWN_STATES: Final = frozenset({_ESTABLISHED, _CLOSE_WAIT})

UID_MAP: Final = Path("/proc/self/uid_map")
OVERFLOW_UID: Final = Path("/proc/sys/kernel/overflowuid")
_WHOLE_MAP: Final = [0, 0, 2**32 - 1]
TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def own_users() -> frozenset[int]:
    """The users who may do with us what they like anyway: our own, and root."""
    users = frozenset({0, os.geteuid()})
    try:
        mapped = [int(number) for number in UID_MAP.read_text(encoding="ascii").split()]
        nobody = int(OVERFLOW_UID.read_text(encoding="ascii"))
    except OSError:
        # no /proc; then the kernel's word for "somebody of another namespace" is the customary one
        mapped, nobody = [], 65_534
    # In a user namespace that has not all users, those outside share one number. It may be our own.
    return users if mapped == _WHOLE_MAP else users - {nobody}


class _Kernel:
    """The line to the kernel.

    It stays open: when descriptors are used up the operator must not be taken for a stranger.
    """

    def __init__(self) -> None:
        self._line: socket.socket | None = None
        self._number = 0

    def open(self) -> socket.socket:
        """The line, opened unless it is. Raises OSError."""
        if self._line is None:
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
            self._line = socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)
            self._line.settimeout(_ANSWER_SECONDS)
            atexit.register(self._line.close)
        return self._line

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """The kind of the answer, and the answer without its head. Raises OSError."""
        try:
            line, self._number = self.open(), (self._number + 1) % 2**32
            size = _HEADER.size + len(request)
            line.sendto(
                _HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, self._number, 0) + request,
                (0, 0),
            )
            while True:
                answer = line.recv(8192)
                _, kind, _, number, _ = _HEADER.unpack_from(answer)
                if number == self._number:  # else: to a question that was given up
                    return kind, answer[_HEADER.size :]
        except OSError:
            if self._line is not None:
                self._line.close()
                self._line = None
            raise


_kernel: Final = _Kernel()


def prepare() -> None:
    """Open the line to the kernel while there are descriptors; without it the text is read."""
    with contextlib.suppress(OSError):
        _kernel.open()


def user_of(connection: socket.socket) -> int | None:
    """The user id of the process that has made this (accepted) connection; None: it is not of this
    machine, has hung up, or cannot be told.
    """
    try:
        caller, own = connection.getpeername()[:2], connection.getsockname()[:2]
        user = _user_by_netlink(connection.family, caller, own)
        # As long as our end stands, nobody else can have got the pair of addresses: what was read
        # is about this connection.
        alive = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _OWN_STATES
    except OSError:  # it has ended meanwhile
        return None
    return user if alive else None


def _user_by_netlink(family: int, caller: tuple[str, int], own: tuple[str, int]) -> int | None:
    """Raises OSError when the connection has no addresses.

    Where netlink does not answer, the text is read.
    """
    ports = _PORTS.pack(caller[1], own[1])
    addresses = b"".join(
        socket.inet_pton(family, address).ljust(16, b"\0") for address in (caller[0], own[0])
    )
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _EVERY_STATE)
    request += ports + addresses + _REST_OF_ID.pack(0, _NO_COOKIE, _NO_COOKIE)
    try:
        kind, answer = _kernel.ask(request)
        if kind == _NLMSG_ERROR:
            number = -struct.unpack_from("=i", answer)[0]
            if number == errno.ENOENT:
                return None
            raise OSError(number, "sock_diag")
        _, state, _, _, its_ports, _, _, _, _, user, inode = _REPLY.unpack_from(answer)
    except (OSError, struct.error):
        return _user_by_text(family, caller, own)
    # The ports: where no connection is left, the kernel may name one that listens there.
    return int(user) if its_ports == ports and state in _CALLER_STATES and inode else None


def _user_by_text(family: int, caller: tuple[str, int], own: tuple[str, int]) -> int | None:
    """The same from /proc/net/tcp and tcp6; an IPv4 connection of an IPv6 socket stands in the
    latter. None where neither can be read.
    """
    forms = [(TABLES[family == socket.AF_INET6], family, "{}")]
    if family == socket.AF_INET:
        forms.append((TABLES[1], socket.AF_INET6, "::ffff:{}"))
    for table, kind, form in forms:
        row = (
            rb"^ *\d+: %b %b (?P<state>[0-9A-F]{2}) \S+ \S+ \S+ +(?P<user>\d+) +\d+ (?P<inode>\d+) "
            % (
                _in_hex(kind, form.format(caller[0]), caller[1]),
                _in_hex(kind, form.format(own[0]), own[1]),
            )
        )
        try:
            found = re.search(row, table.read_bytes(), re.MULTILINE)
        except OSError:
            continue
        if found is not None:
            living = int(found["state"], 16) in _CALLER_STATES and int(found["inode"])
            return int(found["user"]) if living else None
    return None


def _in_hex(family: int, address: str, port: int) -> bytes:
    """As the kernel prints it: words of 32 bits, each in the machine's order."""
    packed = socket.inet_pton(family, address)
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return b"".join(b"%08X" % word for word in words) + b":%04X" % port
