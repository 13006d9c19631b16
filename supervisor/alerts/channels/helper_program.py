"""The helper process: sends messages by apprise, each in a process of its own that the kernel ends
when its time is over. So one that hangs keeps nothing, neither a thread nor the others.

It reads requests from its stdin, answers on its stdout, and ends with its stdin: with whoever has
started it. It opens no file but one that goes with a message, logs nothing, and knows nothing but
what a request tells.
"""

import contextlib
import ctypes
import logging
import os
import resource
import select
import signal
from typing import Final

import msgspec

from supervisor.alerts.channels.wire import LINE_BYTES, REPLY_BYTES, End, Reply, Request
from supervisor.process import dumpable

MEMORY_BYTES: Final = 256 * 2**20
"""Of data, for it and for each message; it takes some 25 MiB."""
CHILDREN_MOST: Final = 32
"""Messages under way: as many as there may be channels."""
READ_BYTES: Final = 64 * 1024
STDIN: Final = 0
STDOUT: Final = 1
_PR_SET_PDEATHSIG: Final = 1
"""prctl(2): what is under way ends with the helper."""


class _Children:
    """The messages under way: which request each process sends, by the descriptor that tells of its
    end.
    """

    def __init__(self) -> None:
        self._by_end: dict[int, tuple[int, int]] = {}

    def ends(self) -> list[int]:
        return list(self._by_end)

    def send(self, request: Request) -> None:
        """Send it in a process of its own."""
        if len(self._by_end) >= CHILDREN_MOST:
            _write(Reply(id=request.id, end="refused"))
            return
        try:
            pid = os.fork()
        except OSError:
            _write(Reply(id=request.id, end="refused"))
            return
        if pid == 0:
            _send_and_exit(request)
        self._by_end[os.pidfd_open(pid)] = pid, request.id

    def reap(self, end: int) -> None:
        """A process has ended: how, is the last that is said of its request."""
        pid, number = self._by_end.pop(end)
        os.close(end)
        _, status = os.waitpid(pid, 0)
        ended: End = "done"
        if os.WIFSIGNALED(status):
            ended = "too slow" if os.WTERMSIG(status) == signal.SIGALRM else "died"
        elif os.WEXITSTATUS(status):
            ended = "died"
        _write(Reply(id=number, end=ended))

    def kill(self) -> None:
        for pid, _ in self._by_end.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def main() -> None:
    """Serve until stdin ends."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    dumpable.allow(False)
    # Imported once, here: a process for a message begins with it.
    from supervisor.alerts.channels import plugins  # noqa: F401

    logger = logging.getLogger("apprise")
    logger.setLevel(logging.DEBUG)  # its causes stand there; each message keeps its own, in memory
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    children, waiting = _Children(), b""
    try:
        while True:
            ready, _, _ = select.select([STDIN, *children.ends()], [], [])
            for end in ready:
                if end != STDIN:
                    children.reap(end)
            if STDIN not in ready:
                continue
            read = os.read(STDIN, READ_BYTES)
            if not read:
                return
            *lines, waiting = (waiting + read).split(b"\n")
            if len(waiting) > LINE_BYTES:
                return  # whoever has started it speaks something else
            for line in lines:
                children.send(msgspec.json.decode(line, type=Request))
    finally:
        children.kill()


def _send_and_exit(request: Request) -> None:
    """The work of a message's own process: a reply for each target as soon as it is known."""
    status = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, request.seconds)
        from supervisor.alerts.channels.plugins import deliver

        for target in request.targets:
            problem, permanent = deliver(request, target)
            _write(Reply(id=request.id, problem=problem, permanent=permanent))
        status = 0
    finally:
        os._exit(status)


def _write(reply: Reply) -> None:
    line = msgspec.json.encode(reply) + b"\n"
    assert len(line) <= REPLY_BYTES, "causes are short"
    os.write(STDOUT, line)


if __name__ == "__main__":
    main()
